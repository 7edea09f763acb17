"""Gradient sources side by side on one problem: wall time and the exact objective of the returned design."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

from mpi4py import MPI

from morpho.gradients.registry import uses_blocks
from morpho.interfaces import Status
from morpho.problem.spec import Problem
from morpho.record import check_folder, holding
from morpho.results import run_folder
from morpho.results.bench import ended_well, plot, table
from morpho.results.storage import replace_file, write_on_root
from morpho.solve import Step, solve

log = logging.getLogger("morpho")

PERTURBATION = 0.5  #: relative change of the initial density of each cell, in all runs but the first
Record = dict[str, Any]


def bench(
    problem: Problem, sources: Sequence[str], repeat: int, output: Path, comm: MPI.Comm, overwrite: bool = False
) -> Record:
    """Solve with every source, from the problem's own start and from perturbed ones; write bench.json (collective).

    All runs have the iteration limit and stopping rule of the problem, and write no run folder. Beforehand a few
    iterations are done with `exact` and, where there are blocks, with `secant`, so that no source pays for loading the
    compiled kernels of the state equation; what it alone imports (torch) it does pay for. An interrupt ends all of it;
    what there is by then is written. A folder that holds a benchmark is refused, but with `overwrite`.
    """
    folder = check_folder(comm, output, overwrite, bench=True)
    with holding(comm, folder):
        return _bench(problem, sources, repeat, folder, comm)


def _bench(problem: Problem, sources: Sequence[str], repeat: int, output: Path, comm: MPI.Comm) -> Record:
    """Every run, and the files; the folder is this process's (collective)."""
    runs: dict[str, list[Record]] = {name: [] for name in sources}
    interrupted = not _fill(runs, problem, sources, repeat, comm)
    entries = [_entry(name, runs[name], runs.get("exact", [])) for name in sources if runs[name]]
    record: Record = {"problem": problem.name, "ranks": comm.size, "repeat": repeat, "interrupted": interrupted}
    record["sources"] = entries
    if entries:
        write_on_root(comm, output, lambda: _write(output, record))
        log.info(table(record))
    return record


def _fill(runs: dict[str, list[Record]], problem: Problem, sources: Sequence[str], repeat: int, comm: MPI.Comm) -> bool:
    """Rehearse, then append every run to those of its source; False if interrupted (collective)."""
    for source in _rehearsed(problem, sources):
        with _quiet():
            if solve(_variant(problem, source, 0, limit=5), comm=comm).status is Status.INTERRUPTED:
                return False
    for start, name in product(range(repeat), sources):
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
                "error": step.advice.error,
                "secant_error": step.advice.rival_error,
            }
        )

    result = solve(problem, comm=comm, on_step=note)
    run: Record = _plain(result.to_dict() | {"steps": steps})
    return run


def _entry(name: str, runs: list[Record], exact: list[Record]) -> Record:
    """What bench.json says of a source: the median run, how far the others are from it, and against exact (local).

    Runs that did not end well count only where there is no other; against exact they never do.
    """
    counted = [run for run in runs if ended_well(run)] or runs
    middle = sorted(counted, key=lambda run: run["wall_seconds"])[(len(counted) - 1) // 2]
    spread = {key: _spread([run[key] for run in counted]) for key in ("objective", "wall_seconds")}
    return {"source": name} | middle | _against(runs, exact) | {"spread": spread, "runs": runs}


def _spread(values: list[float | None]) -> list[float | None]:
    """Smallest, median and largest of what is known (local)."""
    known = [value for value in values if value is not None]
    return [min(known), median(known), max(known)] if known else [None] * 3


def _against(runs: list[Record], exact: list[Record]) -> Record:
    """Speed-up and relative difference of the objective, over the starts from which both ended well (local)."""
    both = [pair for pair in zip(runs, exact, strict=False) if all(ended_well(run) for run in pair)]
    if not both:
        return {"speedup": None, "difference": None}
    seconds, objective = (
        [median(run[key] for run in part) for part in zip(*both, strict=True)] for key in ("wall_seconds", "objective")
    )
    difference = objective[0] / objective[1] - 1 if objective[1] else None
    return {"speedup": seconds[1] / seconds[0], "difference": difference}


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
