"""Problems about displacements, on boxes and cut boxes, for tests on any number of ranks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from morpho.problem import Problem
from morpho.problem.load import parse_problem

CELLS = {2: [16, 8], 3: [8, 4, 4]}


def two_probes(dim: int, engine: str = "voxel", weighs: bool = False, **parts: Any) -> Problem:
    """A displacement is sought under one load case, another limited from both sides under a second one; springs."""

    def cut(*values: float) -> list[float]:
        return list(values[:dim])

    forces: list[dict[str, Any]] = [
        {"region": {"box": {"min": cut(2, 0, 0), "max": cut(2, 0.3, 1)}}, "total": cut(0.3, -1, 0.2)}
    ]
    if weighs:
        forces.append({"self_weight": cut(0, -0.5, 0.1)})
    given: dict[str, Any] = {
        "name": "two_probes",
        "engine": engine,
        "mesh": {"box": {"size": cut(2, 1, 1), "cells": CELLS[dim]}},
        "material": {"penalty": 3, "E_min_ratio": 1e-3},
        "supports": [{"region": {"plane": {"axis": "x", "at": 0}}}],
        "springs": [
            {"region": {"box": {"min": cut(1, 0, 0), "max": cut(1.5, 0, 1)}}, "stiffness": cut(0.02, 0.01, 0)},
            {"region": {"plane": {"axis": "x", "at": 2}}, "stiffness": cut(0, 0.03, 0.01)},
        ],
        "loads": [
            {"name": "tip", "forces": forces},
            {"name": "top", "forces": [{"region": {"plane": {"axis": "y", "at": 1}}, "total": cut(0, -1, 0)}]},
        ],
        "objective": {
            "kind": "displacement",
            "region": {"box": {"min": cut(1, 1, 0), "max": cut(1.5, 1, 1)}},
            "direction": "y",
            "case": "tip",
        },
        "constraints": [
            {"volume_fraction": 0.4},
            {
                "kind": "displacement",
                "region": {"plane": {"axis": "x", "at": 2}},
                "direction": cut(1, 1, 0),
                "case": "top",
                "max": 2.0,
                "min": -3.0,
            },
        ],
        "design": {"filter": {"kind": "cone", "radius": 0.3}, "projection": {"beta": 2, "eta": 0.5}},
        "solver": {"rtol": 1e-12},
    }
    return parse_problem(given | parts, "two_probes", Path())


def inverter(source: str = "exact", filter: str = "cone", iterations: int = 60, **parts: Any) -> Problem:
    """Half of the force inverter of 40 x 20 squares: a push to the right is to pull the other end to the left."""
    given: dict[str, Any] = {
        "name": "inverter",
        "mesh": {"box": {"size": [40, 20], "cells": [40, 20]}},
        "material": {"E": 1, "nu": 0.3, "penalty": 3, "E_min_ratio": 1e-9},
        "supports": [
            {"region": {"plane": {"axis": "y", "at": 0}}, "fix": "y"},
            {"region": {"points": [[0, 20], [0, 19]]}},
        ],
        "springs": [
            {"region": {"points": [[0, 0]]}, "stiffness": [0.1, 0]},
            {"region": {"points": [[40, 0]]}, "stiffness": [0.1, 0]},
        ],
        "loads": [{"name": "push", "forces": [{"region": {"points": [[0, 0]]}, "point": [1, 0]}]}],
        "objective": {"kind": "displacement", "region": {"points": [[40, 0]]}, "direction": "x"},
        "constraints": [{"volume_fraction": 0.3}],
        "design": {"filter": {"kind": filter, "radius": 1.2}},
        "optimizer": {
            "kind": "mma",
            "move_limit": 0.1,
            "max_iterations": iterations,
            "tolerance": 0.01,
            "objective_tolerance": 0,
        },
        "gradient": {"source": source},
    }
    return parse_problem(given | parts, "inverter", Path())
