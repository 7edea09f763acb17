"""Boxes: volumes, centres, stable cell numbers on any number of ranks."""

from __future__ import annotations

import json
from pathlib import Path

from mpi4py import MPI

import numpy as np
import pytest
from helpers import CELLS, DIM, assert_same, box, by_key, distort, make_mesh, unit_box, write_gmsh
from mesh_facts import facts

PER_BOX = {"triangle": 2, "quadrilateral": 1, "tetrahedron": 6, "hexahedron": 1}


@pytest.mark.parametrize("cell", CELLS)
def test_volumes_and_sizes(cell):
    cells, size = [4, 3, 2][: DIM[cell]], [2.0, 0.9, 0.5][: DIM[cell]]
    mesh = make_mesh(box(cells, size, cell))
    count = PER_BOX[cell] * np.prod(cells)
    assert mesh.n == mesh.n_global == count
    assert mesh.volumes == pytest.approx(np.full(count, np.prod(size) / count), rel=1e-12)
    regular = {"triangle": np.sqrt(3) / 4, "tetrahedron": np.sqrt(2) / 12}.get(cell, 1.0)
    assert regular * mesh.cell_size**mesh.dim == pytest.approx(np.prod(size) / count, rel=1e-12)
    assert mesh.tolerance == pytest.approx(1e-6 * np.linalg.norm(size))
    assert mesh.corners[1][: mesh.dim] == pytest.approx(np.array(size))


@pytest.mark.parametrize("cell", CELLS)
def test_volumes_of_a_distorted_mesh_fill_the_box(cell):
    mesh = distort(make_mesh(unit_box(cell, 3)))
    assert np.ptp(mesh.volumes) > 0.1 * mesh.volumes.mean()
    assert mesh.volumes.min() > 0
    assert mesh.volumes.sum() == pytest.approx(1.0, rel=1e-12)


@pytest.mark.parametrize("dim", [2, 3])
def test_origin_and_default_cell(dim):
    part = {"box": {"size": [1.0] * dim, "cells": [2] * dim, "origin": [-1.0, 3.0, 5.0][:dim]}}
    mesh = make_mesh(part)
    assert mesh.domain.topology.cell_name() == ("quadrilateral" if dim == 2 else "hexahedron")
    assert mesh.centers.mean(axis=0)[:dim] == pytest.approx(np.array([-0.5, 3.5, 5.5])[:dim])


@pytest.mark.parametrize("cell", ["quadrilateral", "hexahedron"])
def test_every_box_cell_has_its_place(cell):
    mesh = make_mesh(unit_box(cell, 3))
    wanted = np.stack(np.meshgrid(*[[1 / 6, 1 / 2, 5 / 6]] * mesh.dim), axis=-1).reshape(-1, mesh.dim)
    found = by_key(mesh, mesh.centers[:, : mesh.dim])
    order = [np.lexsort(np.round(a, 9).T) for a in (found, wanted)]
    np.testing.assert_allclose(found[order[0]], wanted[order[1]], atol=1e-12)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("msh")
    return [str(write_gmsh(folder / f"{cell}.msh", cell)) for cell in ("triangle", "tetrahedron", "hexahedron")]


@pytest.fixture(scope="module")
def alone(files):
    return facts(MPI.COMM_SELF, *files)


def test_keys_are_a_numbering(alone):
    keys = [value for name, value in alone.items() if name.startswith("keys of")]
    assert len(keys) == 15
    assert all(np.array_equal(k, np.arange(len(k))) for k in keys)


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_meshes_and_selections_do_not_depend_on_the_ranks(mpirun, files, alone, ranks):
    script = Path(__file__).with_name("mesh_facts.py")
    assert_same(json.loads(mpirun(ranks, script, *files)), alone, rtol=1e-12)
