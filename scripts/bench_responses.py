"""Mechanisms and heat sinks, measured: scripts/env python3 scripts/bench_responses.py [part ...]

Parts, all of them by default:

    gripper     gripper_3d (262k voxels) with the sources that people use
    heat        heat_sink_3d (262k voxels) likewise
    size        a design iteration of heat and of elasticity at 1.06 million voxels, and a heat sink of 4.1 million
    frequency   four eigenpairs of a mast of a million voxels, and an elastic solve of it

Results go to docs/bench/responses.json (parts that did not run keep theirs), the tables to docs/bench/responses.md.
Nothing else should run on the machine meanwhile.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from bench_sources import HEAD, bench, rows

ROOT = Path(__file__).resolve().parent.parent
FIGURES = ROOT / "docs" / "bench" / "responses.json"
TABLES = ROOT / "docs" / "bench" / "responses.md"
SOURCES = "exact,inexact,secant,onsg"
FIXED = ["optimizer.max_iterations=100", "optimizer.tolerance=0", "optimizer.objective_tolerance=0", "solver.rtol=1e-5"]
CUBE = {"mesh.box.cells": "[102,102,102]", "design.filter.radius": "0.02", "optimizer.max_iterations": "40"}
SIZES = {
    "heat, 1.06 million voxels": ("heat_sink_3d", CUBE),
    "elasticity, 1.02 million voxels": (
        "cantilever_3d_large",
        {
            "mesh.box.cells": "[160,80,80]",
            "design.filter.radius": "0.03",
            "optimizer.max_iterations": "40",
            "optimizer.levels": "[]",
            "optimizer.kind": "oc",
            "gradient.source": "exact",
        },
    ),
    "heat, 4.10 million voxels": ("heat_sink_3d", CUBE | {"mesh.box.cells": "[160,160,160]"}),
}
MAST = {"mesh.box.cells": "[70,70,210]", "design.filter.radius": "0.04", "optimizer.max_iterations": "6"}
PULLED = {
    "objective": "{kind: compliance}",
    "loads": "[{forces: [{region: {plane: {axis: z, at: 3}}, total: [1, 0, 0]}]}]",
}
MASTS = {
    "four eigenpairs, 1.03 million voxels": ("frequency_3d", MAST),
    "elasticity, 1.03 million voxels": ("frequency_3d", MAST | PULLED),
}
Record = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="part", help="see above")
    parts = parser.parse_args().parts
    known = {"gripper": gripper, "heat": heat, "size": size, "frequency": frequency}
    if unknown := set(parts) - set(known):
        parser.error(f"no part {', '.join(unknown)}; use {', '.join(known)}")
    figures: dict[str, Any] = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    for name in parts or known:
        print(f"--- {name}", flush=True)
        figures[name] = known[name]()
        FIGURES.write_text(json.dumps(figures, indent=1) + "\n")
    TABLES.write_text(tables(figures))
    print(TABLES.read_text())


def gripper() -> Record:
    return bench("gripper_3d", SOURCES, 1, [], FIXED)


def heat() -> Record:
    return bench("heat_sink_3d", SOURCES, 1, [], FIXED)


def size() -> list[Record]:
    return [run(title, *given) for title, given in SIZES.items()]


def frequency() -> list[Record]:
    return [run(title, *given) for title, given in MASTS.items()]


def run(title: str, name: str, settings: dict[str, str]) -> Record:
    """A run with exact gradients to 1e-5; its seconds per design iteration are those of the last half."""
    with tempfile.TemporaryDirectory() as folder:
        overrides = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
        fixed = ["--set", "solver.rtol=1e-5", "--set", "optimizer.objective_tolerance=0"]
        command = ["mpirun", "-n", "2", "morpho", "solve", f"problems/{name}.yaml", *fixed, *overrides]
        print(" ".join(command), flush=True)
        subprocess.run([*command, "--output", f"{folder}/run"], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
        result = json.loads((Path(folder) / "run" / "result.json").read_text())
        lines = (Path(folder) / "run" / "history.csv").read_text().splitlines()
    at = {key: lines[0].split(",").index(key) for key in ("seconds", "linear_iterations")}
    history = [line.split(",") for line in lines[1:]]
    half = history[len(history) // 2 :]
    seconds = sum(float(row[at["seconds"]]) for row in half) / len(half)
    spent = int(half[-1][at["linear_iterations"]]) - int(half[0][at["linear_iterations"]])
    kept = {key: result[key] for key in ("n_cells", "iterations", "objective", "wall_seconds", "peak_rss_bytes")}
    first = float(history[0][at["seconds"]])
    return {"title": title, "seconds": seconds, "first": first, "linear_iterations": spent / (len(half) - 1), **kept}


def tables(figures: dict[str, Any]) -> str:
    """All results as Markdown."""
    text = (
        "# Mechanisms and heat sinks, measured\n\nMade by `scripts/env python3 scripts/bench_responses.py` on two "
        "ranks of a 2-core machine. Single runs of 100 design iterations, everything included. The columns are those "
        "of [sources.md](sources.md). Of a mechanism the objective is what it gives out: the further below zero, the "
        "better.\n"
    )
    for part in ("gripper", "heat"):
        if part in figures:
            text += f"\n## {part}\n{HEAD}{rows(figures[part])}"
    if "frequency" in figures:
        eigenpairs, elastic = figures["frequency"]
        text += (
            "\n## Eigenpairs\n\nOf the same mast, on two ranks, residuals to 1e-5. The first design starts from "
            "nothing, later ones from the eigenpairs of the design before. In seconds.\n\n| | first design "
            "| later designs | memory of all ranks |\n|---|---|---|---|\n"
        )
        for r in (eigenpairs, elastic):
            text += f"| {r['title']} | {r['first']:.1f} | {r['seconds']:.1f} | {r['peak_rss_bytes'] / 1e9:.1f} GB |\n"
        ratios = (eigenpairs[key] / elastic[key] for key in ("first", "seconds"))
        text += "| ratio | " + " | ".join(f"{ratio:.1f}" for ratio in ratios) + " | |\n"
    if "size" in figures:
        text += (
            "\n## A design iteration\n\nExact gradients to 1e-5. Seconds and conjugate gradient iterations are means "
            "over the last half of the run.\n\n| run | voxels | seconds per iteration | linear iterations | objective "
            "| seconds in all | memory, all ranks |\n|---|---|---|---|---|---|---|\n"
        )
        for r in figures["size"]:
            text += (
                f"| {r['title']} | {r['n_cells']:,} | {r['seconds']:.3f} | {r['linear_iterations']:.1f} "
                f"| {r['objective']:.5g} | {r['wall_seconds']:.0f} | {r['peak_rss_bytes'] / 1e9:.1f} GB |\n"
            )
    return text


if __name__ == "__main__":
    main()
