"""Sums over blocks, and strain energies of cells from the displacement of their blocks."""

from __future__ import annotations

import numpy as np
import pytest

from morpho.fem.elasticity import stiffness
from morpho.fem.heat import conductance
from morpho.fem.voxel.block_kernels import block_energy_2d, block_energy_3d
from morpho.fem.voxel.coarse import ENERGY
from morpho.fem.voxel.coarsening import node_shape
from morpho.fem.voxel.element import Element
from morpho.fem.voxel.kernels_3d import STRETCH
from morpho.fem.voxel.present import whole_pieces
from morpho.fem.voxel.vectors import add_prolonged, sum_in_blocks, whole_rows

SPACING = {2: [1.0, 0.6], 3: [1.0, 1.5, 0.7]}
#: Whole blocks; blocks that stick out by every number of cells; boxes within one block; rows longer than a stretch.
CELLS = [
    (16, 8),
    (13, 7),
    (3, 1),
    (2 * STRETCH + 3, 3),
    (16, 8, 8),
    (13, 7, 5),
    (11, 6, 9),
    (1, 2, 3),
    (2 * STRETCH + 3, 3, 2),
]


def element(dim, heat=False):
    spacing = np.array(SPACING[dim])
    return Element.of(conductance(spacing) if heat else stiffness(spacing, 0.3, "stress"), dim)


def cell_array(cells):
    """Shape (z, y, x)."""
    return *(cells[2:] or (1,)), cells[1], cells[0]


def nodal(cells, components):
    """Shape (z, y, component, x)."""
    nz, ny, nx = node_shape(cells)
    return nz, ny, components, nx


def nested_grids(cells, block):
    """Cells along x, y(, z) of every grid from the blocks to the fine one."""
    return [tuple(-(-n // size) for n in cells) for size in (8, 4, 2, 1) if size <= block]


def in_the_displacement_of_the_blocks(e, u, cells, block):
    """Fine strain energies of a displacement of the blocks, by way of the fine displacement."""
    for finer in nested_grids(cells, block)[1:]:
        fine = np.zeros(nodal(finer, e.components))
        add_prolonged(fine, u, whole_rows(fine.shape))
        u = fine
    energy = np.empty(cell_array(cells))
    e.kernels.strain_energy(energy, u, e.modes, whole_pieces(energy.shape))
    return energy


@pytest.mark.parametrize("heat", [False, True])
@pytest.mark.parametrize("block", [2, 4, 8])
@pytest.mark.parametrize("cells", CELLS)
def test_energy_is_that_of_the_interpolated_displacement(cells, block, heat):
    e, rng = element(len(cells), heat), np.random.default_rng(0)
    u = rng.random(nodal(nested_grids(cells, block)[0], e.components))
    expected = in_the_displacement_of_the_blocks(e, u, cells, block)
    energy = np.full(cell_array(cells), np.nan, np.float32)
    ENERGY[e.dim, e.components](energy, u, e.modes.astype(np.float32), block)
    np.testing.assert_allclose(energy, expected, rtol=1e-5, atol=1e-6 * expected.max())


@pytest.mark.parametrize("dim", [2, 3])
def test_energy_of_a_small_strain_under_a_large_displacement(dim):
    """Differences are taken in double precision, so that moving everything costs no digits."""
    cells, e = (9, 6, 5)[:dim], element(dim)
    u = np.random.default_rng(1).random(nodal(nested_grids(cells, 4)[0], dim))
    energy, moved = (np.empty(cell_array(cells), np.float32) for _ in range(2))
    kernel = block_energy_2d if dim == 2 else block_energy_3d
    kernel(energy, u, e.modes.astype(np.float32), 4)
    kernel(moved, u + 1e6, e.modes.astype(np.float32), 4)
    np.testing.assert_allclose(moved, energy, rtol=1e-4, atol=1e-6 * energy.max())


@pytest.mark.parametrize("block", [2, 4, 8])
@pytest.mark.parametrize("cells", CELLS)
def test_sum_in_blocks(cells, block):
    shape = cell_array(cells)
    values = np.random.default_rng(0).random(shape)
    blocks = cell_array(nested_grids(cells, block)[0])
    owner = np.ravel_multi_index(tuple(i // block for i in np.indices(shape)), blocks)
    expected = np.bincount(owner.ravel(), values.ravel()).reshape(blocks)
    sums = np.full(blocks, np.nan)
    sum_in_blocks(sums, values, block)
    np.testing.assert_allclose(sums, expected, rtol=1e-13)
