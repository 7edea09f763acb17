"""Problems with functionals of displacement, strain and density, for tests on any number of ranks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from morpho.functionals.functional import Setting, States, Value
from morpho.problem import Problem
from morpho.problem.load import parse_problem


class Mixed:
    """Of displacement, strain and density alike, and of both load cases."""

    def __init__(self, parameters: dict[str, Any], setting: Setting) -> None:
        self.setting, self.power, self.cases = setting, parameters["power"], (0, 1)

    def at(self, states: States) -> Value:
        v, comm = self.setting.volumes * self.setting.inside, self.setting.comm
        u, e = states.centre(0), states.gradient(1)
        density = (u**self.power).sum(axis=1) + 0.3 * (e**2).sum(axis=1) * states.rho
        return Value(
            comm.allreduce(float(v @ density)),
            d_centre={0: v[:, None] * self.power * u ** (self.power - 1)},
            d_gradient={1: 0.6 * (v * states.rho)[:, None] * e},
            d_rho=0.3 * v * (e**2).sum(axis=1),
        )


def mixed(dim: int, engine: str = "voxel", **parts: Any) -> Problem:
    """One of the user's own as objective and as limit."""

    def cut(*values: float) -> list[float]:
        return list(values[:dim])

    given: dict[str, Any] = {
        "engine": engine,
        "mesh": {"box": {"size": cut(2, 1, 1), "cells": cut(8, 4, 4)}},
        "material": {"E_min_ratio": 1e-3},
        "supports": [{"region": {"plane": {"axis": "x", "at": 0}}}],
        "springs": [{"region": {"plane": {"axis": "x", "at": 2}}, "stiffness": cut(0, 0.02, 0)}],
        "loads": [
            {"name": "body", "forces": [{"body": cut(0, -1, 0)}, {"self_weight": cut(0.1, -0.4, 0.2)}]},
            {"name": "side", "forces": [{"region": {"plane": {"axis": "x", "at": 2}}, "total": cut(0.5, 0.4, 1)}]},
        ],
        "objective": {"kind": "own", "response": "mixed", "parameters": {"power": 2}, "case": "body"},
        "constraints": [
            {"volume_fraction": 0.5},
            {
                "kind": "own",
                "response": "mixed",
                "parameters": {"power": 3},
                "case": "side",
                "region": {"box": {"min": cut(1, 0, 0), "max": cut(2, 1, 1)}},
                "max": 50.0,
            },
        ],
        "design": {"filter": {"kind": "cone", "radius": 0.3}},
        "solver": {"rtol": 1e-12},
    }
    return parse_problem(given | parts, "own", Path())


def beam(dim: int, engine: str = "voxel", **parts: Any) -> Problem:
    """Stress as objective and as limit."""

    def cut(*values: float) -> list[float]:
        return list(values[:dim])

    tip = {"box": {"min": cut(1.75, 0, 0), "max": cut(2, 1, 1)}}
    given: dict[str, Any] = {
        "engine": engine,
        "mesh": {"box": {"size": cut(2, 1, 1), "cells": cut(8, 4, 4)}},
        "material": {"E": 3.0, "nu": 0.3, "plane": "strain", "E_min_ratio": 1e-3},
        "supports": [{"region": {"plane": {"axis": "x", "at": 0}}}],
        "loads": [
            {"name": "side", "forces": [{"region": {"plane": {"axis": "x", "at": 2}}, "total": cut(0.5, 0.4, 1)}]},
            {"name": "own", "forces": [{"self_weight": cut(0.1, -0.4, 0.2)}]},
        ],
        "objective": {"kind": "stress", "case": "side", "scaled": False},
        "constraints": [
            {"volume_fraction": 0.5},
            {"kind": "stress", "case": "own", "p": 4, "relaxation": 1, "scaled": False, "exclude": [tip], "max": 2.0},
        ],
        "design": {"filter": {"kind": "cone", "radius": 0.3}, "projection": {"beta": 2}},
        "solver": {"rtol": 1e-12},
    }
    return parse_problem(given | parts, "beam", Path())


def tower(dim: int, engine: str = "voxel", **parts: Any) -> Problem:
    """The lowest frequency as objective and as limit, with springs."""

    def cut(*values: float) -> list[float]:
        return list(values[:dim])

    given: dict[str, Any] = {
        "engine": engine,
        "mesh": {"box": {"size": cut(2, 1, 0.7), "cells": cut(8, 4, 3)}},
        "material": {"E": 3.0, "nu": 0.3, "density": 2.0, "E_min_ratio": 1e-3},
        "supports": [{"region": {"plane": {"axis": "xyz"[dim - 1], "at": 0}}}],
        "springs": [{"region": {"plane": {"axis": "x", "at": 2}}, "stiffness": cut(0.1, 0.3, 0)}],
        "objective": {"kind": "frequency", "modes": 2},
        "constraints": [{"volume_fraction": 0.5}, {"kind": "frequency", "modes": 4, "min": 0.1}],
        "design": {"filter": {"kind": "cone", "radius": 0.3}, "projection": {"beta": 2}},
        "solver": {"rtol": 1e-10},
    }
    if "mesh" in parts:
        given["springs"] = []
    return parse_problem(given | parts, "tower", Path())


def limited(dim: int, engine: str = "voxel", **parts: Any) -> Problem:
    """Limits in every cell as objective, the largest displacement as limit."""
    given: dict[str, Any] = {
        "objective": {"kind": "volume_under_stress", "limit": 1.5},
        "constraints": [{"volume_fraction": 0.5}, {"kind": "peak_displacement", "case": "side", "p": 6, "max": 5.0}],
    }
    return beam(dim, engine, **given | parts)


def used(dim: int, engine: str = "voxel", **parts: Any) -> Problem:
    """The worst of a stress, a displacement and a frequency as objective, of two of them as limit."""
    stress = {"kind": "stress", "case": "own", "scaled": False, "max": 4.0}
    sag = {"kind": "peak_displacement", "case": "side", "p": 6, "max": 5.0}
    given: dict[str, Any] = {
        "objective": {"kind": "worst", "of": [stress, sag, {"kind": "frequency", "modes": 2, "min": 0.1}]},
        "constraints": [{"volume_fraction": 0.5}, {"kind": "worst", "of": [stress, sag], "max": 1.0}],
    }
    return beam(dim, engine, **given | parts)
