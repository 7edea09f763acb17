"""The work arrays of the conjugate gradients: what shares memory is never read after its time, and nothing stays."""

from __future__ import annotations

from typing import Any

from mpi4py import MPI

import numpy as np
import pytest
from helpers import make_problem, plane

from morpho.fem.voxel.work import Work
from morpho.parts import Parts


def problem(rtol: float) -> Any:
    return make_problem(
        mesh={"box": {"size": [2.0, 1.0, 1.0], "cells": [24, 12, 12]}},
        supports=[{"region": plane("x", 0.0)}],
        loads=[{"name": "tip", "forces": [{"region": plane("x", 2.0), "total": [0.0, 0.0, -1.0]}]}],
        solver={"rtol": rtol},
        engine="voxel",
    )


def solved(rtol: float) -> tuple[float, Any]:
    """Compliance at a tolerance, and the solver."""
    with Parts(problem(rtol), MPI.COMM_SELF) as parts:
        rho = np.random.default_rng(0).uniform(0.1, 1.0, parts.mesh.n)
        return float(parts.physics.solve(rho).compliance[0]), parts.physics.cg


def test_what_has_given_way_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = solved(1e-9)[0]

    def spoil(*names: str) -> Any:
        def spoiled(work: Work) -> None:
            for name in names:
                getattr(work, name)[:] = np.nan

        return spoiled

    monkeypatch.setattr(Work, "begin_residual", spoil("load", "moduli"))
    monkeypatch.setattr(Work, "drop_moduli", spoil("moduli"))
    monkeypatch.setattr(Work, "drop_load", spoil("x", "r"))
    assert solved(1e-9)[0] == pytest.approx(expected, rel=1e-14)


def test_nothing_stays_between_solves() -> None:
    work = solved(1e-5)[1].work
    assert not any(array.any() for array in (work.x, work.r, work.b, work.p))


@pytest.mark.parametrize("rtol", [1e-3, 1e-6, 1e-10])
def test_the_residual_is_that_in_float64(rtol: float) -> None:
    with Parts(problem(rtol), MPI.COMM_SELF) as parts:
        physics, rho = parts.physics, np.random.default_rng(0).uniform(0.1, 1.0, parts.mesh.n)
        physics.solve(rho)
        load = physics.load(0, rho)
        load.reshape(-1)[physics.supports.dofs] = 0
        norm, A = np.linalg.norm(load), physics.cg.operator
        A.add(load, physics.u[0], -1.0)
        assert np.linalg.norm(load) <= rtol * norm
