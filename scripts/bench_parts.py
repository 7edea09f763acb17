"""What a voxel of a part costs, by how much of its box the part fills: scripts/env python3 scripts/bench_parts.py

About a million voxels inside, two ranks, six designs with exact gradients to 1e-2. Angles (two plates) and pipes (a
wall around a void, the worst for rows of voxels) that fill 10, 30 and 70 % of their box, beside a full cube. Seconds
and bytes are per voxel inside; what a run of 512 voxels in a box takes is taken off. What 512 voxels of a part take
beyond that, for the libraries that read the part, stands beside. Results go to docs/bench/parts.json and parts.md.
Nothing else should run on the machine meanwhile.
"""

from __future__ import annotations

import csv
import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import trimesh
import yaml

ROOT = Path(__file__).resolve().parent.parent
FIGURES, PAGE = (ROOT / "docs" / "bench" / f"parts.{ending}" for ending in ("json", "md"))
INSIDE, DESIGNS, RANKS = 1.0e6, 6, 2


def angle(fill: float) -> trimesh.Trimesh:
    """Two plates in a cube of edge 1."""
    t = 1 - math.sqrt(1 - fill)
    plates = [trimesh.creation.box(bounds=[(0, 0, 0), end]) for end in ((1, 1, t), (t, 1, 1))]
    return trimesh.util.concatenate(plates)


def pipe(fill: float) -> trimesh.Trimesh:
    """Around the z axis in a cube of edge 1."""
    inner = math.sqrt(0.25 - fill / math.pi)
    made = trimesh.creation.annulus(r_min=inner, r_max=0.5, height=1.0, sections=256)
    made.apply_translation((0.5, 0.5, 0.5))
    return made


def problem(name: str, fill: float, folder: Path, inside: float) -> dict[str, Any]:
    """One with about so many voxels inside."""
    n = round((inside / fill) ** (1 / 3))
    ends = {"angle": (("z", 1), ("x", 1), [0, 0, -1])}.get(name, (("z", 0), ("z", 1), [1, 0, 0]))
    (axis, at), (loaded, end), force = ends
    mesh: dict[str, Any] = {"box": {"size": [1, 1, 1], "cells": [n, n, n]}}
    if name != "cube":
        path = folder / f"{name}_{fill}.stl"
        {"angle": angle, "pipe": pipe}[name](fill).export(path)
        mesh = {"voxelize": str(path), "spacing": 1 / n}
    return {
        "mesh": mesh,
        "supports": [{"region": {"plane": {"axis": axis, "at": at}}}],
        "loads": [{"forces": [{"region": {"plane": {"axis": loaded, "at": end}}, "total": force}]}],
        "constraints": [{"volume_fraction": 0.4}],
        "design": {"filter": {"kind": "cone", "radius": 2 / n}},
        "optimizer": {"kind": "oc", "max_iterations": DESIGNS, "objective_tolerance": 0, "tolerance": 0},
        "solver": {"rtol": 1e-2},
        "output": {"every": 1000, "first": 0},
    }


def measured(name: str, fill: float, folder: Path, inside: float = INSIDE) -> dict[str, float]:
    path, run = folder / "problem.yaml", folder / "run"
    path.write_text(yaml.safe_dump(problem(name, fill, folder, inside)))
    command = [sys.executable, "-m", "morpho", "solve", str(path), "--output", str(run), "--overwrite"]
    subprocess.run(["mpirun", "-n", str(RANKS), *command], check=True, stdout=subprocess.DEVNULL)
    result = json.loads((run / "result.json").read_text())
    rows = list(csv.DictReader((run / "history.csv").open()))[2:]
    seconds = sum(float(row["seconds"]) for row in rows) / len(rows)
    before = csv.DictReader((run / "history.csv").open())
    its = [int(row["linear_iterations"]) for row in before]
    cells = result["n_cells"]
    return {
        "fill": cells / round((inside / fill) ** (1 / 3)) ** 3,
        "cells": cells,
        "design": 1e6 * seconds / cells,
        "iterations": (its[-1] - its[1]) / len(rows),
        "bytes": result["peak_rss_bytes"] / cells,
        "setup": result["setup_seconds"],
    }


def table(figures: dict[str, dict[str, float]]) -> str:
    cube = figures["cube 1.0"]
    each = cube["design"] / cube["iterations"]
    lines = [
        "# What a voxel of a part costs\n",
        "Two ranks, six designs with exact gradients to 1e-2, about a million voxels inside, everything per voxel",
        "inside; made by `scripts/env python3 scripts/bench_parts.py`. In brackets times the full cube. Of the bytes",
        "some are the libraries that read a part, whatever its size.\n",
        "| part | fill | voxels | its a design | us a design | us an iteration | bytes | without them | set-up, s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, f in figures.items():
        one = f["design"] / f["iterations"]
        lines.append(
            f"| {name.split()[0]} | {100 * f['fill']:.0f} % | {f['cells']:,} | {f['iterations']:.1f} | "
            f"{f['design']:.2f} ({f['design'] / cube['design']:.1f}) | {one:.3f} ({one / each:.1f}) | "
            f"{f['bytes']:.0f} ({f['bytes'] / cube['bytes']:.1f}) | {f['own']:.0f} ({f['own'] / cube['own']:.1f}) | "
            f"{f['setup']:.1f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        fixed = {}
        for name, fill in (("cube", 1.0), ("angle", 0.1)):
            measured(name, fill, Path(folder), 512)  # compiles
            few = measured(name, fill, Path(folder), 512)
            fixed[name] = few["bytes"] * few["cells"]
        for name, fill in [("cube", 1.0), *((name, fill) for name in ("angle", "pipe") for fill in (0.1, 0.3, 0.7))]:
            found = measured(name, fill, Path(folder))
            found["own"] = found["bytes"] - fixed["cube" if name == "cube" else "angle"] / found["cells"]
            found["bytes"] -= fixed["cube"] / found["cells"]
            figures[f"{name} {fill}"] = found
            print(name, fill, figures[f"{name} {fill}"], flush=True)
    FIGURES.write_text(json.dumps(figures, indent=1) + "\n")
    PAGE.write_text(table(figures))
    print(PAGE.read_text())


if __name__ == "__main__":
    main()
