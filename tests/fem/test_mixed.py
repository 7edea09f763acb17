"""The stiffness in float32 on a displacement in float64, and solves that begin with it."""

from __future__ import annotations

from mpi4py import MPI

import numpy as np
import pytest
from helpers import make_problem, plane
from test_block_kernels import cell_array, element, nodal

from morpho.fem.voxel.cg import ConjugateGradients
from morpho.fem.voxel.kernels_3d import STRETCH
from morpho.fem.voxel.mixed import add_to_single
from morpho.fem.voxel.present import find_pieces, whole_pieces
from morpho.parts import Parts

CELLS = [(9, 6), (2 * STRETCH + 3, 4), (7, 4, 5), (2 * STRETCH + 3, 4, 3)]
FAR = 1e4  #: how far all is moved, relative to the lengths of cells


@pytest.mark.parametrize("heat", [False, True], ids=["elasticity", "heat"])
@pytest.mark.parametrize("cells", CELLS, ids=str)
def test_motions_of_the_whole_cost_no_digits(cells, heat):
    e, rng = element(len(cells), heat), np.random.default_rng(0)
    u, E = FAR + rng.standard_normal(nodal(cells, e.components)), rng.uniform(0.1, 1.0, cell_array(cells))
    E[..., ::7] = 0
    for pieces in (whole_pieces(E.shape), find_pieces(E)):
        exact = np.zeros_like(u)
        e.kernels.add_stiffness(exact, u, E, 3 * e.modes, pieces)

        def error(found, exact=exact):
            return np.linalg.norm(found - exact) / np.linalg.norm(exact)

        single, E_single, modes = np.zeros(u.shape, np.float32), E.astype(np.float32), e.modes.astype(np.float32)
        add_to_single(single, u, 3.0, E_single, modes, pieces)
        assert error(single) < 1e-6
        plain = np.zeros_like(single)
        e.kernels.add_stiffness(plain, u.astype(np.float32), E_single, 3 * modes, pieces)
        assert error(plain) > 1e-4


@pytest.mark.parametrize("size, cells", [([4.0, 1.0], [24, 6]), ([4.0, 1.0, 1.0], [24, 6, 6])], ids=["2-D", "3-D"])
def test_loose_solves_begin_with_the_residual_in_float64(size, cells, monkeypatch):
    problem = make_problem(
        mesh={"box": {"size": size, "cells": cells}},
        supports=[{"region": plane("x", 0.0)}],
        loads=[{"forces": [{"region": plane("x", 4.0), "total": [0.3, -1.0, 0.2][: len(size)]}]}],
        solver={"rtol": 1e-8},
        engine="voxel",
    )
    with Parts(problem, MPI.COMM_SELF) as parts:
        physics, rng = parts.physics, np.random.default_rng(0)
        physics.solve(rng.uniform(0.1, 1.0, parts.mesh.n))
        rho = rng.uniform(0.1, 1.0, parts.mesh.n)
        found, start = [], ConjugateGradients.start

        def both(cg, u, load, values, given=None, loosely=False):
            for loose in (True, False):
                residual = start(cg, u, load, values, given, loose)[0]
                found.append((residual, cg.preconditioner.b.copy()))
            assert loosely
            return residual, cg._norm

        monkeypatch.setattr(ConjugateGradients, "start", both)
        assert physics.solve(rho, 0.1).linear_iterations > 0
        (loose, b), (tight, exact) = found
        assert loose == pytest.approx(tight, rel=1e-5)
        np.testing.assert_allclose(b, exact, rtol=0, atol=1e-5 * np.abs(exact).max())
