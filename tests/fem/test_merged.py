"""Coarse grids that move to fewer ranks: the same solution, in as many iterations."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path

import pytest

from morpho.mesh.partition import on_fewer, split

FACTS = Path(__file__).with_name("merged_facts.py")


@pytest.fixture(scope="module")
def alone(mpirun):
    return json.loads(mpirun(1, FACTS))


@pytest.mark.parametrize("ranks", [2, 3, 8])
def test_the_solution_does_not_depend_on_where_coarse_grids_are(alone, mpirun, ranks):
    found = json.loads(mpirun(ranks, FACTS))
    for physics in ("elastic", "heat"):
        assert found[physics]["compliance"] == pytest.approx(alone[physics]["compliance"], rel=1e-10)
        assert found[physics]["iterations"] == pytest.approx(alone[physics]["iterations"], abs=1)
    assert found["told"] == ranks, "a grid that cannot be solved is an error on all ranks, also on those without it"


@pytest.mark.parametrize("cells", [(480, 480, 480), (101, 67, 240), (900, 700), (2000, 30)])
@pytest.mark.parametrize("ranks", [12, 125, 1000])
def test_a_grid_gets_to_few_ranks_step_by_step(cells, ranks):
    partition, depth = split(cells, ranks), 0
    while partition.grid != (1,) * len(cells) and depth < 12:
        depth = max(depth + 1, partition.levels)
        fewer = on_fewer(partition, depth)
        assert all(a <= b for a, b in zip(fewer.grid, partition.grid, strict=True))
        assert fewer.levels > depth and fewer.cells == cells
        for along, n in zip(fewer.cuts, cells, strict=True):
            assert along[0] == 0 and along[-1] == n and list(along) == sorted(set(along))
            assert all(cut % 2**fewer.levels == 0 for cut in along[1:-1])
        partition = fewer
    assert partition.grid == (1,) * len(cells)


@pytest.mark.parametrize("edge", [46, 48, 100])
@pytest.mark.parametrize("ranks", [27, 64, 1000])
def test_many_ranks_get_boxes_of_nearly_one_size(edge, ranks):
    """The box of a rank does not grow because coarse grids have to stay small."""
    p = round(ranks ** (1 / 3))
    partition = split((p * edge,) * 3, ranks)
    largest = math.prod(max(b - a for a, b in pairwise(cut)) for cut in partition.cuts)
    assert largest < 1.15 * edge**3
