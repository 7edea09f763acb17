"""A run that is under way, seen from another terminal. Serial; reads only."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from morpho.errors import InputError
from morpho.problem import Problem, load_problem
from morpho.results import run_folder
from morpho.results.history import COLUMNS, read_history

LATELY = 10  #: iterations that say how long the next ones take
BAR = 30  #: characters


def screen(run_dir: Path) -> tuple[list[str], bool]:
    """What there is to see of a run, and whether it has ended (local).

    Raises:
        InputError: the folder is that of no run.
    """
    if not run_folder.is_run(run_dir):
        raise InputError(f"{run_dir}: is no run folder; give one that `morpho solve` writes")
    result, problem = _result(run_dir), _problem(run_dir)
    writing = bool(run_folder.holder(run_dir))
    try:
        history = read_history(run_dir / "history.csv")
    except InputError:
        history = {}
    lines = [f"{run_dir}: {_state(result, writing)}"]
    if len(history.get("iteration", ())):
        lines += _progress(history, problem, ended=not writing)
    else:
        lines.append("no iteration is done yet")
    picture = newest_picture(run_dir)
    if picture is not None:
        lines.append(f"newest picture   {picture}")
    if result:
        lines.append(str(result.get("message", "")))
    return lines, not writing


def follow(run_dir: Path, every: float = 1.0) -> Iterator[list[str]]:
    """The screen again and again, until the run has ended (local)."""
    while True:
        lines, ended = screen(run_dir)
        yield lines
        if ended:
            return
        time.sleep(every)


def newest_picture(run_dir: Path) -> Path | None:
    """The picture that was drawn last (local)."""
    found = [*run_dir.glob("pictures/*.png"), *run_dir.glob("design.png")]
    return max(found, key=lambda path: path.stat().st_mtime) if found else None


def left(seconds: float) -> str:
    """A duration to read: 45 s, 12 min, 3 h 20 min (local)."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def _state(result: dict[str, Any], writing: bool) -> str:
    if writing:
        return "is running"
    return str(result.get("status", "")).replace("_", " ") or "has ended without a result; `morpho resume` goes on"


def _progress(history: dict[str, NDArray], problem: Problem | None, ended: bool) -> list[str]:
    """Iterations, objective, limits and time (local)."""
    done, seconds = int(history["iteration"][-1]), history["seconds"]
    most = max(done, problem.optimizer.max_iterations) if problem is not None else done
    filled = round(BAR * done / most)
    lines = [f"iteration        {done} of {most} at most  [{'#' * filled}{'.' * (BAR - filled)}]"]
    objective = history["objective"]
    change = f"  ({objective[-1] / objective[-2] - 1:+.2%})" if len(objective) > 1 and objective[-2] else ""
    lines.append(f"objective        {objective[-1]:.6g}{change}")
    lines.append(f"volume fraction  {history['volume'][-1]:.4f}, greyness {history['greyness'][-1]:.3f}")
    for name in history:
        if name not in COLUMNS:
            lines.append(f"{name:<16} {history[name][-1]:.6g}")
    worst = history["max_constraint"][-1] if "max_constraint" in history else np.nan
    if np.isfinite(worst):
        lines.append(f"worst limit      {'met' if worst <= 1e-3 else f'missed by {worst:.2%}'}")
    if not ended:
        pace = float(np.median(seconds[-LATELY:]))
        lines.append(f"time             {pace:.2g} s an iteration, {left(pace * (most - done))} left at most")
    else:
        lines.append(f"time             {left(float(seconds.sum()))} in iterations")
    return lines


def _result(run_dir: Path) -> dict[str, Any]:
    try:
        found = json.loads((run_dir / "result.json").read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _problem(run_dir: Path) -> Problem | None:
    try:
        return load_problem(run_dir / "problem.yaml", allow_code=True)
    except InputError:
        return None
