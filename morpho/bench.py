"""Gradient sources side by side on one problem: wall time and the exact objective of the returned design."""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

from mpi4py import MPI

import numpy as np

from morpho.comparison import BASELINES, compared
from morpho.gradients import registry
from morpho.interfaces import Status
from morpho.judge import Floats, judge
from morpho.levels import shortened
from morpho.problem.base import value_at
from morpho.problem.spec import Problem
from morpho.record import check_folder, holding
from morpho.results import run_folder
from morpho.results.bench import ended_well, plot, table
from morpho.results.storage import replace_file, write_on_root
from morpho.run import solve
from morpho.step import Step

log = logging.getLogger("morpho")

PERTURBATION = 0.5  #: relative change of the initial density of each cell, in all runs but the first
JUDGED = 10  #: designs of a run that are kept and solved exactly afterwards, at most; the last one is among them
Record = dict[str, Any]


def bench(
    problem: Problem, sources: Sequence[str], repeat: int, output: Path, comm: MPI.Comm, overwrite: bool = False
) -> Record:
    """Solve with every source, from the problem's own start and from perturbed ones; write bench.json (collective).

    `exact` stands for three rows, with linear solves to 1e-5, 1e-2 and 1e-1; there may be others, `exact RTOL`.
    All runs have the iteration limit and stopping rule of the problem, and write no run folder. Beforehand a few
    iterations are done with `exact` and, where there are blocks, with `secant`, so that no source pays for loading the
    compiled kernels of the state equation; what it alone imports (torch) it does pay for. After each run some of its
    designs, and the last one in 0 and 1, are solved exactly, off the clock. An interrupt ends all of it;
    what there is by then is written. A folder that holds a benchmark is refused, but with `overwrite`.
    """
    folder = check_folder(comm, output, overwrite, bench=True)
    with holding(comm, folder):
        return _bench(problem, sources, repeat, folder, comm)


def _bench(problem: Problem, sources: Sequence[str], repeat: int, output: Path, comm: MPI.Comm) -> Record:
    """Every run, and the files; the folder is this process's (collective)."""
    runs: dict[str, list[Record]] = {name: [] for name in rows(sources)}
    interrupted = not _fill(runs, problem, repeat, comm)
    record: Record = {"problem": problem.name, "ranks": comm.size, "repeat": repeat, "interrupted": interrupted}
    record |= compared(runs)
    if record["sources"]:
        write_on_root(comm, output, lambda: _write(output, record))
        log.info(table(record))
    return record


def rows(sources: Sequence[str]) -> list[str]:
    """What is run: sources as they are, and the baselines for `exact`, each once (local)."""
    named = [row for name in sources for row in (BASELINES if name == "exact" else (name,))]
    return list(dict.fromkeys(named))


def source_of(row: str) -> str:
    """The gradient source of a row (local)."""
    return row.split()[0] if row.split() else row


def complaints(sources: Sequence[str]) -> list[str]:
    """What is wrong with the names of rows (local)."""
    said = [text for name in sources for text in registry.complaints(source_of(name))]
    return said + [
        f"gradient.source: {name!r} is no row; give a source, or `exact` with a tolerance below 1, as exact 1e-2"
        for name in sources
        if not said and " " in name and not re.fullmatch(r"exact (0?\.\d+|\d+(\.\d+)?e-\d+)", name)
    ]


def _fill(runs: dict[str, list[Record]], problem: Problem, repeat: int, comm: MPI.Comm) -> bool:
    """Rehearse, then append every run to those of its row; False if interrupted (collective)."""
    for source in _rehearsed(problem, [source_of(row) for row in runs]):
        with _quiet():
            if solve(_variant(problem, source, 0, limit=5), comm=comm).status is Status.INTERRUPTED:
                return False
    for start, name in product(range(repeat), runs):
        with _quiet():
            run = _run(_variant(problem, name, start), comm)
        runs[name].append(run)
        log.info(f"{name}, start {start + 1} of {repeat}: {_short(run)}")
        if run["status"] == Status.INTERRUPTED.name.lower():
            return False
    return True


