"""The filters on boxes of equal cells give the numbers of those for any mesh."""

from __future__ import annotations

import json
from pathlib import Path

from mpi4py import MPI

import numpy as np
import pytest
from helpers import assert_same, make_mesh, random_cells
from voxel_filter_facts import BOXES, RADII, facts, voxels

from morpho.design.cone import ConeFilter, Neighbourhood, SensitivityFilter
from morpho.design.helmholtz import HelmholtzFilter
from morpho.design.voxel_cone import VoxelNeighbourhood
from morpho.fem.helmholtz import HelmholtzPde
from morpho.fem.voxel.helmholtz import VoxelHelmholtz


@pytest.fixture(params=BOXES)
def name(request):
    return request.param


@pytest.fixture(params=RADII)
def radius(request, name):
    """Physical radius."""
    return request.param * voxels(name).cell_size


def pair(name):
    """The voxel mesh and the dolfinx mesh of a box, and the voxel of each dolfinx cell."""
    voxel, mesh = voxels(name), make_mesh(BOXES[name])
    steps = np.round((mesh.centers - voxel.origin) / voxel.spacing - 0.5).astype(int)[:, : mesh.dim]
    return voxel, mesh, np.ravel_multi_index(steps.T[::-1], voxel.cells[::-1])


def assert_close(found, expected, rtol):
    np.testing.assert_allclose(found, expected, rtol=0, atol=rtol * np.abs(expected).max())


def matrix(linear, n):
    """The matrix of a linear map of cell fields."""
    return np.stack([linear(unit) for unit in np.eye(n)], axis=1)


def test_cone_is_that_of_the_mesh(name, radius):
    voxel, mesh, at = pair(name)
    new, old = VoxelNeighbourhood(voxel, radius), Neighbourhood(mesh.comm, mesh.centers, mesh.volumes, radius)
    x, d = random_cells(voxel), random_cells(voxel, -1.0, 1.0, seed=1)
    image, pullback = ConeFilter(new).apply(x)
    expected, expected_pullback = ConeFilter(old).apply(x[at])
    assert_close(image[at], expected, 1e-12)
    assert_close(pullback(d)[at], expected_pullback(d[at]), 1e-12)
    smooth = SensitivityFilter(new, voxel.volumes).smooth(x, -x * d)
    assert_close(smooth[at], SensitivityFilter(old, mesh.volumes).smooth(x[at], -(x * d)[at]), 1e-12)


def test_helmholtz_is_that_of_the_mesh(name, radius):
    voxel, mesh, at = pair(name)
    new, old = VoxelHelmholtz(voxel, radius / 3), HelmholtzPde(mesh, radius / 3)
    x, d = random_cells(voxel), random_cells(voxel, -1.0, 1.0, seed=1)
    np.testing.assert_allclose(new.volumes, old.volumes[np.argsort(at)], rtol=1e-12)
    image, pullback = HelmholtzFilter(new).apply(x)
    expected, expected_pullback = HelmholtzFilter(old).apply(x[at])
    assert_close(image[at], expected, 1e-11)
    assert_close(pullback(d)[at], expected_pullback(d[at]), 1e-11)
    old.close()


def test_pullbacks_are_transposes(name, radius):
    mesh = voxels(name)
    neighbourhood = VoxelNeighbourhood(mesh, radius)
    forward = matrix(neighbourhood.average, mesh.n)
    assert_close(matrix(neighbourhood.average_transposed, mesh.n), forward.T, 1e-14)
    operator = matrix(VoxelHelmholtz(mesh, radius / 3).apply, mesh.n)
    assert_close(operator, operator.T, 1e-13)


def test_constants_and_the_volume_are_preserved(name, radius):
    mesh = voxels(name)
    pde = VoxelHelmholtz(mesh, radius / 3)
    cone, helmholtz = ConeFilter(VoxelNeighbourhood(mesh, radius)), HelmholtzFilter(pde)
    for value in (0.0, 0.3, 1.0):
        np.testing.assert_allclose(cone.apply(np.full(mesh.n, value))[0], value, rtol=1e-14)
        np.testing.assert_allclose(helmholtz.apply(np.full(mesh.n, value))[0], value, rtol=1e-11)
    rho, pullback = helmholtz.apply(random_cells(mesh, 0.1, 0.9))
    assert rho.sum() == pytest.approx(random_cells(mesh, 0.1, 0.9).sum(), rel=1e-11)
    np.testing.assert_allclose(pullback(mesh.volumes), mesh.volumes, rtol=1e-11)


def test_filters_keep_the_bounds_and_their_argument(name, radius):
    mesh = voxels(name)
    x = np.where(random_cells(mesh) < 0.5, 0.0, 1.0)
    kept = x.copy()
    for part in (ConeFilter(VoxelNeighbourhood(mesh, radius)), HelmholtzFilter(VoxelHelmholtz(mesh, radius / 3))):
        rho, pullback = part.apply(x)
        assert rho.min() >= 0 and rho.max() <= 1 + 1e-14
        pullback(x)
        np.testing.assert_array_equal(x, kept)


def test_no_filter_below_the_cell_size():
    mesh = voxels("brick")
    x = random_cells(mesh)
    np.testing.assert_allclose(VoxelNeighbourhood(mesh, 1e-3).average(x), x, rtol=1e-15)
    assert VoxelHelmholtz(mesh, 1e-9).iterations == 2


@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_filters_do_not_depend_on_the_ranks(mpirun, ranks):
    alone = facts(MPI.COMM_SELF)
    assert all(value in ("right", "yes") for value in alone.values() if isinstance(value, str))
    found = json.loads(mpirun(ranks, Path(__file__).with_name("voxel_filter_facts.py")))
    assert_same(found, alone, rtol=1e-12)
