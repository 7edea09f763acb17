"""Boxes of equal cells: what a region selects, numbers and boxes of the ranks; without MPI, a rank is a number."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pytest
from dolfinx import mesh as dmesh
from helpers import make_mesh
from voxel_boxes import BOXES, make_voxels, node_numbers, random_region, regions, voxel_node_numbers

from morpho.errors import InputError
from morpho.mesh.partition import Partition, split
from morpho.mesh.select import select
from morpho.problem.regions import Region

RANKS = range(1, 9)
CELLS = [
    (1, 1),
    (2, 1),
    (5, 3),
    (16, 16),
    (7, 12),
    (300, 100),
    (1, 1, 1),
    (8, 8, 8),
    (5, 7, 3),
    (48, 16, 17),
    (9, 1, 1),
]


@dataclass(frozen=True)
class Rank:
    """As much of a communicator as a voxel mesh needs."""

    rank: int
    size: int


def voxels(box, ranks):
    """The voxel mesh of each rank; fewer ranks where the box has too few cells."""
    ranks = min(ranks, int(np.prod(box["cells"])))
    try:
        return [make_voxels(box, Rank(rank, ranks)) for rank in range(ranks)]
    except InputError:
        return voxels(box, ranks - 1)


def dolfinx_nodes(mesh, box, region):
    """Numbers of the vertices in a region, by their coordinates."""
    vertices = select(mesh, region, 0)
    if len(vertices) == 0:
        return np.empty(0, dtype=np.int64)
    x = mesh.domain.geometry.x[dmesh.entities_to_geometry(mesh.domain, 0, vertices)[:, 0]]
    return np.sort(node_numbers(box, x))


def by_place(centers):
    """Order of cells by z, then y, then x."""
    return np.lexsort(np.round(centers, 9).T)


def assert_same_selection(mesh, box, parts, region):
    nodes = np.unique(np.concatenate([voxel_node_numbers(part)[part.nodes_in(region)] for part in parts]))
    np.testing.assert_array_equal(nodes, dolfinx_nodes(mesh, box, region), str(region))
    chosen = np.zeros(mesh.n, dtype=bool)
    chosen[select(mesh, region, mesh.dim)] = True
    found = np.zeros(mesh.n, dtype=bool)
    for part in parts:
        found[part.key[part.cells_in(region)]] = True
    np.testing.assert_array_equal(found, chosen[by_place(mesh.centers)], str(region))


@pytest.mark.parametrize("ranks", [1, 3, 8])
@pytest.mark.parametrize("name", BOXES)
def test_regions_select_what_they_select_on_a_dolfinx_mesh(name, ranks):
    box = BOXES[name]
    mesh, parts = make_mesh({"box": box}), voxels(box, ranks)
    for value in regions(box).values():
        assert_same_selection(mesh, box, parts, Region.model_validate(value))


@pytest.mark.parametrize("name", BOXES)
def test_any_region_selects_what_it_selects_on_a_dolfinx_mesh(name):
    box, rng = BOXES[name], np.random.default_rng(0)
    mesh, parts = make_mesh({"box": box}), voxels(box, 4)
    for _ in range(150):
        assert_same_selection(mesh, box, parts, Region.model_validate(random_region(box, rng)))


@pytest.mark.parametrize("shift", [0.0, 1e-8, -1e-8, 1e-4])
@pytest.mark.parametrize("name", BOXES)
def test_nearly_a_tie_between_nodes(name, shift):
    """Points halfway between nodes and as far as points may be, from where rounding and limits show."""
    box = BOXES[name]
    mesh, parts = make_mesh({"box": box}), voxels(box, 2)
    low, h = mesh.corners[0][: mesh.dim], np.array(box["size"]) / box["cells"]
    for steps in itertools.product([-2.0, -0.5, 0.0, 0.5], repeat=mesh.dim):
        for scale in (h, mesh.cell_size):
            point = tuple((low + scale * np.array(steps) + shift).tolist())
            assert_same_selection(mesh, box, parts, Region(points=(point,)))


@pytest.mark.parametrize("name", BOXES)
def test_measures_are_those_of_the_dolfinx_mesh(name):
    (mesh,), other = voxels(BOXES[name], 1), make_mesh({"box": BOXES[name]})
    assert mesh.n_global == mesh.n == other.n_global
    assert mesh.n_nodes_global == other.domain.topology.index_map(0).size_global
    assert mesh.cell_name == other.domain.topology.cell_name()
    for what in ("tolerance", "cell_size", "total_volume"):
        assert getattr(mesh, what) == pytest.approx(getattr(other, what), rel=1e-12)
    np.testing.assert_allclose(mesh.volumes, other.volumes, rtol=1e-9)
    np.testing.assert_allclose(mesh.corners, other.corners, atol=1e-12)


def test_refinement_cuts_every_cell():
    mesh = make_voxels(BOXES["brick"], Rank(0, 1), refine=2)
    assert mesh.cells == (20, 12, 16)
    np.testing.assert_allclose(mesh.spacing, [1.5 / 20, 1.0 / 12, 0.7 / 16])
    assert mesh.corners[1] == pytest.approx([1.7, 0.0, 3.7])


@pytest.mark.parametrize("ranks", RANKS)
@pytest.mark.parametrize("name", BOXES)
def test_keys_number_every_cell_once_and_nodes_are_shared(name, ranks):
    parts = voxels(BOXES[name], ranks)
    keys = np.concatenate([part.key for part in parts])
    np.testing.assert_array_equal(np.sort(keys), np.arange(parts[0].n_global))
    nodes = np.concatenate([voxel_node_numbers(part).ravel() for part in parts])
    np.testing.assert_array_equal(np.unique(nodes), np.arange(parts[0].n_nodes_global))
    for part in parts:
        z, y, x = np.unravel_index(part.key, [*parts[0].cells, 1][:3][::-1])
        np.testing.assert_array_equal([x.min(), y.min(), z.min()][: part.dim], part.low)
        assert np.all(np.diff(part.key) > 0)
        assert part.n == np.prod(part.shape)


@pytest.mark.parametrize("ranks", RANKS)
@pytest.mark.parametrize("cells", CELLS)
def test_the_boxes_of_the_ranks_fill_the_whole(cells, ranks):
    try:
        partition = split(cells, ranks)
    except InputError as error:
        assert all(np.any(np.array(grid) > cells) for grid in grids(ranks, len(cells)))
        shape = " x ".join(map(str, cells))
        assert str(error) == f"mesh.box.cells: {shape} cells cannot be cut into {ranks} boxes; use fewer ranks"
        return
    filled = np.zeros(cells, dtype=int)
    for rank in range(ranks):
        low, high = partition.box(rank)
        assert np.all(np.less(low, high))
        filled[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] += 1
        assert partition.rank_at(partition.place(rank)) == rank
    assert np.all(filled == 1)
    assert np.prod(partition.grid) == ranks
    for n, cut in zip(cells, partition.cuts, strict=True):
        assert cut[0] == 0 and cut[-1] == n and np.all(np.diff(cut) > 0)
        assert all(at % 2**partition.levels == 0 for at in cut[:-1])


def grids(ranks, dim):
    return [grid for grid in itertools.product(range(1, ranks + 1), repeat=dim) if np.prod(grid) == ranks]


@pytest.mark.parametrize("ranks", RANKS)
@pytest.mark.parametrize("cells", [c for c in CELLS if max(c) > 5])
def test_the_boxes_stay_nested_when_the_grid_is_coarsened(cells, ranks):
    """A coarse cell has all its children on one rank, and each rank keeps some cells."""
    partition = split(cells, ranks)
    for level in range(partition.levels + 1):
        for cut in partition.cuts:
            coarse = np.ceil(np.array(cut) / 2**level).astype(int)
            assert np.all(np.diff(coarse) > 0)
            np.testing.assert_array_equal(coarse[:-1] * 2**level, cut[:-1])


def test_outside_of_the_process_grid_there_is_no_rank():
    partition = Partition((8, 8, 8), ((0, 4, 8),) * 3, levels=2)
    assert partition.grid == (2, 2, 2)
    assert partition.rank_at((-1, 0, 0)) is None
    assert partition.rank_at((0, 2, 0)) is None
    assert [partition.rank_at(place[::-1]) for place in itertools.product((0, 1), repeat=3)] == list(range(8))
