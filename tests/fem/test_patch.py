"""Patch test: under uniaxial tension the displacement is linear, and every mesh reproduces it exactly."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import CELLS, DIM, distort, make_mesh, make_problem, plane, rollers, unit_box

from morpho.fem.assembled import AssembledEquation

E, NU, TENSION = 2.0, 0.3, 0.7
#: cell, plane: stiffness along the tension, and contraction across it
CASES = [(c, "stress", E, NU) for c in CELLS if DIM[c] == 2]
CASES += [(c, "strain", E / (1 - NU**2), NU / (1 - NU)) for c in CELLS if DIM[c] == 2]
CASES += [(c, "stress", E, NU) for c in CELLS if DIM[c] == 3]


@pytest.mark.parametrize("degree", [1, 2])
@pytest.mark.parametrize(("cell", "state", "stiffness", "contraction"), CASES)
def test_uniaxial_tension_on_a_distorted_mesh(cell, state, stiffness, contraction, degree):
    dim = DIM[cell]
    problem = make_problem(
        unit_box(cell, 3),
        material={"E": E, "nu": NU, "plane": state},
        supports=rollers(dim),
        loads=[{"forces": [{"region": plane("x", 1), "traction": [TENSION, 0, 0][:dim]}]}],
        solver={"degree": degree, "preset": "direct"},
    )
    mesh = distort(make_mesh(unit_box(cell, 3)))
    with AssembledEquation(mesh, problem) as physics:
        assert not physics.complaints
        solution = physics.solve(np.ones(mesh.n))
        x = physics.V.tabulate_dof_coordinates()[:, :dim]
        strain = TENSION / stiffness
        exact = x * np.array([strain, -contraction * strain, -contraction * strain])[:dim]
        np.testing.assert_allclose(physics.u[0].x.array.reshape(-1, dim), exact, rtol=0, atol=1e-10 * strain)
    assert solution.compliance == pytest.approx([TENSION**2 / stiffness], rel=1e-10)
    energy = TENSION * strain / E * mesh.volumes  # at unit stiffness
    if cell != "hexahedron":  # the volume of a hexahedron with curved sides is not that of its straight pieces
        np.testing.assert_allclose(solution.energy[0], energy, rtol=1e-9)
    assert solution.energy[0].sum() == pytest.approx(energy.sum(), rel=1e-10)


@pytest.mark.parametrize("cell", CELLS)
def test_layers_in_series(cell):
    """Two layers of different density across the tension: their compliances add up."""
    dim = DIM[cell]
    problem = make_problem(
        unit_box(cell, 2),
        material={"E": E, "nu": NU, "plane": "stress", "penalty": 3.0, "E_min_ratio": 1e-2},
        supports=[{"region": plane(axis, at)} | {"fix": axis} for axis in "yz"[: dim - 1] for at in (0, 1)]
        + [{"region": plane("x", 0), "fix": "x"}],
        loads=[{"forces": [{"region": plane("x", 1), "traction": [TENSION, 0, 0][:dim]}]}],
    )
    mesh = make_mesh(unit_box(cell, 2))
    rho = np.where(mesh.centers[:, 0] < 0.5, 0.5, 1.0)
    # No contraction: the modulus along x is that of confined compression.
    confined = E / (1 - NU**2) if dim == 2 else E * (1 - NU) / ((1 + NU) * (1 - 2 * NU))
    soft = 0.01 + 0.99 * 0.5**3
    with AssembledEquation(mesh, problem) as physics:
        compliance = physics.solve(rho).compliance
    assert compliance == pytest.approx([TENSION**2 / confined * (0.5 / soft + 0.5)], rel=1e-10)