def _rehearsed(problem: Problem, sources: Sequence[str]) -> Sequence[str]:
    """The sources whose kernels the others use, too (local)."""
    if problem.objective.kind == "black_box":
        return sources[:1]
    return ("exact", "secant") if any(registry.uses_blocks(name) for name in sources) else ("exact",)


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out the lines of every iteration."""
    level = log.level
    log.setLevel(max(level, logging.WARNING))
    try:
        yield
    finally:
        log.setLevel(level)


def _variant(problem: Problem, row: str, start: int, limit: int | None = None) -> Problem:
    """The problem with a source, a start, and perhaps another iteration limit (local)."""
    values = problem.model_dump()
    values["gradient"]["source"], _, rtol = row.partition(" ")
    if rtol:
        values["solver"]["rtol"] = float(rtol)
    if start:
        values["design"] |= {"perturbation": PERTURBATION, "seed": start}
    if limit:
        values["optimizer"]["max_iterations"] = limit
    return Problem.model_validate(values)


def _run(problem: Problem, comm: MPI.Comm) -> Record:
    """One run: the figures of result.json, every iteration, and what its designs are worth (collective)."""
    steps: list[Record] = []
    kept: list[tuple[int, Floats]] = []
    elapsed = 0.0
    first, stride = _judged(problem)

    def note(step: Step) -> None:
        nonlocal elapsed
        elapsed += step.seconds
        steps.append(
            {
                "iteration": step.iteration,
                "seconds": elapsed,
                "objective": step.objective,
                "step": step.advice.how,
                "since": step.advice.since,
                "error": step.advice.error,
                "secant_error": step.advice.rival_error,
            }
        )
        if step.status is not None or (step.iteration >= first and (step.iteration - first) % stride == 0):
            kept.append((step.iteration, step.rho.astype(np.float32)))

    result = solve(problem, comm=comm, on_step=note)
    record: Record = result.to_dict() | {"steps": steps, "judged": [], "thresholded": None, "pieces": None}
    if result.status.exit_code == 0 and _can_judge(problem):
        worths, black_and_white = judge(problem, comm, result.key, [rho for _, rho in kept])
        record |= {"thresholded": black_and_white.value, "pieces": black_and_white.pieces}
        after = {step["iteration"]: result.setup_seconds + step["seconds"] for step in steps}
        for (iteration, _), worth in zip(kept, worths, strict=True):
            record["judged"].append({"iteration": iteration, "seconds": after[iteration]} | asdict(worth))
    run: Record = _plain(record)
    return run


def _judged(problem: Problem) -> tuple[int, int]:
    """The first iteration whose design is judged, where every continuation is at its end, and how many to the next."""
    last, schedules = problem.optimizer.max_iterations, problem.continued.values()
    begin = 1 + max((level.until for level in shortened(problem.optimizer)), default=0)
    ends = (i for i in range(begin, last) if all(value_at(s, i) == value_at(s, last) for s in schedules))
    first = next(ends, last)
    return first, max(1, -(-(last - first + 1) // JUDGED))


def _can_judge(problem: Problem) -> bool:
    """Whether every rank holds designs, of a problem with a compliance (local)."""
    solvers = problem.gradient.dni.solver_ranks if problem.gradient.source == "dni" else 0
    return problem.objective.kind != "black_box" and not solvers


def _write(output: Path, record: Record) -> None:
    output.mkdir(parents=True, exist_ok=True)
    run_folder.clear(output, bench=True)
    replace_file(output / "bench.json", json.dumps(record, allow_nan=False) + "\n")
    replace_file(output / "bench.md", table(record))
    plot(record, output / "bench.png")


def _short(run: Record) -> str:
    figures = f"objective {run['objective']}, {run['wall_seconds']:.1f} s, {run['linear_iterations']} linear iterations"
    return figures if ended_well(run) else f"{run['status']}, {figures}"


def _plain(value: Any) -> Any:
    """JSON has no nan and no infinity: null instead, however deep."""
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
