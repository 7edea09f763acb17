"""How wide filters are: the second moment of what becomes of a single cell, against r^2 / 6 along each direction."""

from __future__ import annotations

from mpi4py import MPI

import numpy as np
import pytest
from helpers import box, make_mesh, write_gmsh

from morpho.design.helmholtz import length_parameter
from morpho.fem.helmholtz import HelmholtzPde
from morpho.fem.voxel.helmholtz import VoxelHelmholtz
from morpho.mesh.voxels import voxel_mesh
from morpho.problem import spec


def second_moment(centers: np.ndarray, pde: HelmholtzPde | VoxelHelmholtz, cell: int) -> np.ndarray:
    """(3,) mean squared distance along each direction of what a cell is spread to."""
    source = np.zeros(len(centers))
    source[cell] = 1.0
    weight = pde.apply(source)
    return weight @ (centers - centers[cell]) ** 2 / weight.sum()


def voxels(cells: list[int], spacing: list[float]) -> tuple:
    """A box of bricks, the centres of its cells, and the middle one."""
    size = [n * h for n, h in zip(cells, spacing, strict=True)]
    mesh = voxel_mesh(spec.BoxMesh.model_validate({"size": size, "cells": cells}), 0, MPI.COMM_SELF)
    at = np.stack(np.unravel_index(np.arange(mesh.n), mesh.shape)[::-1], axis=1)
    centers = mesh.origin + mesh.spacing * (at + 0.5)
    return mesh, centers, int(np.ravel_multi_index([n // 2 for n in mesh.shape], mesh.shape))


@pytest.mark.parametrize("radius", [1.8, 2.4, 3.0, 4.0])
@pytest.mark.parametrize("dim", [2, 3])
def test_on_boxes(dim, radius):
    mesh, centers, middle = voxels([33, 31, 29][:dim], [1.0] * dim)
    found = second_moment(centers, VoxelHelmholtz(mesh, length_parameter(radius)), middle)
    np.testing.assert_allclose(found[:dim], radius**2 / 6, rtol=0.02)


def test_on_bricks():
    mesh, centers, middle = voxels([31, 21, 41], [1.0, 1.5, 0.6])
    found = second_moment(centers, VoxelHelmholtz(mesh, length_parameter(3.0)), middle)
    np.testing.assert_allclose(found, 1.5, rtol=0.02)


@pytest.mark.parametrize("radius", [2.5, 3.0])
@pytest.mark.parametrize("kind", ["cut boxes", "file"])
def test_on_tetrahedra(tmp_path, kind, radius):
    part = box([10, 10, 10], cell="tetrahedron")
    if kind == "file":
        part = {"file": str(write_gmsh(tmp_path / "cube.msh", "tetrahedron", 0.1))}
    mesh = make_mesh(part)
    length = radius * mesh.cell_size
    pde = HelmholtzPde(mesh, length_parameter(length))
    near = np.argsort(np.linalg.norm(mesh.centers - 0.5, axis=1))[:12]
    found = np.array([second_moment(mesh.centers, pde, cell) for cell in near])
    pde.close()
    np.testing.assert_allclose(found.mean(axis=1), length**2 / 6, rtol=0.1)


def test_too_coarse_a_mesh_is_known():
    mesh, _, _ = voxels([6, 5, 4], [1.0, 1.0, 1.0])
    assert VoxelHelmholtz(mesh, length_parameter(1.8)).too_coarse == 0
    assert VoxelHelmholtz(mesh, length_parameter(1.6)).too_coarse == 1
    for cell, enough in (("hexahedron", 1.8), ("tetrahedron", 1.6)):
        unstructured = make_mesh(box([4, 4, 4], [4.0, 4.0, 4.0], cell=cell))
        for radius, share in ((enough, 0.0), (0.5, 1.0)):
            pde = HelmholtzPde(unstructured, length_parameter(radius))
            assert pde.too_coarse == pytest.approx(share)
            pde.close()


def test_a_radius_above_the_box_costs_no_more_steps():
    mesh, _, _ = voxels([12, 4], [1.0, 1.0])
    as_large = VoxelHelmholtz(mesh, length_parameter(12.0)).iterations
    for radius in (1e2, 1e4, 1e6):
        pde = VoxelHelmholtz(mesh, length_parameter(radius))
        assert pde.iterations <= 2 * as_large
        source = np.linspace(0.0, 1.0, mesh.n)
        np.testing.assert_allclose(pde.apply(source), 0.5, atol=10 * (12.0 / radius) ** 2)
    unstructured = make_mesh(box([12, 4], [12.0, 4.0]))
    pde = HelmholtzPde(unstructured, length_parameter(1e6))
    np.testing.assert_allclose(pde.apply(np.where(unstructured.centers[:, 0] < 6, 0.0, 1.0)), 0.5, atol=1e-9)
    assert pde.iterations < 100
    pde.close()
