"""Taylor tests of every derivative the optimizer sees, with respect to x, through the whole chain."""

from __future__ import annotations

from functools import cache

from mpi4py import MPI

import numpy as np
import pytest
from helpers import CELLS, DIM, box, evaluate, make_problem, plane, random_cells, taylor_rates

from morpho.parts import Parts

N = {"triangle": 4, "quadrilateral": 5, "tetrahedron": 2, "hexahedron": 3}
FILTERS = {"cone": {"kind": "cone", "radius": 0.5}, "helmholtz": {"kind": "helmholtz", "radius": 0.5}}
MATERIALS = {
    "simp": {"interpolation": "simp", "penalty": 3.0, "E_min_ratio": 1e-3},
    "ramp": {"interpolation": "ramp", "penalty": 5.0, "E_min_ratio": 1e-3},
}


def block(dim, x, y):
    """Region: all cells in a range of x and y."""
    return {"box": {"min": [x[0], y[0], 0.0][:dim], "max": [x[1], y[1], 1.0][:dim]}}


def constraints(dim):
    """One of every kind."""
    return [
        {"volume_fraction": 0.4},
        {"volume_fraction": 0.3, "region": block(dim, (0.0, 1.0), (0.0, 0.6))},
        {"kind": "compliance", "max": 2.0, "case": "tip"},
        {"kind": "compliance", "max": 30.0},
    ]


def problem(cell, rule="cone", law="simp", moving=False, n=None, **parts):
    """Two weighted load cases with self weight, solid and void passive cells, a filter and a projection."""
    dim, n = DIM[cell], n or N[cell]
    push, gravity, tip = ([0.0, 0.5, 0.2][:dim], [0.1, -0.8, 0.3][:dim], [0.3, 1.0, -0.5][:dim])
    supports = [{"region": plane("x", 0)}]
    if moving:
        supports += [{"region": plane("x", 2), "fix": "x", "value": 0.3}]
    cases = [
        {"name": "tip", "weight": 2.0, "forces": [{"region": plane("x", 2), "total": tip}]},
        {
            "name": "own",
            "weight": 0.7,
            "forces": [{"region": plane("y", 1), "traction": push}, {"self_weight": gravity}, {"body": push}],
        },
    ]
    passive = {
        "solid": [block(dim, (1.6, 2.0), (0.0, 1.0))],
        "void": [block(dim, (0.0, 0.6), (0.6, 1.0))],
    }
    design = {"filter": FILTERS[rule], "projection": {"beta": 2.0, "eta": 0.4}, "passive": passive}
    defaults = {
        "supports": supports,
        "loads": cases,
        "design": design,
        "material": MATERIALS[law],
        "constraints": constraints(dim),
        "optimizer": {"kind": "mma"},
        "solver": {"preset": "direct"},
    }
    return make_problem(box([2 * n, *[n] * (dim - 1)], [2.0, 1.0, 1.0][:dim], cell), **defaults | parts)


def rates(parts, which):
    """Taylor rates of the objective (-1) or a constraint, in a random direction."""
    x, dx = random_cells(parts.mesh, 0.3, 0.7), random_cells(parts.mesh, -1.0, 1.0, seed=1)

    @cache
    def at(key):
        return evaluate(parts, np.frombuffer(key))

    def value(x):
        found = at(x.tobytes())
        if which < 0:
            return found.objective, found.d_objective
        return found.constraints[which], found.d_constraints[which]

    return taylor_rates(value, x, dx)


@pytest.mark.parametrize("moving", [False, True], ids=["loads", "moving supports"])
@pytest.mark.parametrize("law", MATERIALS)
@pytest.mark.parametrize("rule", FILTERS)
@pytest.mark.parametrize("cell", CELLS)
def test_compliance(cell, rule, law, moving):
    with Parts(problem(cell, rule, law, moving), MPI.COMM_SELF) as parts:
        found = rates(parts, -1)
    assert found.min() >= 1.9 and found.max() < 2.2


