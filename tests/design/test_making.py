"""Rules of making: exact pullbacks, exact rules on any number of ranks, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

from mpi4py import MPI

import numpy as np
import pytest
import trimesh
from helpers import assert_same, box, make_mesh, make_problem, random_cells, taylor_rates, unit_box
from making_facts import (
    FILTER,
    RULES,
    RUNS,
    beam,
    designed,
    facts,
    hanging,
    problem_of,
    rules_broken,
    symmetric,
    undercuts,
    voxels,
    whole,
)

import morpho
from morpho.design.build import Design
from morpho.design.overhang import TOP, Printed
from morpho.errors import InputError
from morpho.mesh.voxels import voxel_mesh
from morpho.parts import Parts
from morpho.problem import spec
from morpho.problem.load import parse_problem

DATA = Path(__file__).with_name("data")
WANTED = np.array(  # of the published values
    [
        [2.672288588974325e-01, 7.225472722386593e-01, 6.992762490789783e-01, 6.524823915201646e-01],
        [1.728954593931380e-01, 1.795476379359208e-01, 9.887395086857194e-01, 4.865503104248466e-01],
        [7.725985923254057e-01, 5.597233640757759e-02, 2.194182791613052e-01, 2.227367832399215e-01],
        [4.726430926198782e-01, 5.104272798058791e-01, 1.378729341440889e-01, 3.429295050273223e-01],
        [7.307387670425288e-01, 5.135599465352547e-01, 6.158474764756328e-02, 5.290986163088152e-01],
    ]
)


@pytest.mark.parametrize("name", RULES)
def test_derivatives(name):
    mesh = voxels(name, MPI.COMM_SELF)
    weights = random_cells(mesh, -1, 1, seed=1)
    with designed(mesh, problem_of(name)) as design:
        chain = design.at(1)

        def f(x):
            rho, pullback = chain.apply(x)
            return float(weights @ rho**2), pullback(2 * weights * rho)

        x, dx = random_cells(mesh, 0.2, 0.7), random_cells(mesh, -1, 1, seed=3)
        _, derivative = f(x)
        ahead, behind = (f(x + s * dx)[0] for s in (1e-6, -1e-6))
        assert (ahead - behind) / 2e-6 == pytest.approx(float(derivative @ dx), rel=1e-6)
        curved = "projection" in RULES[name][1] or design.is_curved
        if curved:
            assert taylor_rates(f, x, dx, h=5e-4).min() > 1.9


def test_derivatives_of_robust_castings():
    """Each of the three realisations, by its own pullback."""
    rules = {"casting": {"direction": "z"}, "robust": {"eta": 0.3}, "projection": {"eta": 0.5, "beta": 4}}
    part = box([6, 5, 4], [6.0, 5.0, 4.0])
    mesh = voxel_mesh(spec.BoxMesh.model_validate(part["box"]), 0, MPI.COMM_SELF)
    weights, x = random_cells(mesh, -1, 1, seed=1), random_cells(mesh, 0.2, 0.7)
    with designed(mesh, make_problem(part, design=FILTER | rules)) as design:
        for k in range(3):

            def f(x, k=k):
                drawn = design.realise(1, x)
                pairs = ((drawn.rho, drawn.pullback), (drawn.solved, drawn.solved_pullback), drawn.grown)
                rho, pullback = pairs[k]
                return float(weights @ rho**2), pullback(2 * weights * rho)

            assert taylor_rates(f, x, random_cells(mesh, -1, 1, seed=3), h=5e-4).min() > 1.9


@pytest.mark.parametrize("name", RULES)
def test_the_rules_are_kept(name):
    mesh, problem = voxels(name, MPI.COMM_SELF), problem_of(name)
    with designed(mesh, problem) as design:
        for x in (random_cells(mesh), (random_cells(mesh, seed=1) > 0.7).astype(float)):
            rho = design.at(1).apply(x)[0]
            assert rho.min() >= 0 and rho.max() <= 1
            counted = np.ones(mesh.n, dtype=bool)
            counted[design.passive.solid] = counted[design.passive.void] = False
            picture = whole(mesh, rho)
            assert rules_broken(problem.design, picture, whole(mesh, counted)) < 1e-14
            if problem.design.casting and counted.all():
                levels = (0.2, 0.5, 0.9) if problem.design.casting.sides == "one" else (0.5,)
                assert [undercuts(problem.design.casting, picture > level) for level in levels] == [0] * len(levels)


def test_equal_cells_are_a_projection():
    """Twice is once, and where all cells count the pullback is the map itself, so that steps keep variables equal."""
    for name in ("planes", "pieces and planes", "four pieces about z", "extruded along z"):
        mesh = voxels(name, MPI.COMM_SELF)
        with designed(mesh, problem_of(name)) as design:
            equal, x = design.making.equal, random_cells(mesh)
            once, pullback = equal.apply(x)
            np.testing.assert_allclose(equal.apply(once)[0], once, rtol=1e-14)
            np.testing.assert_allclose(pullback(x), once, rtol=1e-14)


@pytest.mark.parametrize(("plate", "upward"), [("N", True), ("S", False)])
def test_the_overhang_filter_is_the_published_one(plate, upward):
    """Values and derivatives of tests/design/data, which are not scaled to at most 1."""
    mesh = voxel_mesh(spec.BoxMesh(size=(4, 5), cells=(4, 5)), 0, MPI.COMM_SELF)
    rho, pullback = Printed(mesh, MPI.COMM_SELF, 1, upward).apply(WANTED.ravel())
    for found, kind in ((rho, "density"), (pullback(WANTED.ravel()), "sensitivity")):
        expected = np.loadtxt(DATA / f"am_filter_random_{kind}_{plate}.csv", delimiter=",")
        np.testing.assert_allclose(TOP * found.reshape(5, 4), expected, rtol=1e-10)


def test_ranks(mpirun):
    """Maps under every cut of their boxes, and runs under unsymmetric loads."""
    alone = facts(MPI.COMM_SELF)
    assert [key for key, value in alone.items() if isinstance(value, str) and value != "alike"] == []
    for ranks in (2, 3):
        found = json.loads(mpirun(ranks, Path(__file__).with_name("making_facts.py"), timeout=300))
        for runs, rtol in ((False, 1e-12), (True, 1e-6)):
            ours, theirs = (
                {k: v for k, v in d.items() if k.startswith(("obj", "vol")) == runs} for d in (found, alone)
            )
            assert_same(ours, theirs, rtol)


@pytest.mark.parametrize("name", RUNS)
def test_runs(name):
    """The rules are exact on what comes out, the volume is met, and the objective falls."""
    problem = beam(name)
    steps = list(morpho.iterate(problem, comm=MPI.COMM_SELF))
    picture = steps[-1].rho.reshape(4, 6, 12)
    assert rules_broken(problem.design, picture) < 1e-13
    assert rules_broken(problem.design, steps[-1].restart.x.reshape(4, 6, 12)) < 1e-13
    curved = problem.design.projection is not None
    assert [step.volume for step in steps[1:]] == pytest.approx([0.4] * (len(steps) - 1), rel=1e-4 if curved else 1e-9)
    assert steps[0].volume == pytest.approx(0.4, rel=0.05)
    assert steps[-1].objective < 0.8 * steps[0].objective
    if problem.design.casting:
        assert undercuts(problem.design.casting, picture > 0.5) == 0


@pytest.mark.parametrize("direction", ["z", "-z"])
def test_a_printed_design_hangs_nowhere(direction):
    """Every cell stands on one of those below and beside, at any level; without the rule some do not."""
    design = {
        "filter": {"kind": "cone", "radius": 1.5},
        "projection": {"beta": {"start": 1, "max": 16, "every": 10, "factor": 2}},
    }
    rule = {"overhang": {"direction": direction}}
    free, printed = (
        list(morpho.iterate(beam("printed", design=rules, optimizer={"max_iterations": 50}), comm=MPI.COMM_SELF))[-1]
        for rules in (design, design | rule)
    )
    overhang = beam("printed", design=design | rule).design.overhang
    found = [
        [hanging(overhang, run.rho.reshape(4, 6, 12) > level) for level in (0.3, 0.5, 0.7)] for run in (free, printed)
    ]
    assert found[1] == [0, 0, 0] and found[0][1] > 0
    assert printed.volume == pytest.approx(0.4, rel=1e-4)
    assert printed.objective < 1.5 * free.objective


def test_synthetic_sources_see_densities_only():
    for name in ("symmetric", "printed and symmetric"):
        exact, secant = (
            list(morpho.iterate(beam(name, gradient={"source": source}), comm=MPI.COMM_SELF))[-1]
            for source in ("exact", "secant")
        )
        assert secant.objective == pytest.approx(exact.objective, rel=0.05)
        assert rules_broken(beam(name).design, secant.rho.reshape(4, 6, 12)) < 1e-13


def test_a_resumed_run_goes_on_as_it_was(tmp_path):
    problem = beam("symmetric")
    short = problem.model_copy(update={"optimizer": problem.optimizer.model_copy(update={"max_iterations": 3})})
    morpho.solve(short, output=tmp_path / "run", comm=MPI.COMM_SELF)
    resumed = morpho.resume(tmp_path / "run", problem, comm=MPI.COMM_SELF)
    whole_run = list(morpho.iterate(problem, comm=MPI.COMM_SELF))[-1]
    np.testing.assert_allclose(resumed.rho, whole_run.rho, atol=1e-6)
    assert rules_broken(problem.design, resumed.rho.reshape(4, 6, 12)) < 1e-13


def test_realisations_stay_in_their_order():
    problem = beam("cast and robust")
    with Parts(problem, MPI.COMM_SELF) as parts:
        drawn = parts.design.realise(1, random_cells(parts.mesh))
        assert np.all(drawn.solved <= drawn.rho) and np.all(drawn.rho <= drawn.grown[0])
        for rho in (drawn.solved, drawn.rho, drawn.grown[0]):
            assert undercuts(problem.design.casting, rho.reshape(4, 6, 12) > 0.5) == 0


def complaints(mesh, **design):
    given = {
        "mesh": mesh,
        "supports": [{"region": {"plane": {"axis": "x", "at": 0}}}],
        "loads": [{"forces": [{"region": {"plane": {"axis": "x", "at": 1}}, "total": [1, 0, 0]}]}],
        "constraints": [{"volume_fraction": 0.5}],
        "design": design,
    }
    with pytest.raises(InputError) as error:
        Parts(parse_problem(given, "wrong", Path()), MPI.COMM_SELF)
    return str(error.value)


CUBE = box([6, 6, 6])


@pytest.mark.parametrize(
    ("mesh", "design", "said"),
    [
        (CUBE, symmetric(x=2), "symmetry[0].plane.at: got 2, outside the body"),
        (CUBE, symmetric(x=0.3), "symmetric about its middle only; give 0.5"),
        (CUBE, {"repeat": {"axis": "x", "times": 4}}, "got 4, which does not divide the 6 cells along x; give 2, 3, 6"),
        (CUBE, {"repeat": {"about": "x", "times": 3}}, "cells fall on cells for 2 and 4 pieces"),
        (box([6, 6, 4]), {"repeat": {"about": "x", "times": 4}}, "takes a square across x"),
        (CUBE, {"overhang": {"direction": "z", "angle": 60}}, "angle: got 60, but cells of 0.1667 x 0.1667 x 0.1667"),
        (box([6, 6, 3]), {"overhang": {"direction": "z"}}, "support each other at 63.43 degrees; give that"),
        (box([6, 3, 6]), {"overhang": {"direction": "z"}}, "supported at 45 and 26.57 degrees"),
        (CUBE, {"casting": {"direction": "z", "sides": "two", "parting": 2}}, "casting.parting: got 2"),
        (unit_box("tetrahedron", 3), symmetric(x=0.5), "do not fall on cells of the mesh"),
        (unit_box("tetrahedron", 3), {"overhang": {"direction": "z"}}, "got a mesh of tetrahedron cells; it takes"),
        (unit_box("tetrahedron", 3), {"casting": {"direction": "z"}}, "design.casting: got a mesh of tetrahedron"),
        (unit_box("tetrahedron", 3), {"repeat": {"axis": "x", "times": 10**9}}, "so many pieces are smaller than"),
        (unit_box("tetrahedron", 3), {"repeat": {"about": "z", "times": 10**9}}, "so many pieces are smaller than"),
        (unit_box("tetrahedron", 3), {"extrude": "z"}, "design.extrude: got a mesh of tetrahedron cells"),
        (CUBE, {"casting": {"direction": "z"}, "overhang": {"direction": "z"}}, "what is cast is not printed"),
        (CUBE, symmetric(z=0.5) | {"overhang": {"direction": "z"}}, "tells one side from the other"),
        (CUBE, {"extrude": "z", "casting": {"direction": "z"}}, "what is extruded along it keeps design.casting"),
        (CUBE, {"repeat": {"axis": "x", "times": 2}, "overhang": {"direction": "z"}}, "the last ones are not"),
        (CUBE, {"repeat": {"about": "x", "times": 2}, "extrude": "z"}, "turns the extrusion; give z"),
        (CUBE, {"filter": {"kind": "sensitivity", "radius": 1}, "casting": {"direction": "z"}}, "a sensitivity filter"),
    ],
)
def test_what_cannot_be_is_said(mesh, design, said):
    assert said in complaints(mesh, **design)


def test_everything_wrong_is_said_at_once():
    wrong = {"repeat": {"about": "x", "times": 3}, "overhang": {"direction": "x", "angle": 30}}
    said = complaints(CUBE, **symmetric(y=2, z=0.1), **wrong)
    places = ("symmetry[0]", "symmetry[1]", "repeat.times", "overhang.angle")
    assert [place in said for place in places] == [True] * 4
    wrong = {"extrude": "z", "casting": {"direction": "z"}, "repeat": {"about": "x", "times": 2}}
    said = complaints(box([4, 4]), **symmetric(z=0.5), **wrong)
    places = ("symmetry[0].plane.axis", "design.extrude", "casting.direction", "repeat.about")
    assert [place in said for place in places] == [True] * 4


def test_parts_of_voxels(tmp_path):
    """A cone with the plate below: symmetric, cast and printed one way, refused the other."""
    cone = trimesh.creation.cone(radius=6, height=8, sections=48)
    cone.export(tmp_path / "cone.stl")
    mesh = {"voxelize": str(tmp_path / "cone.stl"), "spacing": 1.0}

    def parts(**design):
        given = {
            "mesh": mesh,
            "supports": [{"region": {"plane": {"axis": "z", "at": 0}}}],
            "loads": [{"forces": [{"region": {"points": [[0, 0, 7]]}, "total": [1, 0, 0]}]}],
            "constraints": [{"volume_fraction": 0.5}],
            "design": {"filter": {"kind": "cone", "radius": 1.5}} | design,
        }
        return Parts(parse_problem(given, "cone", tmp_path), MPI.COMM_SELF)

    for rule in (symmetric(x=0, y=0), {"casting": {"direction": "z"}}, {"overhang": {"direction": "z", "angle": 45}}):
        with parts(**rule) as made:
            x, dx = random_cells(made.mesh, 0.3, 0.7), random_cells(made.mesh, -1, 1, seed=1)
            y = random_cells(made.mesh, -1, 1, seed=2)
            chain = made.design.at(1)
            rho, pullback = chain.apply(x)
            slope = (y @ chain.apply(x + 1e-6 * dx)[0] - y @ chain.apply(x - 1e-6 * dx)[0]) / 2e-6
            assert slope == pytest.approx(float(pullback(y) @ dx), rel=1e-6)
            picture = made.mesh.grid(rho)
            assert rules_broken(made.problem.design, picture) < 1e-14
    for rule, said in (
        ({"casting": {"direction": "-z"}}, "has undercuts itself"),
        ({"overhang": {"direction": "-z"}}, "hang in the air"),
        (symmetric(z=4), "the part is not like this itself"),
    ):
        with pytest.raises(InputError) as error:
            parts(**rule)
        assert said in str(error.value)


def test_hexahedra_are_matched_as_boxes_are_counted():
    """Symmetry and pieces about an axis on the assembled mesh are those on voxels."""
    given = FILTER | symmetric(y=2) | {"repeat": {"about": "x", "times": 4}}
    part = box([6, 4, 4], [6.0, 4.0, 4.0])
    mesh, grid = make_mesh(part), voxel_mesh(spec.BoxMesh.model_validate(part["box"]), 0, MPI.COMM_SELF)
    steps = np.floor(mesh.centers).astype(int)
    at = np.ravel_multi_index(steps.T[::-1], grid.cells[::-1])
    x, d = random_cells(grid), random_cells(grid, -1, 1, seed=1)
    problem = make_problem(part, design=given)
    with designed(mesh, problem) as old, designed(grid, problem) as new:
        (found, pull), (expected, expected_pull) = old.at(1).apply(x[at]), new.at(1).apply(x)
        np.testing.assert_allclose(found, expected[at], rtol=1e-12)
        np.testing.assert_allclose(pull(d[at]), expected_pull(d)[at], rtol=0, atol=1e-13)


def test_void_in_front_of_material_is_said():
    mesh = voxel_mesh(spec.BoxMesh(size=(4, 4, 4), cells=(4, 4, 4)), 0, MPI.COMM_SELF)
    void = {"passive": {"void": [{"box": {"min": [0, 0, 1], "max": [1, 1, 2]}}]}}
    for direction, cells in (("z", 2), ("-z", 1)):
        rules = void | {"casting": {"direction": direction}}
        design = Design(mesh, make_problem(box([4, 4, 4], [4.0] * 3), design=rules))
        assert [f"{cells} cells that may become solid" in note for note in design.making.notes] == [True]


def test_hanging_cells_are_counted():
    """The measure itself."""
    up = beam("printed").design.overhang
    solid = np.zeros((3, 4, 4), dtype=bool)
    solid[0, 1, 1] = solid[1, 1, 2] = solid[2, 2, 2] = True
    assert hanging(up, solid) == 0
    solid[1, 1, 2] = False
    assert hanging(up, solid) == 1
