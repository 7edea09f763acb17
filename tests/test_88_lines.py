"""The half MBB beam against published compliances and against a small independent implementation.

Andreassen, Clausen, Schevenels, Lazarov, Sigmund, "Efficient topology optimization in MATLAB using 88 lines of
code", SMO 43 (2011) 1-16, doi 10.1007/s00158-010-0594-7.
"""

from itertools import islice
from pathlib import Path

from mpi4py import MPI

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.sparse.linalg import spsolve
from scipy.spatial.distance import cdist

import morpho
from morpho.problem.load import parse_problem


def half_beam(nelx: int, nely: int, kind: str, radius: float) -> morpho.Problem:
    """The paper's problem on unit squares; only the change of the design stops it."""
    data = {
        "mesh": {"box": {"size": [nelx, nely], "cells": [nelx, nely]}},
        "material": {"E": 1, "nu": 0.3, "penalty": 3, "E_min_ratio": 1e-9, "plane": "stress"},
        "supports": [
            {"region": {"plane": {"axis": "x", "at": 0}}, "fix": "x"},
            {"region": {"points": [[nelx, 0]]}, "fix": "y"},
        ],
        "loads": [{"forces": [{"region": {"points": [[0, nely]]}, "total": [0, -1]}]}],
        "constraints": [{"volume_fraction": 0.5}],
        "design": {"filter": {"kind": kind, "radius": radius}},
        "optimizer": {"move_limit": 0.2, "tolerance": 0.01, "objective_tolerance": 0, "max_iterations": 1000},
    }
    return parse_problem(data, "paper", Path())


@pytest.mark.parametrize(
    ("nelx", "nely", "kind", "radius", "published"),
    [
        (60, 20, "sensitivity", 2.4, 216.81),
        (60, 20, "cone", 2.4, 233.71),
        (150, 50, "sensitivity", 6.0, 219.52),
        (150, 50, "cone", 6.0, 235.73),
    ],
)
def test_published_compliance(nelx: int, nely: int, kind: str, radius: float, published: float) -> None:
    result = morpho.solve(half_beam(nelx, nely, kind, radius), comm=MPI.COMM_SELF)
    assert result.status is morpho.Status.CONVERGED
    assert result.objective == pytest.approx(published, rel=1e-3)
    assert result.volume == pytest.approx(0.5, abs=1e-9)
    assert result.iterations == result.exact_solves


def stiffness_of_a_unit_square(nu: float = 0.3) -> np.ndarray:
    """Bilinear plane stress element at E = 1, corners (0,0), (1,0), (1,1), (0,1), by 2 x 2 Gauss points."""
    elastic = np.array([[1, nu, 0], [nu, 1, 0], [0, 0, (1 - nu) / 2]]) / (1 - nu**2)
    points = 0.5 + np.array([-0.5, 0.5]) / np.sqrt(3)
    stiffness = np.zeros((8, 8))
    for s in points:
        for t in points:
            strain = np.zeros((3, 8))
            strain[0, 0::2] = strain[2, 1::2] = [t - 1, 1 - t, t, -t]
            strain[1, 1::2] = strain[2, 0::2] = [s - 1, -s, s, 1 - s]
            stiffness += strain.T @ elastic @ strain / 4
    return stiffness


def classic_history(nelx: int, nely: int, kind: str, radius: float, iterations: int) -> list[float]:
    """Compliances of the classic algorithm: SIMP with p = 3, filter, optimality criteria with bisection."""
    i, j = (grid.ravel() for grid in np.meshgrid(np.arange(nelx), np.arange(nely), indexing="ij"))
    corners = np.stack([(i + a) * (nely + 1) + j + b for a, b in ((0, 0), (1, 0), (1, 1), (0, 1))], axis=1)
    dofs = (2 * corners[:, :, None] + [0, 1]).reshape(-1, 8)
    rows, columns = np.repeat(dofs, 8, axis=1).ravel(), np.tile(dofs, (1, 8)).ravel()
    element, size = stiffness_of_a_unit_square(), 2 * (nelx + 1) * (nely + 1)
    load = np.zeros(size)
    load[2 * nely + 1] = -1
    held = [*range(0, 2 * (nely + 1), 2), 2 * nelx * (nely + 1) + 1]
    free = np.setdiff1d(np.arange(size), held)

    centres = np.stack([i, j], axis=1)
    weights = np.maximum(0, radius - cdist(centres, centres))
    average = weights / weights.sum(axis=1, keepdims=True)
    of_density = kind == "cone"
    x, history = np.full(nelx * nely, 0.5), []
    for _ in range(iterations):
        rho = average @ x if of_density else x
        modulus = 1e-9 + rho**3 * (1 - 1e-9)
        entries = (modulus[:, None] * element.ravel()).ravel()
        matrix = sp.coo_matrix((entries, (rows, columns)), shape=(size, size)).tocsc()
        u = np.zeros(size)
        u[free] = spsolve(matrix[np.ix_(free, free)], load[free])
        energy = np.einsum("ea,ab,eb->e", u[dofs], element, u[dofs])
        history.append(float(modulus @ energy))
        slope = -3 * rho**2 * (1 - 1e-9) * energy
        if of_density:
            slope, cost = average.T @ slope, average.T @ np.ones_like(x)
        else:
            slope, cost = average @ (x * slope) / np.maximum(1e-3, x), np.ones_like(x)
        low, high = 1e-9, 1e9
        while high - low > 1e-15 * (low + high):
            middle = (low + high) / 2
            new = np.clip(x * np.sqrt(-slope / cost / middle), np.maximum(0, x - 0.2), np.minimum(1, x + 0.2))
            volume = np.mean(average @ new if of_density else new)
            low, high = (middle, high) if volume > 0.5 else (low, middle)
        x = new
    return history


@pytest.mark.parametrize("kind", ["sensitivity", "cone"])
def test_same_history_as_the_classic_algorithm(kind: str) -> None:
    steps = islice(morpho.iterate(half_beam(60, 20, kind, 2.4), comm=MPI.COMM_SELF), 20)
    found = [step.objective for step in steps]
    assert found[0] == pytest.approx(1007.0221, abs=1e-4)  # as 88 lines of MATLAB print it
    np.testing.assert_allclose(found, classic_history(60, 20, kind, 2.4, 20), rtol=1e-6)
