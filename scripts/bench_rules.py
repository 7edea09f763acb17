"""What rules of making cost: scripts/env python3 scripts/bench_rules.py

Seconds per million cells and rank of each map and of its pullback, on a box of 128 x 96 x 80 cells, on one rank and on
two; the fastest of five. Results go to docs/bench/rules.json and rules.md.
Nothing else should run on the machine meanwhile.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FIGURES, PAGE = (ROOT / "docs" / "bench" / f"rules.{ending}" for ending in ("json", "md"))
CELLS, REPEATS, MOST = [128, 96, 80], 5, 0.1
PLANES = [{"plane": {"axis": axis, "at": n / 2}} for axis, n in zip("xyz", CELLS, strict=True)]
LOCAL = "local volume, radius 4 cells"
#: name -> rules, cells
MAPS: dict[str, tuple[dict[str, Any], list[int]]] = {
    "symmetry, one plane": ({"symmetry": PLANES[:1]}, CELLS),
    "symmetry, three planes": ({"symmetry": PLANES}, CELLS),
    "repeat, 4 along x": ({"repeat": {"axis": "x", "times": 4}}, CELLS),
    "repeat, 4 along z": ({"repeat": {"axis": "z", "times": 4}}, CELLS),
    "repeat, 4 about z": ({"repeat": {"about": "z", "times": 4}}, [112, 112, 80]),
    "extrude x": ({"extrude": "x"}, CELLS),
    "extrude z": ({"extrude": "z"}, CELLS),
    "casting x": ({"casting": {"direction": "x"}}, CELLS),
    "casting z": ({"casting": {"direction": "z"}}, CELLS),
    "casting z, two sides": ({"casting": {"direction": "z", "sides": "two"}}, CELLS),
    "overhang x": ({"overhang": {"direction": "x"}}, CELLS),
    "overhang z": ({"overhang": {"direction": "z"}}, CELLS),
    LOCAL: ({}, CELLS),
    "cone filter, radius 2 cells, to compare": ({"filter": {"kind": "cone", "radius": 2.0}}, CELLS),
}


def measure() -> dict[str, list[float]]:
    """Seconds per million cells and rank of every map and its pullback (collective)."""
    from mpi4py import MPI

    import numpy as np

    from morpho.design.build import Design
    from morpho.mesh.voxels import voxel_mesh
    from morpho.problem.load import parse_problem

    comm, found = MPI.COMM_WORLD, {}
    for name, (rules, cells) in MAPS.items():
        given = {
            "mesh": {"box": {"size": [float(n) for n in cells], "cells": cells}},
            "supports": [{"region": {"plane": {"axis": "x", "at": 0}}}],
            "loads": [{"forces": [{"region": {"plane": {"axis": "x", "at": cells[0]}}, "total": [0.0, 0.0, -1.0]}]}],
            "constraints": [{"volume_fraction": 0.5}],
            "design": rules,
        }
        problem = parse_problem(given, "bench", Path())
        assert problem.mesh.box is not None
        mesh = voxel_mesh(problem.mesh.box, 0, comm)
        with Design(mesh, problem) as design:
            assert not design.complaints, design.complaints
            x = 0.2 + 0.6 * np.random.default_rng(comm.rank).random(mesh.n)
            chain = design.local_mean(4.0, "constraints[0]") if name == LOCAL else design.at(1)
            best = [np.inf, np.inf]
            for _ in range(REPEATS + 1):  # the first compiles
                comm.Barrier()
                start = time.perf_counter()
                _, pullback = chain.apply(x)
                comm.Barrier()
                middle = time.perf_counter()
                pullback(x)
                comm.Barrier()
                end = time.perf_counter()
                best = np.minimum(best, [middle - start, end - middle])
        found[name] = [float(1e6 * s / (mesh.n_global / comm.size)) for s in best]
    return found


def table(figures: dict[str, dict[str, list[float]]]) -> str:
    lines = [
        "# What rules of making cost\n",
        "Made by `scripts/env python3 scripts/bench_rules.py`: seconds per million cells and rank, on about a",
        "million cells, the fastest of five. Each map is applied once a design. It is pulled back once for the",
        "objective and each constraint. With a filter, equal cells (symmetry, repeat, extrude) are taken twice.\n",
        "| map | apply, 1 rank | pullback | apply, 2 ranks | pullback |",
        "|---|---|---|---|---|",
    ]
    for name in MAPS:
        numbers = " | ".join(f"{s:.3f}" for ranks in ("1", "2") for s in figures[ranks][name])
        lines.append(f"| {name} | {numbers} |")
    slow = [name for name in MAPS if max(*figures["1"][name], *figures["2"][name]) > MOST]
    said = f"Above {MOST:g} s: {', '.join(slow)}." if slow else f"None takes more than {MOST:g} s."
    return "\n".join([*lines, "", said]) + "\n"


def main() -> None:
    figures = {}
    for ranks in (1, 2):
        command = ["mpirun", "-n", str(ranks), sys.executable, __file__, "measure"]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        figures[str(ranks)] = json.loads(done.stdout)
    FIGURES.write_text(json.dumps(figures, indent=1) + "\n")
    PAGE.write_text(table(figures))
    print(PAGE.read_text())


if __name__ == "__main__":
    if sys.argv[1:] == ["measure"]:
        result = measure()
        from mpi4py import MPI

        if MPI.COMM_WORLD.rank == 0:
            print(json.dumps(result))
    else:
        main()