@pytest.mark.parametrize("degree", [1, 2])
@pytest.mark.parametrize("cell", ["triangle", "hexahedron"])
def test_compliance_with_an_iterative_solver(cell, degree):
    solver = {"preset": "multigrid", "rtol": 1e-10, "degree": degree}
    with Parts(problem(cell, solver=solver), MPI.COMM_SELF) as parts:
        assert rates(parts, -1).min() >= 1.9


@pytest.mark.parametrize("constraint", range(4))
@pytest.mark.parametrize("cell", ["quadrilateral", "tetrahedron"])
def test_constraints(cell, constraint):
    with Parts(problem(cell), MPI.COMM_SELF) as parts:
        assert rates(parts, constraint).min() >= 1.9


def test_volume_as_objective():
    with Parts(problem("triangle", objective={"kind": "volume"}), MPI.COMM_SELF) as parts:
        assert rates(parts, -1).min() >= 1.9
        found = evaluate(parts, random_cells(parts.mesh, 0.3, 0.7))
        assert 0.3 < found.objective < 0.7


@pytest.mark.parametrize("law", MATERIALS)
def test_continuation_is_in_force(law):
    """The derivative belongs to the penalty and sharpness of the iteration, which do change the value."""
    step = {"start": 1.0, "max": 4.0, "every": 2, "step": 1.0}
    design = {"filter": FILTERS["cone"], "projection": {"beta": {"start": 1.0, "max": 4.0, "every": 3, "factor": 2.0}}}
    p = problem("quadrilateral", material=MATERIALS[law] | {"penalty": step}, design=design)
    with Parts(p, MPI.COMM_SELF) as parts:
        x, dx = random_cells(parts.mesh, 0.3, 0.7), random_cells(parts.mesh, -1.0, 1.0, seed=1)
        values = []
        for iteration in (1, 3, 4, 8):

            def value(x, iteration=iteration):
                found = evaluate(parts, x, iteration)
                return found.objective, found.d_objective

            assert taylor_rates(value, x, dx, h=0.01).min() >= 1.9
            values.append(value(x)[0])
    assert values[0] < values[1] and len(set(np.round(values, 6))) == 4


def test_passive_cells_have_no_derivative():
    with Parts(problem("quadrilateral"), MPI.COMM_SELF) as parts:
        found = evaluate(parts, random_cells(parts.mesh, 0.3, 0.7))
        passive = np.concatenate([parts.design.passive.solid, parts.design.passive.void])
        assert len(passive) == 2 * 5 + 3 * 2
        derivatives = np.vstack([found.d_objective, found.d_constraints])
        assert np.all(derivatives[:, passive] == 0)
        assert np.all(np.delete(derivatives[0], passive) != 0)


def test_weights_and_cases():
    """The objective is the weighted sum of the cases that the constraints see one by one."""
    each = [{"kind": "compliance", "max": 2.0, "case": name} for name in ("tip", "own")]
    with Parts(problem("quadrilateral", constraints=each), MPI.COMM_SELF) as parts:
        found = evaluate(parts, random_cells(parts.mesh, 0.3, 0.7))
    cases = 2.0 * (found.constraints + 1)
    assert found.objective == pytest.approx(np.array([2.0, 0.7]) @ cases, rel=1e-12)
    np.testing.assert_allclose(found.d_objective, 2.0 * np.array([2.0, 0.7]) @ found.d_constraints, rtol=1e-12)


@pytest.mark.parametrize("rule", FILTERS)
def test_every_entry_of_the_gradient(rule):
    """Central differences in every single x agree with the gradient, not only in one direction."""
    p = problem("quadrilateral", rule, n=2, design={"filter": FILTERS[rule]})
    with Parts(p, MPI.COMM_SELF) as parts:
        x, h = random_cells(parts.mesh, 0.4, 0.7), 1e-4
        shifts = h * np.eye(parts.mesh.n)
        central = [(evaluate(parts, x + s).objective - evaluate(parts, x - s).objective) / (2 * h) for s in shifts]
        exact = evaluate(parts, x).d_objective
    np.testing.assert_allclose(central, exact, rtol=1e-5)
