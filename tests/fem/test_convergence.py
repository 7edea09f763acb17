"""Manufactured solution: the L2 error of the displacement falls with the square of the cell size, or better."""

from __future__ import annotations

import numpy as np
import pytest
import ufl
from dolfinx import fem, la
from helpers import CELLS, DIM, make_mesh, make_problem, plane, unit_box

from morpho.fem.assembled import AssembledEquation
from morpho.fem.material import lame

NU = 0.3
LEVELS = {2: [8, 16, 32], 3: [3, 6, 12]}


def exact(x, dim):
    """Zero on the boundary of the unit box, a different wave in every direction."""
    s = [ufl.sin(np.pi * x[i]) for i in range(dim)]
    product = s[0] * s[1] * (s[2] if dim == 3 else 1)
    return ufl.as_vector([product * (1 + i * x[0]) for i in range(dim)])


def body_force(u, dim, plane_state):
    """-(lam + mu) grad div u - mu lap u, with Lame parameters from a textbook, not from morpho."""
    mu = 1 / (2 * (1 + NU))
    lam = NU / (1 - NU**2) if dim == 2 and plane_state == "stress" else NU / ((1 + NU) * (1 - 2 * NU))
    return -(lam + mu) * ufl.grad(ufl.div(u)) - mu * ufl.div(ufl.grad(u))


def error(cell, n, plane_state, degree):
    """L2 norm of the error of the displacement, and the compliance."""
    dim = DIM[cell]
    sides = {"any_of": [plane(axis, at) for axis in "xyz"[:dim] for at in (0, 1)]}
    problem = make_problem(
        unit_box(cell, n),
        material={"nu": NU, "plane": plane_state},
        supports=[{"region": sides}],
        solver={"degree": degree, "preset": "direct" if dim == 2 else "multigrid", "rtol": 1e-10},
    )
    mesh = make_mesh(unit_box(cell, n))
    with AssembledEquation(mesh, problem) as physics:
        u = exact(ufl.SpatialCoordinate(mesh.domain), dim)
        measure = ufl.Measure("dx", domain=mesh.domain, metadata={"quadrature_degree": 4})
        right = ufl.inner(body_force(u, dim, plane_state), ufl.TestFunction(physics.V)) * measure
        vector = fem.assemble_vector(fem.form(right))
        vector.scatter_reverse(la.InsertMode.add)
        physics.loads[0][:] = vector.array[: physics.owned]
        compliance = float(physics.solve(np.ones(mesh.n)).compliance[0])
        difference = physics.u[0] - u
        return np.sqrt(fem.assemble_scalar(fem.form(ufl.inner(difference, difference) * measure))), compliance


@pytest.mark.parametrize(
    ("cell", "plane_state"),
    [(cell, "stress") for cell in CELLS] + [("quadrilateral", "strain"), ("triangle", "strain")],
)
def test_degree_one_converges_with_rate_two(cell, plane_state):
    errors, compliances = np.transpose([error(cell, n, plane_state, 1) for n in LEVELS[DIM[cell]]])
    rates = np.log2(errors[:-1] / errors[1:])
    assert rates[-1] >= 1.9 and rates[-1] < 2.3
    assert np.all(np.diff(compliances) > 0)  # the discrete structure is too stiff


def test_degree_two_converges_with_rate_three():
    errors, _ = np.transpose([error("triangle", n, "stress", 2) for n in (4, 8, 16)])
    assert np.log2(errors[-2] / errors[-1]) >= 2.9


@pytest.mark.parametrize("plane_state", ["stress", "strain"])
def test_lame_parameters(plane_state):
    lam, mu = lame(3.0, 0.25, 2, plane_state)
    assert mu == pytest.approx(1.2)
    assert lam == pytest.approx({"stress": 3 * 0.25 / (1 - 0.25**2), "strain": 1.2}[plane_state])
    assert lame(3.0, 0.25, 3, plane_state) == pytest.approx((1.2, 1.2))
