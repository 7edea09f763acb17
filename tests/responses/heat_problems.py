"""Problems of heat conduction, on boxes and cut boxes, for tests on any number of ranks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from morpho.problem import Problem
from morpho.problem.load import parse_problem

CELLS = {2: [12, 6], 3: [8, 4, 4]}
CELL = {2: "triangle", 3: "tetrahedron"}


def warm(dim: int, engine: str = "voxel", **parts: Any) -> Problem:
    """Two cases with temperatures that are not zero and convection; every response there is."""

    def cut(*values: float) -> list[float]:
        return list(values[:dim])

    corner = {"box": {"min": cut(1.5, 0.5, 0), "max": cut(2, 1, 1)}}
    given: dict[str, Any] = {
        "name": "warm",
        "physics": "heat",
        "engine": engine,
        "mesh": {"box": {"size": cut(2, 1, 1), "cells": CELLS[dim]}},
        "material": {"conductivity": 2.5, "penalty": 3, "E_min_ratio": 1e-3},
        "supports": [
            {"region": {"box": {"min": cut(0, 0, 0), "max": cut(0, 0.5, 1)}}, "temperature": 1.5},
            {"region": {"plane": {"axis": "x", "at": 2}}, "temperature": -0.5},
        ],
        "convection": [{"region": {"plane": {"axis": "y", "at": 1}}, "coefficient": 0.7, "ambient": 0.4}],
        "loads": [
            {
                "name": "chip",
                "weight": 2,
                "sources": [{"power": 0.8}, {"region": {"plane": {"axis": "y", "at": 0}}, "flux": 0.3}],
            },
            {
                "name": "spots",
                "weight": 0.5,
                "sources": [{"region": corner, "total": 1.2}, {"region": {"points": [cut(1, 0, 0)]}, "point": 0.4}],
            },
        ],
        "objective": {"kind": "compliance"},
        "constraints": [
            {"volume_fraction": 0.4},
            {"kind": "compliance", "case": "spots", "max": 2.0},
            {"kind": "temperature", "case": "chip", "max": 2.0},
            {"kind": "temperature", "region": corner, "case": "spots", "max": 2.0, "min": -1.0},
            {"kind": "peak_temperature", "case": "chip", "max": 3.0},
            {"kind": "peak_temperature", "region": corner, "case": "spots", "p": 3, "max": 3.0},
        ],
        "design": {"filter": {"kind": "cone", "radius": 0.3}, "projection": {"beta": 2, "eta": 0.5}},
        "solver": {"rtol": 1e-12},
    }
    return parse_problem(given | parts, "warm", Path())


def plate(**parts: Any) -> Problem:
    """topoptlab, tests/test_compliance.py: a plate with a source at every node, cooled at five nodes on the left."""
    given: dict[str, Any] = {
        "name": "plate",
        "physics": "heat",
        "mesh": {"box": {"size": [40, 40], "cells": [40, 40]}},
        "material": {"conductivity": 1, "penalty": 3, "E_min_ratio": 1e-9},
        "supports": [{"region": {"box": {"min": [0, 18], "max": [0, 22]}}, "temperature": 0}],
        "loads": [{"sources": [{"region": {"box": {"min": [0, 0], "max": [40, 40]}}, "point": 0.01}]}],
        "constraints": [{"volume_fraction": 0.4}],
        "design": {"filter": {"kind": "sensitivity", "radius": 1.2}},
        "optimizer": {"kind": "oc", "max_iterations": 400, "tolerance": 0.01, "objective_tolerance": 0},
        "solver": {"rtol": 1e-10},
    }
    return parse_problem(given | parts, "plate", Path())


def cube(source: str = "exact", **parts: Any) -> Problem:
    """A cube of 16^3 voxels, heated evenly, cooled by a patch of its bottom."""
    given: dict[str, Any] = {
        "name": "cube",
        "physics": "heat",
        "mesh": {"box": {"size": [1, 1, 1], "cells": [16, 16, 16]}},
        "material": {"penalty": {"start": 1, "max": 3, "every": 10, "step": 0.5}, "E_min_ratio": 1e-3},
        "supports": [{"region": {"box": {"min": [0.25, 0.25, 0], "max": [0.75, 0.75, 0]}}, "temperature": 0}],
        "loads": [{"sources": [{"total": 1}]}],
        "constraints": [{"volume_fraction": 0.2}],
        "design": {"filter": {"kind": "cone", "radius": 0.13}},
        "optimizer": {"max_iterations": 60, "objective_tolerance": 0},
        "gradient": {"source": source},
    }
    return parse_problem(given | parts, "cube", Path())
