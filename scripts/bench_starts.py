"""A start from a coarser run beside a cold one: scripts/env mpirun -n 2 python3 scripts/bench_starts.py

Three 3-D problems of about 500,000 cells with exact gradients. Cold: the continuation of the problem from a uniform
design. Warm: the same on half the cells per edge, then the fine grid from that design at the final penalty. What counts
is the time until the objective at the final penalty is within 0.5 % of the last one of the cold run, everything but
output included; of the warm run the whole coarse run is in it. Writes docs/bench/starts.md and starts.json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from mpi4py import MPI

import morpho
from morpho.problem import Problem, load_problem
from morpho.problem.base import Continuation

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "bench" / "starts.md"
#: problem -> cells of the fine grid
PROBLEMS = {
    "cantilever_3d": (128, 64, 64),
    "mbb_3d_large": (176, 48, 64),
    "bridge_3d": (160, 40, 80),
}
RADIUS = 3.0  #: of the filter in fine cells, 1.5 in coarse ones
NEAR = 5e-3  #: relative rise of the objective up to which a design is as good
ENOUGH = 1e-3  #: by which a constraint may be missed
Record = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(PROBLEMS)}")
    parser.add_argument("--divide", type=int, default=1, help="take so many times fewer cells per edge, for a trial")
    parser.add_argument("--iterations", type=int, default=70, help="at most, of each run")
    parser.add_argument("--page", type=Path, default=PAGE, help="page to write, with a .json beside it")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(PROBLEMS):
        parser.error(f"no problem {', '.join(unknown)}; use {', '.join(PROBLEMS)}")
    records = [
        measured(name, tuple(n // arguments.divide for n in PROBLEMS[name]), arguments.iterations)
        for name in arguments.names or PROBLEMS
    ]
    if MPI.COMM_WORLD.rank == 0:
        arguments.page.write_text(page(records))
        arguments.page.with_suffix(".json").write_text(json.dumps(records, indent=1) + "\n")
        print(arguments.page.read_text(), flush=True)


def problem_of(name: str, cells: tuple[int, ...], iterations: int, radius: float, start: Path | None = None) -> Problem:
    """A ready problem on a grid; from a run it takes the final penalty at once."""
    path = ROOT / "problems" / f"{name}.yaml"
    texts = [f"mesh.box.cells={list(cells)}", f"design.filter.radius={radius}", "gradient={source: exact}"]
    texts += [f"optimizer.max_iterations={iterations}", "solver={rtol: 1e-5}"]
    texts += ["optimizer.levels=[]", "optimizer.kind=oc"]
    if start is not None:
        penalty = load_problem(path).material.penalty
        last = penalty.max if isinstance(penalty, Continuation) else penalty
        texts += [f"material.penalty={last}", f"start.run={json.dumps(str(start))}"]
    return load_problem(path, texts)


def run(problem: Problem, output: Path | None = None) -> Record:
    """Seconds, objective and constraint of every iteration at the final penalty, and the seconds of all."""
    steps: list[tuple[float, float, float]] = []
    start = time.perf_counter()
    penalty = problem.material.penalty

    def note(step: morpho.Step) -> None:
        if not isinstance(penalty, Continuation) or penalty.at(step.iteration) == penalty.max:
            steps.append((time.perf_counter() - start, step.objective, step.max_constraint))

    result = morpho.solve(problem, output, on_step=note)
    return {"steps": steps, "seconds": time.perf_counter() - start, "iterations": result.iterations}


def reached(steps: list[tuple[float, float, float]], target: float) -> tuple[float, int] | None:
    """Seconds, and number, of the first step whose objective is as low, with the constraints met."""
    found = ((seconds, i + 1) for i, (seconds, value, g) in enumerate(steps) if value <= target and g <= ENOUGH)
    return next(found, None)


def measured(name: str, cells: tuple[int, ...], iterations: int) -> Record:
    """Both runs of a problem (collective)."""
    comm = MPI.COMM_WORLD
    box = load_problem(ROOT / "problems" / f"{name}.yaml").mesh.box
    assert box is not None
    radius = round(RADIUS * max(length / n for length, n in zip(box.size, cells, strict=True)), 6)
    half = tuple(n // 2 for n in cells)
    run(problem_of(name, half, 2, radius))  # kernels are loaded before the clock starts
    cold = run(problem_of(name, cells, iterations, radius))
    folder = Path(comm.bcast(tempfile.mkdtemp()))
    coarse = run(problem_of(name, half, iterations, radius), folder / "coarse")
    warm = run(problem_of(name, cells, iterations, radius, folder / "coarse"))
    target = (1 + NEAR) * cold["steps"][-1][1]
    cold_at, warm_at = reached(cold["steps"], target), reached(warm["steps"], target)
    record: Record = {
        "name": name,
        "cells": cells,
        "target": target,
        "cold": cold,
        "coarse": coarse,
        "warm": warm,
        "cold_seconds": cold_at and cold_at[0],
        "warm_seconds": warm_at and coarse["seconds"] + warm_at[0],
        "warm_iterations": warm_at and warm_at[1],
    }
    return record


def page(records: list[Record]) -> str:
    """The table."""
    text = (
        "# A start from a coarser run, measured\n\nMade by `scripts/env mpirun -n 2 python3 scripts/bench_starts.py`. "
    )
    text += (
        "Seconds count until\nthe objective is within 0.5 % of the last one of the cold run. Everything but output is "
    )
    text += (
        "in them. A warm run starts on\nhalf the cells per edge. Its design starts the fine grid at the final penalty "
    )
    text += "(`start: {run: ...}`).\n\n"
    text += "| problem | cells | objective to reach | cold, s | warm, s | of it the coarse run, s | fine iterations "
    text += "| change |\n"
    text += "|---|---|---|---|---|---|---|---|\n"
    for record in records:
        cells = 1
        for n in record["cells"]:
            cells *= n
        cold, warm = record["cold_seconds"], record["warm_seconds"]
        change = f"{warm / cold - 1:+.0%}" if cold and warm else "not reached"
        text += f"| {record['name']} | {cells:,} | {record['target']:.5g} | {_known(cold)} | {_known(warm)} "
        text += f"| {record['coarse']['seconds']:.1f} | {record['warm_iterations'] or ''} | {change} |\n"
    return text


def _known(seconds: float | None) -> str:
    return "not reached" if seconds is None else f"{seconds:.1f}"


if __name__ == "__main__":
    main()
