"""The parts of the voxel multigrid: element, kernels, transfers, smoother, cycle."""

from __future__ import annotations

import json
from pathlib import Path

from mpi4py import MPI

import numpy as np
import pytest
import scipy.sparse as sp
import scipy.sparse.linalg

from morpho.fem.elasticity import stiffness
from morpho.fem.heat import conductance
from morpho.fem.voxel import vectors
from morpho.fem.voxel.coarsening import cell_shape, coarsen_mask, node_shape
from morpho.fem.voxel.element import COUPLINGS, Element, node_offsets, spectral_bounds
from morpho.fem.voxel.halo import SharedPlanes
from morpho.fem.voxel.multigrid import build
from morpho.fem.voxel.present import find_pieces, whole_pieces
from morpho.mesh.partition import split

SPACINGS = {"square": [1.0, 1.0], "rectangle": [1.0, 0.6], "cube": [1.0, 1.0, 1.0], "brick": [1.0, 1.5, 0.7]}


def element(name, nu=0.3, heat=False):
    spacing = np.array(SPACINGS[name])
    return Element.of(conductance(spacing) if heat else stiffness(spacing, nu, "stress"), len(spacing))


def nodal(cells, components):
    """Shape (z, y, component, x) of a nodal array."""
    nz, ny, nx = node_shape(cells)
    return nz, ny, components, nx


