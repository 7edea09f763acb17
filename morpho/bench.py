"""Gradient sources side by side on one problem: wall time and the exact objective of the returned design."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from mpi4py import MPI

from morpho.gradients.registry import uses_blocks
from morpho.problem.spec import Problem
from morpho.results.bench import plot, table
from morpho.results.storage import replace_file, write_on_root
from morpho.solve import Step, solve

log = logging.getLogger("morpho")

PERTURBATION = 0.5  #: relative change of the initial density of each cell, in all runs but the first
Record = dict[str, Any]


def bench(problem: Problem, sources: Sequence[str], repeat: int, output: Path, comm: MPI.Comm) -> Record:
    """Solve with every source, from the problem's own start and from perturbed ones; write bench.json (collective).

    All runs have the iteration limit and stopping rule of the problem, and write no run folder. Beforehand a few
    iterations are done with `exact` and, where there are blocks, with `secant`, so that no source pays for loading the
    compiled kernels of the state equation; what it alone imports (torch) it does pay for.
    """
    with _quiet():
        for source in _rehearsed(problem, sources):
            solve(_variant(problem, source, 0, limit=5), comm=comm)
    runs: dict[str, list[Record]] = {name: [] for name in sources}
    for start in range(repeat):
        for name in sources:
            with _quiet():
                runs[name].append(_run(_variant(problem, name, start), comm))
            log.info(f"{name}, start {start + 1} of {repeat}: {_short(runs[name][-1])}")
    exact = median(run["wall_seconds"] for run in runs["exact"]) if runs.get("exact") else math.nan
    entries = [_entry(name, runs[name], exact) for name in sources]
    record: Record = {"problem": problem.name, "ranks": comm.size, "repeat": repeat, "sources": entries}
    write_on_root(comm, output, lambda: _write(output, record))
    log.info(table(record))
    return record


def _rehearsed(problem: Problem, sources: Sequence[str]) -> Sequence[str]:
    """The sources whose kernels the others use, too (local)."""
    if problem.objective.kind == "black_box":
        return sources[:1]
    return ("exact", "secant") if any(uses_blocks(name) for name in sources) else ("exact",)


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out the lines of every iteration."""
    level = log.level
    log.setLevel(max(level, logging.WARNING))
    try:
        yield
    finally:
        log.setLevel(level)


def _variant(problem: Problem, source: str, start: int, limit: int | None = None) -> Problem:
    """The problem with a source, a start, and perhaps another iteration limit (local)."""
    values = problem.model_dump()
    values["gradient"]["source"] = source
    if start:
        values["design"] |= {"perturbation": PERTURBATION, "seed": start}
    if limit:
        values["optimizer"]["max_iterations"] = limit
    return Problem.model_validate(values)


def _run(problem: Problem, comm: MPI.Comm) -> Record:
    """One run: the figures of result.json, and every iteration (collective)."""
    steps: list[Record] = []
    elapsed = 0.0

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
                "error": _number(step.advice.error),
                "secant_error": _number(step.advice.rival_error),
            }
        )

    result = solve(problem, comm=comm, on_step=note)
    return {k: _number(v) for k, v in result.to_dict().items()} | {"steps": steps}


def _entry(name: str, runs: list[Record], exact: float) -> Record:
    """What bench.json says of a source: the median run, and how far the others are from it (local)."""
    objectives, seconds = ([run[key] for run in runs] for key in ("objective", "wall_seconds"))
    if None in objectives:
        objectives = [math.inf if value is None else value for value in objectives]
    middle = sorted(runs, key=lambda run: run["wall_seconds"])[(len(runs) - 1) // 2]
    spread = {
        "objective": [min(objectives), median(objectives), max(objectives)],
        "wall_seconds": [min(seconds), median(seconds), max(seconds)],
    }
    return {"source": name} | middle | {"speedup": _number(exact / median(seconds)), "spread": spread, "runs": runs}


def _write(output: Path, record: Record) -> None:
    output.mkdir(parents=True, exist_ok=True)
    replace_file(output / "bench.json", json.dumps(record) + "\n")
    replace_file(output / "bench.md", table(record))
    plot(record, output / "bench.png")


def _short(run: Record) -> str:
    return f"objective {run['objective']}, {run['wall_seconds']:.1f} s, {run['linear_iterations']} linear iterations"


def _number(value: Any) -> Any:
    """JSON has no nan: null instead."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
