"""A part whose box is turned before it is worked on: nothing but the order of sums may differ."""

import itertools
import json
from math import sqrt
from pathlib import Path

from mpi4py import MPI

import numpy as np
import pytest
import trimesh
from helpers import assert_same, evaluate, plane
from turned_facts import facts, given

from morpho.fem.voxel import reactions as voxel_reactions
from morpho.mesh import voxelize, voxelized
from morpho.parts import Parts
from morpho.problem import spec
from morpho.problem.load import parse_problem

SCRIPT = Path(__file__).parent.parent / "turned_facts.py"
TURNS = (0, 1, 2)


@pytest.fixture(scope="module")
def bracket(tmp_path_factory):
    """Plates in three planes, no two edges equal."""
    path = tmp_path_factory.mktemp("part") / "bracket.stl"
    ends = ((6, 7, 2), (3, 2, 9), (2, 5, 9))
    trimesh.util.concatenate([trimesh.creation.box(bounds=[(0, 0, 0), end]) for end in ends]).export(path)
    return path


def seen(path, turn, monkeypatch, **parts):
    monkeypatch.setattr(voxelize, "_turn", lambda *_: turn)
    return Parts(parse_problem(given(path) | parts, "bracket", path.parent), MPI.COMM_SELF)


def all_of(found):
    """Everything about a solve that leaves the engine."""
    physics, rho = found.physics, 0.3 + 0.4 * np.cos(0.7 * found.mesh.key) ** 2
    state = physics.solve(rho)
    physics.sense([])
    return {
        "compliance": state.compliance,
        "derivative": state.d_compliance,
        "nodes": physics.vertex_displacement(0),
        "cells": physics.displacement(0),
        "stress": physics.von_mises(0),
        "reactions": voxel_reactions.reactions(physics, found.problem.supports, 0, rho),
        "blocks": physics.coarse(2).solve(rho).energy,
        "smooth": physics.coarse(2).smooth(rho),
    }


def test_states_of_turned_boxes(bracket, monkeypatch):
    parts = {"loads": [{"forces": [{"region": plane("x", 6), "total": [1, 2, -3]}, {"self_weight": [0.1, 0.2, 0.3]}]}]}
    parts |= {"springs": [{"region": plane("y", 7), "stiffness": [0.1, 0.05, 0.02]}]}
    found = []
    for turn in TURNS:
        with seen(bracket, turn, monkeypatch, **parts) as one:
            assert one.mesh.turn == turn
            found.append(all_of(one))
            before = one.physics.displacement(0)
            one.physics.set_displacement(0, before)
            assert np.array_equal(one.physics.displacement(0), before)
    for other, (name, value) in itertools.product(found[1:], found[0].items()):
        limit = 1e-2 if name == "blocks" else 1e-6  # solved to a tenth
        assert other[name] == pytest.approx(value, rel=limit, abs=limit * np.abs(value).max()), name


@pytest.mark.parametrize("kind", ["cone", "helmholtz"])
def test_filters_of_turned_boxes(bracket, monkeypatch, kind):
    found = []
    for turn in TURNS:
        with seen(bracket, turn, monkeypatch, design={"filter": {"kind": kind, "radius": 2.5}}) as one:
            x = 0.3 + 0.4 * np.cos(0.7 * one.mesh.key) ** 2
            rho, pull = one.design.at(1).apply(x)
            found.append(np.array([rho, pull(x)]))
    assert found[1] == pytest.approx(found[0], rel=1e-8) and found[2] == pytest.approx(found[0], rel=1e-8)


@pytest.mark.parametrize(
    "parts",
    [
        {"objective": {"kind": "stress"}, "constraints": [{"volume_fraction": 0.6}], "optimizer": {"kind": "mma"}},
        {
            "objective": {"kind": "frequency"},
            "material": {"density": 1.0, "E_min_ratio": 1e-3},
            "optimizer": {"kind": "mma"},
        },
        {
            "physics": "heat",
            "supports": [{"region": plane("z", 9), "temperature": 0}],
            "loads": [{"sources": [{"region": plane("x", 6), "total": 1}]}],
        },
    ],
)
def test_functionals_of_turned_boxes(bracket, monkeypatch, parts):
    found = []
    for turn in TURNS:
        with seen(bracket, turn, monkeypatch, **parts) as one:
            result = evaluate(one, np.linspace(0.3, 0.8, one.mesh.n))
            found.append(np.concatenate([[result.objective], result.d_objective, *result.d_constraints]))
    for other in found[1:]:
        assert other == pytest.approx(found[0], rel=1e-4, abs=1e-4 * np.abs(found[0]).max() / sqrt(len(found[0])))


def test_turned_boxes_on_any_number_of_ranks(mpirun, bracket):
    one = facts(MPI.COMM_SELF, str(bracket))
    assert one["turn"] == 1
    for ranks in (2, 3):
        assert_same(json.loads(mpirun(ranks, SCRIPT, bracket)), one, 1e-6)


def test_rows_are_long(tmp_path):
    """Of plates across x and z those along y are all inside or all outside; of a pipe along z those along z."""
    plates = [trimesh.creation.box(bounds=[(0, 0, 0), end]) for end in ((8, 8, 1), (1, 8, 8))]
    for part, turn in ((trimesh.util.concatenate(plates), 1), (trimesh.creation.annulus(3, 4, height=8), 2)):
        part.export(tmp_path / "part.stl")
        mesh = voxelized(spec.Mesh(voxelize=str(tmp_path / "part.stl"), spacing=0.5), MPI.COMM_SELF)
        assert mesh.turn == turn and mesh.laid.filled is not None
        assert np.array_equal(mesh.laid.filled.all(axis=2), mesh.laid.filled.any(axis=2))
        values = np.arange(mesh.n, dtype=float)
        assert np.array_equal(mesh.laid.listed(mesh.laid.grid(values)), values)
