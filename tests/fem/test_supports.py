"""Supports: which nodes they hold, what is said of structures that float and of values that contradict."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import CELLS, DIM, box, make_mesh, make_problem, plane, rollers, unit_box, write_gmsh

from morpho.fem.assembled import AssembledEquation
from morpho.fem.mechanisms import rigid_modes


def supported(part, supports, degree=1):
    """Elasticity with these supports."""
    return AssembledEquation(make_mesh(part), make_problem(part, supports=supports, solver={"degree": degree}))


@pytest.mark.parametrize("degree", [1, 2])
@pytest.mark.parametrize("cell", CELLS)
def test_number_of_held_nodes(cell, degree):
    dim, n = DIM[cell], 3
    line = degree * n + 1
    physics = supported(unit_box(cell, n), [{"region": plane("x", 0)}, {"region": plane("x", 1), "fix": "y"}], degree)
    assert physics.held == [line ** (dim - 1)] * 2
    assert not [text for text in physics.complaints if text.startswith("supports")]


@pytest.mark.parametrize("degree", [1, 2])
@pytest.mark.parametrize("cell", CELLS)
def test_rollers_hold_their_component_only(cell, degree):
    dim = DIM[cell]
    body = [1.0, 2.0, 3.0][:dim]
    problem = make_problem(
        unit_box(cell, 2), supports=rollers(dim), loads=[{"forces": [{"body": body}]}], solver={"degree": degree}
    )
    with AssembledEquation(make_mesh(unit_box(cell, 2)), problem) as physics:
        assert physics.complaints == []
        physics.solve(np.ones(physics.mesh.n))
        x, u = physics.V.tabulate_dof_coordinates()[:, :dim], physics.u[0].x.array.reshape(-1, dim)
    np.testing.assert_array_equal(u == 0, np.isclose(x, 0))


def test_corner_held_in_two_components_by_two_supports():
    physics = supported(box([2, 2]), [{"region": plane("x", 0), "fix": "x"}, {"region": plane("y", 0), "fix": ["y"]}])
    constrained = np.concatenate([condition.dof_indices()[0] for condition in physics.conditions])
    assert len(np.unique(constrained)) == len(constrained) == 6


FLOATING = [
    ("quadrilateral", [(plane("x", 0), "x")], "move along y"),
    ("triangle", [(plane("y", 0), "y")], "move along x"),
    ("quadrilateral", [({"points": [[0, 0]]}, "all")], "rotate"),
    ("hexahedron", [(plane("x", 0), ["x", "y"])], "move along z"),
    ("tetrahedron", [(plane("x", 0), "x"), (plane("y", 0), "y")], "move along z"),
    ("hexahedron", [({"all_of": [plane("x", 0), plane("z", 0)]}, "all")], "rotate about y"),
    ("hexahedron", [({"all_of": [plane("x", 1), plane("y", 1)]}, "all")], "rotate about z"),
    ("hexahedron", [(plane("x", 0), "x")], "move along y and to move along z and to rotate about x"),
    (
        "tetrahedron",
        [({"points": [[0, 0, 0]]}, "all")],
        "rotate about x and to rotate about y and to rotate about z",
    ),
    (
        "hexahedron",
        [({"points": [[0, 1, 0]]}, ["x", "y"])],
        "move along z and to rotate about x and to rotate about y and to rotate about z",
    ),
]


@pytest.mark.parametrize("degree", [1, 2])
@pytest.mark.parametrize(("cell", "held", "motions"), FLOATING)
def test_floating_structures_are_complained_of_with_their_motions(cell, held, motions, degree):
    supports = [{"region": region, "fix": fix} for region, fix in held]
    physics = supported(unit_box(cell, 2), supports, degree)
    assert physics.complaints == [f"supports: the structure is free to {motions}; hold more components or nodes"]


@pytest.mark.parametrize(
    "supports",
    [
        [{"region": {"points": [[0, 0]]}}, {"region": {"points": [[1, 0]]}, "fix": "y"}],
        [{"region": plane("x", 0), "fix": "x"}, {"region": {"points": [[1, 0]]}, "fix": "y"}],
    ],
)
def test_just_enough_supports(supports):
    assert supported(box([3, 3]), supports).complaints == []


def test_just_enough_supports_of_a_solid():
    supports = [
        {"region": {"points": [[0, 0, 0]]}},
        {"region": {"points": [[1, 0, 0]]}, "fix": ["y", "z"]},
        {"region": {"points": [[0, 1, 0]]}, "fix": "z"},
    ]
    assert supported(unit_box("hexahedron", 2), supports).complaints == []
    supports[1]["fix"] = "y"
    said = supported(unit_box("hexahedron", 2), supports).complaints
    assert said == ["supports: the structure is free to rotate about y; hold more components or nodes"]


def test_a_small_structure_far_from_the_origin_is_not_floating():
    part = {"box": {"size": [1e-3, 1e-3], "cells": [3, 3], "origin": [1e3, -1e3]}}
    assert supported(part, [{"region": plane("x", 1e3)}]).complaints == []


def test_a_slender_structure_held_at_its_end_is_not_floating():
    part = box([4, 2], [1000.0, 1.0])
    assert supported(part, [{"region": plane("x", 0)}]).complaints == []


def test_support_on_nothing():
    physics = supported(box([2, 2]), [{"region": plane("x", 0)}, {"region": plane("x", 0.3)}])
    (said,) = physics.complaints
    assert said.startswith("supports[1].region: no node of the mesh lies in")
    assert physics.held == [3, 0]


def test_support_on_an_unknown_tag(tmp_path):
    part = {"file": str(write_gmsh(tmp_path / "mesh.msh", "triangle"))}
    (said,) = supported(part, [{"region": "lefd"}]).complaints
    assert said.startswith("supports[0].region: no node of the mesh lies in tag 'lefd'")


@pytest.mark.parametrize("degree", [1, 2])
def test_contradicting_values(degree):
    supports = [{"region": plane("x", 0), "value": 0.0}, {"region": plane("y", 0), "fix": "y", "value": 0.5}]
    (said,) = supported(box([2, 2]), supports, degree).complaints
    assert said.startswith("supports[1].value: y = 0.5 contradicts an earlier support on the same node")


def test_equal_values_do_not_contradict():
    supports = [{"region": plane("x", 0), "value": 0.5}, {"region": plane("y", 0), "fix": "y", "value": 0.5}]
    assert supported(box([2, 2]), supports).support_complaints == []


def test_one_value_per_component():
    supports = [{"region": plane("x", 0)}, {"region": plane("x", 1), "fix": ["y", "x"], "value": [0.2, 0.1]}]
    problem = make_problem(box([2, 2]), supports=supports)
    with AssembledEquation(make_mesh(box([2, 2])), problem) as physics:
        physics.solve(np.ones(4))
        x, u = physics.V.tabulate_dof_coordinates(), physics.u[0].x.array.reshape(-1, 2)
    np.testing.assert_array_equal(u[np.isclose(x[:, 0], 1)], [[0.1, 0.2]] * 3)
    np.testing.assert_array_equal(u[np.isclose(x[:, 0], 0)], [[0.0, 0.0]] * 3)


@pytest.mark.parametrize("degree", [1, 2])
@pytest.mark.parametrize("cell", CELLS)
def test_tags_hold_the_same_nodes_as_geometry(cell, degree, tmp_path):
    part = {"file": str(write_gmsh(tmp_path / "mesh.msh", cell))}
    corner = {"all_of": [plane("x", 1), plane("y", 1)] + [plane("z", 0)] * (DIM[cell] == 3)}
    pairs = [("left", plane("x", 0)), ("corner", corner)]
    pairs += [("block", {"box": {"min": [0, 0], "max": [0.5, 1]}})]
    pairs += [("edge", {"all_of": [plane("y", 1), plane("z", 1)]})] * (DIM[cell] == 3)
    mesh = make_mesh(part)
    for tag, region in pairs:
        counts = []
        for where in (tag, region, {"all_of": [tag, region]}, {"any_of": [tag, region]}):
            problem = make_problem(part, supports=[{"region": where}], solver={"degree": degree})
            counts.append(AssembledEquation(mesh, problem).held[0])
        assert counts == [counts[0]] * 4 and counts[0] > 0, tag


@pytest.mark.parametrize("dim", [2, 3])
def test_rigid_modes_do_not_strain(dim):
    x = np.random.default_rng(0).normal(size=(5, 3)) * [1, 1, dim == 3]
    modes = rigid_modes(x, dim)
    assert len(modes) == {2: 3, 3: 6}[dim]
    assert np.linalg.matrix_rank(modes.reshape(len(modes), -1)) == len(modes)
    for mode in modes:
        for i in range(5):
            for j in range(i):
                assert (mode[i] - mode[j]) @ (x[i] - x[j])[:dim] == pytest.approx(0, abs=1e-12)
