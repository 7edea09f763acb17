"""Linear solvers: the presets agree, start warm, fail loudly and leave nothing in PETSc's options."""

from __future__ import annotations

from petsc4py import PETSc

import numpy as np
import pytest
from helpers import box, make_mesh, make_problem, plane, random_cells

from morpho.errors import SolverError
from morpho.fem.assembled import AssembledEquation
from morpho.fem.ksp import DIRECT_LIMIT, choose_preset

PRESETS = ["direct", "multigrid", "hypre"]
ITERATIVE = ["multigrid", "hypre"]
ELEMENTS = [("hexahedron", 1), ("tetrahedron", 1), ("hexahedron", 2)]


def cantilever(preset, cell="hexahedron", degree=1, **solver):
    """A 3-D cantilever with two load cases, for random densities with much contrast."""
    part = box([8, 4, 4], [2.0, 1.0, 1.0], cell)
    forces = [{"region": plane("x", 2), "total": total} for total in ([0, 0, -1], [0, 1, 0])]
    loads = [{"name": f"case{i}", "forces": [force]} for i, force in enumerate(forces)]
    solver = {"preset": preset, "degree": degree} | solver
    material = {"penalty": 3.0, "E_min_ratio": 1e-6}
    return AssembledEquation(make_mesh(part), make_problem(part, loads=loads, solver=solver, material=material))


def density(mesh):
    """Half void, half solid, at random: a contrast of a million."""
    return np.where(random_cells(mesh) < 0.5, 1e-3, random_cells(mesh, 0.5, 1.0, seed=1))


@pytest.fixture(scope="module")
def reference():
    """Compliance and derivative by the direct solver, by cell and degree."""
    found = {}
    for cell, degree in ELEMENTS:
        with cantilever("direct", cell, degree) as physics:
            found[cell, degree] = physics.solve(density(physics.mesh))
    return found


@pytest.mark.parametrize(
    ("preset", "cell", "degree"),
    [("multigrid", *element) for element in ELEMENTS] + [("hypre", *element) for element in ELEMENTS[:2]],
)
def test_presets_agree(reference, preset, cell, degree):
    with cantilever(preset, cell, degree) as physics:
        found = physics.solve(density(physics.mesh))
    exact = reference[cell, degree]
    np.testing.assert_allclose(found.compliance, exact.compliance, rtol=1e-6)
    scale = np.abs(exact.d_compliance).max()
    np.testing.assert_allclose(found.d_compliance, exact.d_compliance, rtol=0, atol=1e-5 * scale)
    assert 2 < found.linear_iterations < 400


def test_residual_of_the_direct_solver():
    """The work of the loads is the stored energy: l(u) = a(u, u)."""
    with cantilever("direct") as physics:
        rho = density(physics.mesh)
        found = physics.solve(rho)
        stored = found.energy @ physics.material.stiffness(rho)
    np.testing.assert_allclose(stored, found.compliance, rtol=1e-9)
    assert found.linear_iterations == 2


@pytest.mark.parametrize("preset", ITERATIVE)
def test_warm_start(preset):
    with cantilever(preset) as physics:
        rho = density(physics.mesh)
        first, again = physics.solve(rho), physics.solve(rho)
        nearby = physics.solve(np.clip(rho + 1e-6, 0, 1))
    assert first.linear_iterations > 4
    assert again.linear_iterations == 0
    np.testing.assert_allclose(again.compliance, first.compliance, rtol=1e-12)
    assert nearby.linear_iterations < first.linear_iterations


@pytest.mark.parametrize("preset", ITERATIVE)
def test_displacements_can_be_put_back(preset):
    """What a checkpoint holds is enough for a warm start."""
    with cantilever(preset) as physics:
        rho = density(physics.mesh)
        physics.solve(rho)
        saved = [physics.displacement(i).copy() for i in range(2)]
    assert saved[0].shape == (physics.mesh.n, 24)
    with cantilever(preset) as physics:
        for i in range(2):
            physics.set_displacement(i, saved[i])
        assert physics.solve(rho).linear_iterations == 0


@pytest.mark.parametrize("preset", ITERATIVE)
def test_a_solve_that_does_not_converge_is_an_error(preset):
    said = r"stopped after 1 iterations \(.*DIVERGED_MAX_IT.*\); raise"
    with cantilever(preset, max_iterations=1) as physics, pytest.raises(SolverError, match=said):
        physics.solve(density(physics.mesh))


def test_a_displacement_that_is_not_finite_is_an_error():
    with cantilever("direct") as physics, pytest.raises(SolverError):
        physics.solve(np.full(physics.mesh.n, np.nan))


@pytest.mark.parametrize("preset", PRESETS)
def test_options_are_taken_back(preset):
    options = PETSc.Options()
    before = dict(options.getAll())
    with cantilever(preset) as physics:
        physics.solve(np.ones(physics.mesh.n))
        assert physics.solver.ksp.getPC().getType() == {"direct": "cholesky", "multigrid": "gamg"}.get(preset, preset)
        assert options.getAll() == before
    assert options.getAll() == before


def test_options_of_the_user_win_and_stay():
    options = PETSc.Options()
    options["elasticity_ksp_type"] = "fcg"
    try:
        with cantilever("multigrid", petsc_options={"ksp_max_it": 7}) as physics:
            with pytest.raises(SolverError, match="stopped after 7 iterations"):
                physics.solve(density(physics.mesh))
            assert physics.solver.ksp.getType() == "fcg"
        assert options.getString("elasticity_ksp_type") == "fcg"
        assert not options.hasName("elasticity_ksp_max_it")
    finally:
        options.delValue("elasticity_ksp_type")


def test_several_solvers_at_once():
    """Solvers share a prefix for the user's options, but each keeps its own preset."""
    with cantilever("multigrid") as one:
        rho = density(one.mesh)
        first = one.solve(rho)
        with cantilever("direct") as other:
            np.testing.assert_allclose(other.solve(rho).compliance, first.compliance, rtol=1e-6)
            assert other.solver.ksp.getType() == "preonly"
        changed = one.solve(np.sqrt(rho))
        assert one.solver.ksp.getType() == "cg"
        assert np.all(changed.compliance < first.compliance)
    with cantilever("multigrid") as alone:
        alone.solve(rho)
        assert alone.solve(np.sqrt(rho)).linear_iterations == changed.linear_iterations


def test_close_twice_and_use_again():
    physics = cantilever("direct")
    rho = density(physics.mesh)
    first = physics.solve(rho)
    physics.close()
    physics.close()
    np.testing.assert_allclose(physics.solve(rho).compliance, first.compliance, rtol=1e-12)
    physics.close()


def test_choice_of_the_preset():
    for dim, limit in DIRECT_LIMIT.items():
        assert choose_preset("auto", limit, dim) == "direct"
        assert choose_preset("auto", limit + 1, dim) == "multigrid"
        assert choose_preset("hypre", limit, dim) == "hypre"
