"""Is decoupled faster than locked? scripts/env python3 scripts/bench_dni.py [--small] [--output FOLDER]

Bisong's (2017) question, asked twice: of the perceptron of tests/reference/dni_digits.py, whose layers are on one or
two processes, and of a cantilever in 3-D on two ranks: both solve and design (exact, secant, dni with latency), or one
designs while the other one solves (dni with solver_ranks: 1). Updates per second are those of the lower layers and of
the design.

Results go to docs/bench/dni.json and docs/bench/dni.md. Nothing else should run on the machine meanwhile. With --small
everything is small, to see that it works.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PERCEPTRON = ROOT / "tests" / "reference" / "dni_digits.py"
FIXED = ["optimizer.kind=oc", "optimizer.tolerance=0", "optimizer.objective_tolerance=0", "optimizer.levels=[]"]
FIXED += ["solver.rtol=1e-5", "material.penalty=3"]
SEEDS = 3
#: how it is called in the table -> processes, argument of the perceptron
TRAINING = {
    "backpropagation, 1 process": (1, "backprop"),
    "decoupled, 1 process": (1, "sequential"),
    "locked, 2 processes": (2, "locked"),
    "decoupled, 2 processes": (2, "decoupled"),
}
DESIGNS = {
    "exact": ["gradient.source=exact"],
    "secant": ["gradient.source=secant"],
    "dni, latency 3": ["gradient.source=dni"],
    "dni, 1 solver rank": ["gradient.source=dni", "gradient.dni.solver_ranks=1"],
}
Record = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="only to see that it works")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "bench", metavar="FOLDER")
    arguments = parser.parse_args()
    sizes = [(16, 8, 8)] if arguments.small else [(64, 32, 32), (128, 64, 64)]
    steps, iterations, seeds = (200, 15, 1) if arguments.small else (10000, 100, SEEDS)
    training = [
        {"how": name} | train(ranks, how, steps, seed)
        for seed in range(seeds)
        for name, (ranks, how) in TRAINING.items()
    ]
    designs = [
        {"how": name} | design(cells, overrides, iterations) for cells in sizes for name, overrides in DESIGNS.items()
    ]
    record = {"steps": steps, "training": training, "designs": designs}
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "dni.json").write_text(json.dumps(record, indent=1) + "\n")
    (arguments.output / "dni.md").write_text(table(record))
    print(table(record))


def train(ranks: int, how: str, steps: int, seed: int) -> Record:
    """One training of the perceptron."""
    launcher = ["mpirun", "-n", str(ranks)] if ranks > 1 else []
    command = [*launcher, sys.executable, str(PERCEPTRON), how, str(steps), str(seed)]
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    done = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, env=dict(os.environ) | {"PYTHONPATH": paths}
    )
    print(done.stdout, end="", flush=True)
    found: Record = json.loads(done.stdout)
    return found | {"seed": seed, "how": next(name for name, given in TRAINING.items() if given == (ranks, how))}


def design(cells: tuple[int, ...], overrides: list[str], iterations: int) -> Record:
    """One run of the cantilever on two ranks."""
    tip = "loads[0].forces[0].region={all_of: [{plane: {axis: x, at: 2}}, {plane: {axis: z, at: 0}}]}"
    size = [f"mesh.box.cells={list(cells)}", "mesh.box.size=[2,1,1]", f"design.filter.radius={4 / cells[0]}", tip]
    values = [*FIXED, *size, f"optimizer.max_iterations={iterations}", *overrides]
    source = overrides[0].removeprefix("gradient.source=")
    source = "exact 1e-5" if source == "exact" else source
    with tempfile.TemporaryDirectory() as folder:
        command = ["mpirun", "-n", "2", "morpho", "bench", "problems/cantilever_3d_large.yaml", "--sources", source]
        command += [part for value in values for part in ("--set", value)]
        print(" ".join(command), flush=True)
        subprocess.run([*command, "--output", folder], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
        (entry,) = json.loads((Path(folder) / "bench.json").read_text())["sources"]
    kept = ("objective", "iterations", "wall_seconds", "setup_seconds", "exact_solves", "linear_iterations", "n_design")
    found = {key: entry[key] for key in kept}
    seconds = found["wall_seconds"] - found["setup_seconds"]
    return found | {"updates_per_second": found["iterations"] / seconds, "command": " ".join(command)}


def table(record: Record) -> str:
    """All results as Markdown."""
    text = (
        "# Decoupled and locked, measured\n\nMade by `scripts/env python3 scripts/bench_dni.py` on a 2-core machine.\n"
    )
    text += f"\n## A perceptron of three layers, {record['steps']} updates\n\n| training | seed | updates per second "
    text += "| accuracy | true gradients | mean delay |\n|---|---|---|---|---|---|\n"
    for run in record["training"]:
        text += f"| {run['how']} | {run['seed']} | {run['updates_per_second']:.0f} | {run['accuracy']:.1%} "
        text += f"| {run['true_gradients']} | {run['mean_delay']:.2f} |\n"
    text += "\n## The cantilever on two ranks\n\n| design variables | source | updates per second | seconds "
    text += "| exact objective | against exact | linear iterations |\n|---|---|---|---|---|---|---|\n"
    for run in record["designs"]:
        if run["how"] == "exact":
            exact = run["objective"]
        text += f"| {run['n_design']:,} | {run['how']} | {run['updates_per_second']:.2f} | {run['wall_seconds']:.2f} "
        text += f"| {run['objective']:.5g} | {run['objective'] / exact - 1:+.2%} | {run['linear_iterations']} |\n"
    return text


if __name__ == "__main__":
    main()
