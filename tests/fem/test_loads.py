"""Loads: resultants and moments, what a force acts on, self weight, prescribed displacements."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import (
    CELLS,
    DIM,
    box,
    distort,
    make_mesh,
    make_problem,
    plane,
    random_cells,
    resultant,
    rollers,
    unit_box,
    write_gmsh,
)

from morpho.fem.assembled import AssembledEquation

SIZE = [2.0, 1.0, 0.5]
DEGREES = [(cell, degree) for cell in CELLS for degree in (1, 2)]


def loaded(cell, degree, *forces, n=2):
    """Elasticity on a box of SIZE with these forces in one case."""
    dim = DIM[cell]
    part = box([n] * dim, SIZE[:dim], cell)
    problem = make_problem(part, loads=[{"forces": list(forces)}], solver={"degree": degree})
    return AssembledEquation(make_mesh(part), problem)


def assert_resultant(physics, force, where, rho=None):
    """The load is statically equivalent to a force at a place, and reported as such."""
    total, moment = resultant(physics, rho=rho)
    np.testing.assert_allclose(total, force, rtol=0, atol=1e-12)
    lever, f = (np.pad(np.asarray(v, dtype=float), (0, 3 - len(v))) for v in (where, force))
    np.testing.assert_allclose(moment, np.cross(lever, f), rtol=0, atol=1e-12)
    if rho is None:
        np.testing.assert_allclose(sum(a.total for a in physics.applied), force, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("cell", "degree"), DEGREES)
@pytest.mark.parametrize("kind", ["total", "traction"])
def test_force_on_a_face(cell, degree, kind):
    dim = DIM[cell]
    area = 1.0 if dim == 2 else 0.5
    value = np.array([0.3, -2.0, 1.1][:dim])
    physics = loaded(cell, degree, {"region": plane("x", 2), kind: value.tolist()})
    middle = [2.0, 0.5, 0.25][:dim]
    assert_resultant(physics, value if kind == "total" else value * area, middle)
    assert physics.applied[0].target == f"{'length' if dim == 2 else 'area'} {area:g}"


@pytest.mark.parametrize(("cell", "degree"), DEGREES)
def test_pressure_pushes_into_the_material(cell, degree):
    dim = DIM[cell]
    physics = loaded(cell, degree, {"region": plane("x", 2), "pressure": 3.0})
    force = np.array([-3.0 * (1.0 if dim == 2 else 0.5), 0, 0][:dim])
    assert_resultant(physics, force, [2.0, 0.5, 0.25][:dim])


@pytest.mark.parametrize("cell", CELLS)
def test_pressure_all_round_has_no_resultant(cell):
    everywhere = {"box": {"min": [0] * DIM[cell], "max": SIZE[: DIM[cell]]}}
    physics = loaded(cell, 1, {"region": everywhere, "pressure": 3.0})
    assert np.abs(physics.loads[0]).max() > 0.1
    assert_resultant(physics, np.zeros(DIM[cell]), np.zeros(DIM[cell]))


@pytest.mark.parametrize("degree", [1, 2])
@pytest.mark.parametrize("cell", ["tetrahedron", "hexahedron"])
def test_line_load(cell, degree):
    edge = {"all_of": [plane("y", 1), plane("z", 0.5)]}
    physics = loaded(cell, degree, {"region": edge, "line": [0.1, -1.0, 0.4]})
    assert_resultant(physics, np.array([0.2, -2.0, 0.8]), [1.0, 1.0, 0.5])
    assert physics.applied[0].target == "length 2"
    on_edge = physics.V.tabulate_dof_coordinates()
    on_edge = np.isclose(on_edge[:, 1], 1) & np.isclose(on_edge[:, 2], 0.5)
    nodes = physics.loads[0].reshape(-1, 3)
    assert np.all(nodes[~on_edge] == 0)
    shares = np.sort(nodes[on_edge, 1] / -2.0)
    wanted = {1: [1 / 4, 1 / 4, 1 / 2], 2: [1 / 12, 1 / 12, 1 / 6, 1 / 3, 1 / 3]}
    np.testing.assert_allclose(shares, wanted[degree], atol=1e-12)


@pytest.mark.parametrize(("cell", "degree"), DEGREES)
def test_point_load_acts_at_every_vertex(cell, degree):
    dim = DIM[cell]
    corners = [SIZE[:dim], [0.0, *SIZE[1:dim]]]
    value = np.array([0.5, -1.0, 2.0][:dim])
    physics = loaded(cell, degree, {"region": {"points": corners}, "point": value.tolist()})
    assert_resultant(physics, 2 * value, [1.0, *SIZE[1:dim]])
    assert physics.applied[0].target == "2 vertices"
    assert np.count_nonzero(physics.loads[0]) == 2 * dim


@pytest.mark.parametrize(("cell", "degree"), DEGREES)
def test_body_force(cell, degree):
    dim = DIM[cell]
    volume = np.prod(SIZE[:dim])
    value = np.array([0.5, -1.0, 2.0][:dim])
    physics = loaded(cell, degree, {"body": value.tolist()})
    assert_resultant(physics, volume * value, np.array(SIZE[:dim]) / 2)
    assert physics.applied[0].target == "everywhere"


@pytest.mark.parametrize(("cell", "degree"), DEGREES)
def test_self_weight_follows_the_density(cell, degree):
    gravity = np.array([0.5, -1.0, 2.0][: DIM[cell]])
    physics = loaded(cell, degree, {"self_weight": gravity.tolist()}, {"self_weight": gravity.tolist()})
    mesh = physics.mesh
    rho = random_cells(mesh, 0.1, 1.0)
    mass = mesh.volumes * rho
    centre = (mass @ mesh.centers[:, : mesh.dim]) / mass.sum()
    assert np.all(physics.loads[0] == 0)
    assert_resultant(physics, 2 * mass.sum() * gravity, centre, rho=rho)


@pytest.mark.parametrize("cell", CELLS)
def test_several_forces_add_up(cell):
    dim = DIM[cell]
    total, body = np.array([1.0, 2.0, 3.0][:dim]), np.array([-1.0, 0.5, 0.2][:dim])
    forces = [{"region": plane("x", 2), "total": total.tolist()}, {"body": body.tolist()}]
    physics = loaded(cell, 1, *forces)
    found, _ = resultant(physics)
    np.testing.assert_allclose(found, total + body * np.prod(SIZE[:dim]), atol=1e-12)
    assert [a.place for a in physics.applied] == ["loads[0].forces[0]", "loads[0].forces[1]"]


@pytest.mark.parametrize("cell", CELLS)
def test_resultants_on_a_distorted_mesh(cell):
    """Interior vertices move: neither the face nor the volume does."""
    dim = DIM[cell]
    value = [1.0, -2.0, 0.5][:dim]
    forces = [{"region": plane("x", 1), "traction": value}, {"body": value}]
    problem = make_problem(unit_box(cell, 3), loads=[{"forces": forces}])
    physics = AssembledEquation(distort(make_mesh(unit_box(cell, 3))), problem)
    np.testing.assert_allclose(resultant(physics)[0], 2 * np.array(value), rtol=1e-12)


TARGETS = [
    ("hexahedron", plane("x", 2), "area 0.5"),
    ("hexahedron", {"all_of": [plane("x", 2), plane("y", 1)]}, "length 0.5"),
    ("hexahedron", {"points": [[2, 1, 0.5]]}, "1 vertex"),
    ("hexahedron", {"all_of": [plane("x", 2), plane("y", 1), plane("z", 0)]}, "1 vertex"),
    ("tetrahedron", {"any_of": [plane("x", 2), plane("y", 1)]}, "area 1.5"),
    ("tetrahedron", {"all_of": [plane("x", 2), plane("y", 1)]}, "length 0.5"),
    ("quadrilateral", plane("x", 2), "length 1"),
    ("quadrilateral", {"all_of": [plane("x", 2), plane("y", 1)]}, "1 vertex"),
    ("triangle", {"points": [[2, 1], [2, 0]]}, "2 vertices"),
    # A region with one facet and vertices elsewhere: the facet takes all.
    ("quadrilateral", {"any_of": [plane("x", 2), {"points": [[0, 1]]}]}, "length 1"),
]


@pytest.mark.parametrize(("cell", "region", "target"), TARGETS)
def test_total_force_takes_facets_before_edges_before_vertices(cell, region, target):
    value = [1.0, 2.0, 3.0][: DIM[cell]]
    physics = loaded(cell, 1, {"region": region, "total": value})
    assert physics.applied[0].target == target
    np.testing.assert_allclose(resultant(physics)[0], value, atol=1e-12)


EMPTY = [
    ("quadrilateral", {"total": [1, 0], "region": plane("x", 7)}, "no boundary edge or vertex lies in"),
    ("quadrilateral", {"traction": [1, 0], "region": {"points": [[2, 1]]}}, "no boundary edge lies in"),
    ("quadrilateral", {"pressure": 1.0, "region": plane("x", 1.1)}, "no boundary edge lies in"),
    ("quadrilateral", {"point": [1, 0], "region": plane("x", 0.1)}, "no boundary vertex lies in"),
    ("hexahedron", {"line": [1, 0, 0], "region": {"points": [[0, 0, 0]]}}, "no boundary edge lies in"),
    ("hexahedron", {"total": [1, 0, 0], "region": plane("x", 7)}, "no boundary facet or edge or vertex lies in"),
]


@pytest.mark.parametrize(("cell", "force", "said"), EMPTY)
def test_forces_on_nothing_are_complained_of(cell, force, said):
    physics = loaded(cell, 1, {"body": [0] * DIM[cell]}, force)
    assert len(physics.complaints) == 1
    assert physics.complaints[0].startswith(f"loads[0].forces[1].region: {said}")
    assert physics.complaints[0].endswith("move or enlarge it")


def test_unknown_tag_is_complained_of_with_the_tags_there_are(tmp_path):
    part = {"file": str(write_gmsh(tmp_path / "mesh.msh", "triangle"))}
    forces = [{"region": "rigt", "total": [1, 0]}, {"region": "right", "total": [1, 0]}]
    physics = AssembledEquation(make_mesh(part), make_problem(part, loads=[{"forces": forces}]))
    cure = "did you mean 'right'? Its tags are all, block, corner, left, outer, right"
    said = f"no boundary edge or vertex lies in tag 'rigt'; the mesh has no tag 'rigt'; {cure}"
    assert physics.complaints == [f"loads[0].forces[0].region: {said}"]
    assert physics.applied[1].target == "length 1"


@pytest.mark.parametrize("degree", [1, 2])
@pytest.mark.parametrize("cell", CELLS)
def test_total_force_on_tags(cell, degree, tmp_path):
    part = {"file": str(write_gmsh(tmp_path / "mesh.msh", cell))}
    dim = DIM[cell]
    value = [1.0, -2.0, 0.5][:dim]
    regions = ["right", "corner"] + ["edge"] * (dim == 3)
    supports = [{"region": plane("x", 0)}]
    for region, where in zip(regions, [[1, 0.5, 0.5], [1, 1, 0], [0.5, 1, 1]], strict=False):
        problem = make_problem(
            part, supports=supports, loads=[{"forces": [{"region": region, "total": value}]}], solver={"degree": degree}
        )
        assert_resultant(AssembledEquation(make_mesh(part), problem), value, where[:dim])


# --- prescribed displacements ------------------------------------------------------------------------------

D = 0.1


def bar(cell, traction=0.0, value=D, **material):
    """One cell (or box of cells) between rollers, pulled at x = 1 by a displacement, or by a traction elsewhere."""
    dim = DIM[cell]
    supports = [*rollers(dim), {"region": plane("x", 1), "fix": "x", "value": value}]
    loads = [{"forces": [{"region": plane("y", 1), "traction": [0, traction, 0][:dim]}]}] if traction else [{}]
    problem = make_problem(unit_box(cell, 1), supports=supports, loads=loads, material={"nu": 0.3} | material)
    return AssembledEquation(make_mesh(unit_box(cell, 1)), problem)


@pytest.mark.parametrize("cell", CELLS)
def test_prescribed_displacement_stores_energy(cell):
    """J = -a(u, u) = -E d^2, and more material makes it smaller: minimising J makes the bar stiffer."""
    with bar(cell, E=2.0) as physics:
        full = physics.solve(np.ones(physics.mesh.n))
        half = physics.solve(np.full(physics.mesh.n, 0.5))
    assert full.compliance == pytest.approx([-2.0 * D**2], rel=1e-10)
    assert half.compliance == pytest.approx([-2.0 * D**2 / 8], rel=1e-6)
    assert full.d_compliance.sum() == pytest.approx(-3 * 2.0 * D**2, rel=1e-6)
    assert np.all(full.d_compliance < 0)


def test_force_and_prescribed_displacement_together():
    """Plane stress with strain e_x = d and stress t along y: J = 2 l(u) - a(u, u)."""
    traction = 0.4
    with bar("quadrilateral", traction) as physics:
        found = physics.solve(np.ones(1))
    e_y = traction * (1 - 0.3**2) - 0.3 * D
    stress_x = (D + 0.3 * e_y) / (1 - 0.3**2)
    assert found.compliance == pytest.approx([2 * traction * e_y - (stress_x * D + traction * e_y)], rel=1e-9)


def test_prescribed_vector():
    """A rigid translation by a prescribed vector on both sides: no energy, every node moved alike."""
    supports = [{"region": plane("x", at), "value": [0.3, -0.2]} for at in (0, 1)]
    problem = make_problem(box([3, 2]), supports=supports)
    with AssembledEquation(make_mesh(box([3, 2])), problem) as physics:
        solution = physics.solve(np.full(6, 0.5))
        u = physics.u[0].x.array.reshape(-1, 2)
    np.testing.assert_allclose(u, np.tile([0.3, -0.2], (len(u), 1)), atol=1e-12)
    assert solution.compliance == pytest.approx([0.0], abs=1e-12)
