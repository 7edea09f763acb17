"""The worst of several load cases."""

from pathlib import Path

from mpi4py import MPI

import numpy as np
import pytest
from helpers import evaluate, random_cells, taylor_rates

import morpho
from morpho.errors import InputError
from morpho.parts import Parts
from morpho.problem.load import parse_problem


def bracket(over="worst", source="exact", **parts):
    """Pushed from the side, and pressed three times as hard."""
    tip = {"plane": {"axis": "x", "at": 2}}
    loads = [{"name": "side", "forces": [{"region": tip, "total": [3, 0]}]}]
    loads += [{"name": "down", "weight": 0.5, "forces": [{"region": tip, "total": [0, -1]}]}]
    loads += [{"name": "body", "forces": [{"self_weight": [0.2, 0.1]}, {"region": tip, "total": [0, 0.8]}]}]
    given = {
        "mesh": {"box": {"size": [2, 1], "cells": [24, 12]}},
        "supports": [{"region": {"plane": {"axis": "x", "at": 0}}}],
        "loads": loads,
        "objective": {"kind": "compliance", "over": over},
        "constraints": [{"volume_fraction": 0.4}],
        "design": {"filter": {"kind": "cone", "radius": 0.2}},
        "optimizer": {"kind": "mma", "max_iterations": 60, "objective_tolerance": 0},
        "gradient": {"source": source},
    }
    return parse_problem(given | parts, "bracket", Path())


@pytest.mark.parametrize("engine", ["voxel", "assembled"])
def test_derivatives(engine):
    with Parts(bracket(engine=engine, solver={"rtol": 1e-12}), MPI.COMM_SELF) as parts:
        x, dx = random_cells(parts.mesh, 0.4, 0.6), random_cells(parts.mesh, -1, 1, seed=3)

        def f(x):
            found = evaluate(parts, x)
            return found.objective, found.d_objective

        assert taylor_rates(f, x, dx, h=2e-3).min() > 1.9


def test_it_is_above_the_largest_and_near_it():
    with Parts(bracket(), MPI.COMM_SELF) as parts:
        gradient = parts.source.estimate(random_cells(parts.mesh, 0.3, 1))
        value = parts.responses.objective.at(np.zeros(0), gradient).value
    largest = (gradient.weights * gradient.cases).max()
    assert largest <= value <= 3 ** (1 / 20) * largest


@pytest.mark.parametrize("source", ["exact", "inexact", "secant"])
def test_the_worst_case_is_better_than_that_of_the_sum(source):
    """And the cases come together."""
    worst, total = (morpho.solve(bracket(over, source), comm=MPI.COMM_SELF) for over in ("worst", "sum"))
    weighted = [np.array([1, 0.5, 1]) * list(result.compliance.values()) for result in (worst, total)]
    assert weighted[0].max() < 0.97 * weighted[1].max()
    assert worst.feasible


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"loads": [{"forces": [{"body": [0, 1]}]}]}, "objective.over: there is one load case"),
        ({"optimizer": {"kind": "oc"}, "loads": None}, "oc does not settle"),
        (
            {"supports": [{"region": {"plane": {"axis": "x", "at": 0}}, "value": [0.1, 0]}]},
            "objective.over: where supports move, compliances may be negative",
        ),
        ({"objective": {"kind": "volume", "over": "worst"}}, "volume takes no over"),
    ],
)
def test_what_cannot_be_is_said(parts, said):
    parts = {key: value for key, value in parts.items() if value is not None}
    with pytest.raises(InputError) as error:
        bracket(**parts)
    assert said in str(error.value)
