"""Densities lie in [0, 1] to the last bit out of every map, so that any power of them is a number."""

from __future__ import annotations

from mpi4py import MPI

import numpy as np
import pytest
from helpers import box, make_mesh, random_cells
from hypothesis import given, settings
from hypothesis import strategies as st

from morpho.design.cone import ConeFilter, Neighbourhood
from morpho.design.helmholtz import HelmholtzFilter
from morpho.design.projection import HeavisideProjection
from morpho.design.voxel_cone import VoxelNeighbourhood
from morpho.fem.helmholtz import HelmholtzPde
from morpho.fem.material import Ramp, Simp
from morpho.fem.voxel.helmholtz import VoxelHelmholtz
from morpho.mesh.voxels import voxel_mesh
from morpho.problem import spec

VOXELS = voxel_mesh(spec.BoxMesh.model_validate({"size": [7, 5, 6], "cells": [7, 5, 6]}), 0, MPI.COMM_SELF)
RADII = (0.5, 1.5, 2.6, 50.0)

betas = st.floats(1e-3, 1024.0)
etas = st.floats(0.01, 0.99)
penalties = st.one_of(st.integers(1, 8).map(float), st.floats(1.0, 8.0))


@pytest.fixture(scope="module")
def filters():
    """Every filter on voxels and on tetrahedra, by the number of its cells."""
    mesh = make_mesh(box([3, 3, 3], cell="tetrahedron"))
    found, pdes = [], []
    for radius in RADII:
        pdes.append(HelmholtzPde(mesh, radius / 10))
        found += [
            (VOXELS.n, ConeFilter(VoxelNeighbourhood(VOXELS, radius))),
            (VOXELS.n, HelmholtzFilter(VoxelHelmholtz(VOXELS, radius / 3))),
            (mesh.n, ConeFilter(Neighbourhood(mesh.comm, mesh.centers, mesh.volumes, radius / 10))),
            (mesh.n, HelmholtzFilter(pdes[-1])),
        ]
    yield found
    for pde in pdes:
        pde.close()


def designs(n: int, seed: int) -> list[np.ndarray]:
    """All void, all solid, islands, and anything in between."""
    rng = np.random.default_rng(seed)
    return [np.zeros(n), np.ones(n), rng.integers(0, 2, n).astype(float), rng.uniform(0, 1, n) ** 4, np.full(n, 0.1)]


def is_density(rho: np.ndarray) -> bool:
    return bool(np.all((rho >= 0.0) & (rho <= 1.0)))


@settings(max_examples=150, deadline=None)
@given(beta=betas, eta=etas, seed=st.integers(0, 99), penalty=penalties)
def test_out_of_the_projection(beta, eta, seed, penalty):
    for x in designs(61, seed):
        rho, _ = HeavisideProjection(beta, eta).apply(x)
        assert is_density(rho)
        for material in (Simp(1.0, 1e-9, penalty), Ramp(1.0, 1e-9, penalty)):
            assert np.isfinite(material.stiffness(rho)).all() and material.stiffness(rho).min() > 0
            assert np.isfinite(material.derivative(rho)).all() and material.derivative(rho).min() >= 0


@settings(max_examples=5, deadline=None)
@given(beta=betas, seed=st.integers(0, 99), penalty=penalties)
def test_out_of_the_filters(filters, beta, seed, penalty):
    for n, part in filters:
        for x in designs(n, seed):
            rho, _ = part.apply(x)
            assert is_density(rho)
            projected = HeavisideProjection(beta).apply(rho)[0]
            assert is_density(projected)
            assert np.isfinite(Simp(1.0, 1e-9, penalty).stiffness(projected)).all()


def test_a_filter_does_not_change_what_it_is_given(filters):
    for n, part in filters:
        x = random_cells(VOXELS)[:n] if n <= VOXELS.n else np.full(n, 0.3)
        kept = x.copy()
        part.apply(x)
        np.testing.assert_array_equal(x, kept)
