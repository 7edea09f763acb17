"""Neighbourhoods: of shapes on both kinds of mesh, of named lines and points."""

from mpi4py import MPI

import numpy as np
import pytest
from helpers import box
from pydantic import ValidationError

from morpho.errors import InputError
from morpho.mesh import build_mesh, voxel_mesh
from morpho.mesh.mesh import Mesh
from morpho.mesh.select import select
from morpho.problem.regions import Region
from morpho.problem.spec import BoxMesh
from morpho.problem.spec import Mesh as MeshSpec


def near(region, distance):
    return Region.model_validate({"near": {"region": region, "distance": distance}})


PLACES = [
    {"plane": {"axis": "x", "at": 0}},
    {"sphere": {"center": [1, 1, 0.5], "radius": 0.3}},
    {"any_of": [{"box": {"min": [0, 0, 0], "max": [0.2, 0.2, 1]}}, {"points": [[2, 1, 1]]}]},
]


@pytest.mark.parametrize("place", PLACES)
def test_cells_near_a_shape_on_either_mesh(place):
    given = {"size": [2, 1, 1], "cells": [20, 10, 10]}
    voxels, mesh = voxel_mesh(BoxMesh(**given), 0, MPI.COMM_SELF), build_mesh(MeshSpec(box=given), MPI.COMM_SELF)
    region = near(place, 0.25)
    expected = np.zeros(mesh.n, dtype=bool)
    expected[mesh.key[select(mesh, region, 3)]] = True
    np.testing.assert_array_equal(np.flatnonzero(expected), voxels.cells_in(region))
    distance = Region.model_validate(place).distance(mesh.centers)
    np.testing.assert_array_equal(expected[mesh.key], distance <= 0.25 + mesh.tolerance)


@pytest.mark.parametrize("dim", [0, 1])
def test_cells_near_a_named_line_or_points_in_2d(dim):
    plain = build_mesh(MeshSpec(**box([20, 10], [2.0, 1.0], "triangle")), MPI.COMM_SELF)
    corner = Region.model_validate({"box": {"min": [0, 0], "max": [0.5, 0]}})
    mesh = Mesh(plain.domain, plain.key, {"corner": {dim: select(plain, corner, dim)}})
    found = select(mesh, near("corner", 0.33), 2)
    x = mesh.centers[:, :2]
    to = np.linspace(0, 0.5, 6) if dim == 0 else np.linspace(0, 0.5, 2001)
    distance = np.min(np.hypot(x[:, :1] - to, x[:, 1:]), axis=1)
    np.testing.assert_array_equal(found, np.flatnonzero(distance <= 0.33))


def test_what_cannot_be_is_said():
    with pytest.raises(ValidationError, match="the distance to an intersection is not known"):
        near({"all_of": PLACES[:2]}, 1)
    mesh = build_mesh(MeshSpec(**box([2, 2])), MPI.COMM_SELF)
    with pytest.raises(InputError, match="'bolts' is no group of facets or points of the mesh"):
        select(mesh, near("bolts", 1), 2)
