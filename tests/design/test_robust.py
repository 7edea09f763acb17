"""Robust designs: three realisations, the thinner one counts, a least length that is measured on the result."""

from pathlib import Path

from mpi4py import MPI

import numpy as np
import pytest
from helpers import random_cells, taylor_rates
from scipy import ndimage

import morpho
from morpho.design.realisations import least_length
from morpho.errors import InputError
from morpho.parts import Parts
from morpho.problem.load import parse_problem

PROBLEMS = Path(__file__).parents[2] / "problems"


def beam(engine="voxel", **parts):
    given = {
        "engine": engine,
        "mesh": {"box": {"size": [3, 1], "cells": [24, 8]}},
        "supports": [{"region": {"plane": {"axis": "x", "at": 0}}}],
        "loads": [{"forces": [{"region": {"plane": {"axis": "x", "at": 3}}, "total": [0.2, -1]}]}],
        "constraints": [{"volume_fraction": 0.5}],
        "design": {
            "filter": {"kind": "cone", "radius": 0.4},
            "projection": {"beta": 4},
            "robust": {"eta": 0.3},
            "passive": {"solid": [{"box": {"min": [2.5, 0], "max": [3, 1]}}]},
        },
        "solver": {"rtol": 1e-12},
    }
    return parse_problem(given | parts, "beam", Path())


def opened(solid, radius):
    """The cells of a picture in 0 and 1 that balls of a radius in cells fit into; the border does not count."""
    reach = int(np.ceil(radius))
    x = np.indices((2 * reach + 1,) * solid.ndim) - reach
    padded = np.pad(solid, 2 * reach, mode="edge")
    found = ndimage.binary_opening(padded, np.sum(x**2, axis=0) <= radius**2)
    return found[(slice(2 * reach, -2 * reach),) * solid.ndim]


@pytest.mark.parametrize("engine", ["voxel", "assembled"])
def test_the_objective_is_that_of_the_thinner_one(engine):
    with Parts(beam(engine), MPI.COMM_SELF) as parts:
        x, dx = random_cells(parts.mesh, 0.4, 0.6), random_cells(parts.mesh, -1, 1, seed=3)

        def f(x):
            drawn = parts.design.realise(1, x)
            gradient = parts.source.estimate(drawn.solved)
            found = parts.responses.evaluate(
                drawn.rho,
                gradient,
                drawn.pullback,
                lambda d: d,
                solved_pullback=drawn.solved_pullback,
                grown=drawn.grown,
            )
            return found.objective, found.d_objective

        assert taylor_rates(f, x, dx, h=2e-3).min() > 1.9
        drawn = parts.design.realise(1, x)
        assert np.all(drawn.solved <= drawn.rho) and np.all(drawn.rho <= drawn.grown[0])
        compliances = [parts.source.estimate(rho).compliance for rho in (drawn.solved, drawn.rho, drawn.grown[0])]
    assert compliances == sorted(compliances, reverse=True)


@pytest.fixture(scope="module", params=["robust_2d", "robust_3d"])
def run(request):
    problem = morpho.load_problem(PROBLEMS / f"{request.param}.yaml")
    return problem, morpho.solve(problem, comm=MPI.COMM_SELF)


def test_members_and_holes_have_the_least_length(run):
    """To one cell, by opening the solid and the void of the design as it is drawn."""
    problem, result = run
    cells = problem.mesh.box.cells
    picture = result.rho.reshape(cells[::-1]) > 0.5
    length = least_length(0.3) * problem.design.filter.radius * cells[0] / problem.mesh.box.size[0]
    lost = [solid & ~opened(solid, (length - 1) / 2) for solid in (picture, ~picture)]
    corners = 0.002 * picture.size  # sharp corners of holes, which no ball fits into
    assert [part.sum() < corners for part in lost] == [True, True], [part.sum() for part in lost]


def test_the_drawn_design_is_black_and_white_and_has_the_volume(run):
    problem, result = run
    limit = problem.constraints[0].volume_fraction
    assert result.feasible and result.volume == pytest.approx(limit, rel=2e-3)
    assert float(np.mean(4 * result.rho * (1 - result.rho))) < 0.05


@pytest.mark.parametrize(("eta", "expected"), [(0.25, 1.0), (0.3, 0.89), (0.4, 0.63)])
def test_least_length(eta, expected):
    """With thresholds 0.25 and 0.75 one radius (Qian & Sigmund 2013, figure of the one-dimensional strip)."""
    assert least_length(eta) == pytest.approx(expected, abs=0.015)


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"design": {"robust": {}}}, "design.robust: needs a filter and design.projection"),
        ({"gradient": {"source": "koopman"}}, "gradient.source: koopman works on the drawn design"),
        ({"objective": {"kind": "volume"}}, "design.robust: the thinner design is the worst one"),
    ],
)
def test_what_cannot_be_is_said(parts, said):
    with pytest.raises(InputError) as error:
        Parts(beam(**parts), MPI.COMM_SELF)
    assert said in str(error.value)
