"""The boxes of the ranks when blocks of cells must not be cut; without MPI, a rank is a number."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import numpy as np
import pytest

from morpho.errors import InputError
from morpho.mesh.partition import split
from morpho.mesh.voxels import voxel_mesh
from morpho.problem import spec

CELLS = [(1, 1), (5, 3), (9, 1), (16, 16), (7, 12), (300, 100), (8, 8, 8), (5, 7, 3), (48, 16, 17), (33, 1, 1)]


def voxels(cells, ranks, refine=0, block=1):
    """The voxel mesh of each rank, of a unit box."""
    box = spec.BoxMesh(size=(1.0,) * len(cells), cells=cells)
    return [voxel_mesh(box, refine, SimpleNamespace(rank=rank, size=ranks), block) for rank in range(ranks)]


def can_be_cut(cells, ranks, block):
    """Whether some grid of ranks has a block for each of them along every direction."""
    blocks = [-(-n // block) for n in cells]
    grids = itertools.product(range(1, ranks + 1), repeat=len(cells))
    return any(np.prod(grid) == ranks and np.all(np.less_equal(grid, blocks)) for grid in grids)


@pytest.mark.parametrize("nested", [0, 1, 2, 3])
@pytest.mark.parametrize("cells", CELLS)
def test_no_block_is_cut(cells, nested):
    block = 2**nested
    for ranks in range(1, 10):
        if can_be_cut(cells, ranks, block):
            partition = split(cells, ranks, nested)
            assert partition.levels >= nested
            assert np.prod(partition.grid) == ranks
            for n, cut in zip(cells, partition.cuts, strict=True):
                assert cut[0] == 0 and cut[-1] == n and np.all(np.diff(cut) > 0)
                assert all(at % block == 0 for at in cut[:-1])
        else:
            with pytest.raises(InputError):
                split(cells, ranks, nested)


def test_the_partition_stays_as_it_is_where_it_has_the_blocks_already():
    free = split((48, 16, 16), 4)
    assert free.levels >= 1
    assert all(split((48, 16, 16), 4, nested) == free for nested in range(free.levels + 1))


def test_too_few_blocks_is_an_error():
    with pytest.raises(InputError) as caught:
        split((12, 5), 7, 2)
    assert str(caught.value) == (
        "mesh.box.cells: 12 x 5 cells cannot be cut into 7 boxes of whole blocks of 4; use fewer ranks"
    )


@pytest.mark.parametrize("block", [1, 2, 4, 8])
@pytest.mark.parametrize("ranks", [1, 2, 3, 5])
@pytest.mark.parametrize("cells", [(37, 10), (34, 9, 17)])
def test_the_cells_of_a_block_are_on_one_rank(cells, ranks, block):
    parts = voxels(cells, ranks, block=block)
    np.testing.assert_array_equal(np.sort(np.concatenate([part.key for part in parts])), np.arange(np.prod(cells)))
    blocks = [-(-n // block) for n in cells][::-1]
    seen = []
    for part in parts:
        assert all(at % block == 0 for at in part.low)
        place = np.array(np.unravel_index(part.key, cells[::-1])) // block
        seen.append(np.unique(np.ravel_multi_index(tuple(place), blocks)))
    np.testing.assert_array_equal(np.sort(np.concatenate(seen)), np.arange(np.prod(blocks)))


def test_blocks_are_of_refined_cells():
    assert [part.low for part in voxels((3, 1), 3, refine=2, block=4)] == [(0, 0), (4, 0), (8, 0)]
    with pytest.raises(InputError, match=r"12 x 4 cells cannot be cut into 3 boxes of whole blocks of 8"):
        voxels((3, 1), 3, refine=2, block=8)


def test_a_block_of_one_cell_is_no_block():
    box = spec.BoxMesh(size=(1.0, 1.0), cells=(10, 5))
    comm = SimpleNamespace(rank=0, size=3)
    assert voxel_mesh(box, 0, comm).partition == voxel_mesh(box, 0, comm, block=1).partition == split((10, 5), 3)