def matrix(K, E, dim=3):
    """The assembled matrix on flat nodal arrays (z, y, component, x)."""
    nz, ny, nx = E.shape
    shape = nodal((nx, ny, nz)[:dim], len(K) // 2**dim)
    number = np.arange(np.prod(shape)).reshape(shape)
    corners = [number[z : z + nz, y : y + ny, :, x : x + nx] for z, y, x in node_offsets(dim)]
    dofs = np.stack(corners).transpose(1, 2, 4, 0, 3).reshape(-1, len(K))
    rows, columns = np.repeat(dofs, len(K), axis=1).ravel(), np.tile(dofs, len(K)).ravel()
    return sp.csr_matrix(((E.reshape(-1, 1) * K.ravel()).ravel(), (rows, columns)))


@pytest.mark.parametrize("name", SPACINGS)
def test_rigid_motions_are_free_and_stretching_is_exact(name):
    spacing = np.array(SPACINGS[name])
    dim, K = len(spacing), stiffness(spacing, 0.25, "strain")
    np.testing.assert_allclose(K, K.T, atol=1e-14)
    assert np.linalg.matrix_rank(K, tol=1e-10) == len(K) - (3 if dim == 2 else 6)
    x = np.array(node_offsets(dim))[:, ::-1][:, :dim] * spacing
    stretch = np.zeros((2**dim, dim))
    stretch[:, 0] = x[:, 0]
    modulus = (1 - 0.25) / ((1 + 0.25) * (1 - 0.5))  # lambda + 2 mu
    assert stretch.ravel() @ K @ stretch.ravel() == pytest.approx(modulus * np.prod(spacing))


@pytest.mark.parametrize(
    ("name", "heat", "count"),
    [("rectangle", False, 8), ("brick", False, 33), ("rectangle", True, 3), ("brick", True, 7)],
)
def test_nothing_is_lost_in_the_basis_of_modes(name, heat, count):
    e = element(name, heat=heat)
    assert len(e.modes) == count == len(COUPLINGS[e.dim, e.components])


@pytest.mark.parametrize("void", [0.0, 0.97])
@pytest.mark.parametrize("heat", [False, True])
@pytest.mark.parametrize("kind", [np.float64, np.float32])
@pytest.mark.parametrize("cells", [(5, 3), (131, 2), (1, 1), (5, 3, 4), (140, 2, 3), (1, 1, 1)])
def test_kernels(cells, kind, heat, void):
    """Operator and energy against an assembled matrix, with rows shorter and longer than a stretch, and void."""
    dim = len(cells)
    e = element("rectangle" if dim == 2 else "brick", heat=heat)
    rng = np.random.default_rng(0)
    E = rng.random((*(cells[2:] or (1,)), cells[1], cells[0])).astype(kind)
    E[rng.random(E.shape) < void] = 0
    E[:, 0, : min(cells[0], 40) - 1] = 0
    u, y = (rng.random(nodal(cells, e.components)).astype(kind) for _ in range(2))
    A = matrix(e.K, E.astype(float), dim)
    expected = y + (A @ u.ravel()).reshape(y.shape)
    e.kernels.add_stiffness(y, u, E, e.modes.astype(kind), find_pieces(E))
    tolerance = 100 * np.finfo(kind).eps
    np.testing.assert_allclose(y, expected, rtol=0, atol=tolerance)
    energy = np.empty_like(E)
    e.kernels.strain_energy(energy, u, e.modes.astype(kind), whole_pieces(energy.shape))
    assert (E * energy).sum() == pytest.approx(u.ravel() @ A @ u.ravel(), rel=tolerance)


@pytest.mark.parametrize("cells", [(8, 4), (7, 5), (8, 6, 4), (7, 5, 3), (1, 2, 9)])
def test_transfers(cells):
    """Interpolation is linear, restriction is its transpose, moduli keep their sum."""
    dim = len(cells)
    coarse_cells = tuple(-(-n // 2) for n in cells)
    rng = np.random.default_rng(0)
    coarse, fine = (rng.random(nodal(c, dim)) for c in (coarse_cells, cells))
    prolonged, restricted = np.zeros_like(fine), np.zeros_like(coarse)
    rows = vectors.whole_rows(fine.shape)
    vectors.add_prolonged(prolonged, coarse, rows)
    vectors.restrict(restricted, fine, rows)
    assert np.vdot(prolonged, fine) == pytest.approx(np.vdot(coarse, restricted), rel=1e-13)
    axes = (0, 1, 3)
    linear = sum(np.indices(coarse.shape)[axis] * (axis + 1.0) for axis in axes)
    expected = sum(np.indices(fine.shape)[axis] * (axis + 1.0) / 2 for axis in axes)
    prolonged[:] = 0
    vectors.add_prolonged(prolonged, linear, rows)
    np.testing.assert_allclose(prolonged, expected, atol=1e-13)
    E = rng.random(cell_shape(np.empty(fine.shape, dtype=bool)))
    larger = np.empty(cell_shape(np.empty(coarse.shape, dtype=bool)))
    vectors.coarsen_moduli(larger, E, dim - 1)
    assert larger.sum() == pytest.approx(E.sum() / 4)


@pytest.mark.parametrize("cells", [(8, 6, 4), (7, 5, 3), (9, 4)])
def test_interpolation_respects_the_supports(cells):
    """What is interpolated from dofs that are not held vanishes at held dofs."""
    dim = len(cells)
    mask = np.random.default_rng(2).random(nodal(cells, dim)) < 0.05
    planes = SharedPlanes(MPI.COMM_SELF, split(cells, 1))
    coarse_mask = coarsen_mask(mask, planes)
    coarse, fine = np.random.default_rng(3).random(coarse_mask.shape), np.zeros(mask.shape)
    vectors.add_prolonged(fine, np.where(coarse_mask, 0.0, coarse), vectors.whole_rows(fine.shape))
    assert not coarse_mask.all() and coarse_mask.any()
    assert np.all(fine[mask] == 0)


def fields():
    """Moduli with every kind of contrast."""
    rng = np.random.default_rng(0)
    shape = (8, 8, 8)
    found = {f"binary {share}": np.where(rng.random(shape) < share, 1.0, 1e-9) for share in (0.05, 0.2, 0.5, 0.8)}
    found |= {name: np.full(shape, 1e-9) for name in ("one", "bar", "plate", "cube")}
    found["one"][4, 4, 4] = found["bar"][4, 4] = found["plate"][4] = found["cube"][3:5, 3:5, 3:5] = 1.0
    found["solid"], found["cubed"] = np.ones(shape), rng.random(shape) ** 3
    found["checkerboard"] = np.indices(shape).sum(axis=0) % 2 + 1e-9
    found["logarithmic"] = 10 ** (-9 * rng.random(shape))
    return found


@pytest.mark.parametrize(("name", "nu"), [("cube", 0.3), ("cube", 0.0), ("cube", 0.45), ("brick", 0.3)])
def test_bound_of_the_smoother_holds_for_every_field(name, nu):
    e = element(name, nu)
    ratios = []
    for E in fields().values():
        total, squares = (np.empty((9, 9, 1, 9)) for _ in range(2))
        vectors.sum_at_nodes(total, E, 2)
        vectors.sum_at_nodes(squares, E * E, 2)
        vectors.smoothing_weights(total, squares, 8, e.unevenness)
        scale = sp.diags(np.sqrt(np.broadcast_to(total, (9, 9, 3, 9)) / e.diagonal[:, None]).ravel())
        largest = scipy.sparse.linalg.eigsh(scale @ matrix(e.K, E) @ scale, 1, which="LA", tol=1e-3)[0][0]
        ratios.append(largest / e.bound)
    assert max(ratios) < 1.02
    assert min(ratios) > 0.6


def test_plain_diagonal_has_no_such_bound():
    largest, inside = spectral_bounds(stiffness(np.ones(3), 0.3, "stress"), 3)
    assert largest > 1.8 * inside


@pytest.mark.parametrize("held_by", ["supports", "springs of heat"])
@pytest.mark.parametrize("deeper", [False, True])
@pytest.mark.parametrize("cells", [(32, 16, 16), (21, 13, 9), (60, 20), (7, 5, 3)])
def test_the_cycle_is_symmetric_and_positive(cells, deeper, held_by):
    e = element("square" if len(cells) == 2 else "cube", heat=held_by != "supports")
    rng = np.random.default_rng(1)
    mask, springs = np.zeros(nodal(cells, e.components), dtype=bool), None
    if held_by == "supports":
        mask[..., 0] = True
        mask[0, 3, 0, 5] = mask[-1, -1, 1, -2] = True
    else:
        springs = np.zeros(mask.shape)
        springs[..., -1] = rng.random(springs[..., -1].shape)
    grid = build(e, SharedPlanes(MPI.COMM_SELF, split(cells, 1)), mask, 0, cells, springs)
    grid.E[:] = 10 ** (-4 * rng.random(grid.E.shape))
    grid.refresh()
    grid.deepen(deeper)
    vectors_in, vectors_out = [], []
    for _ in range(3):
        b = np.where(mask, 0, rng.normal(size=mask.shape)).astype(np.float32)
        grid.b[:] = b
        grid.cycle()
        vectors_in.append(b.astype(float))
        vectors_out.append(grid.x.astype(float))
        assert np.all(grid.x[mask] == 0)
    products = np.array([[np.vdot(b, x) for x in vectors_out] for b in vectors_in])
    assert np.linalg.eigvalsh((products + products.T) / 2).min() > 0
    scale = np.sqrt(np.outer(np.diag(products), np.diag(products)))
    np.testing.assert_allclose(products / scale, products.T / scale, atol=1e-5)


@pytest.mark.parametrize("ranks", [2, 3, 4, 8])
def test_the_cycle_does_not_depend_on_the_ranks(mpirun, ranks):
    found = json.loads(mpirun(ranks, Path(__file__).with_name("voxel_cycle_facts.py")))
    assert len(found) > 16
    assert max(found.values()) < 1e-4, found
