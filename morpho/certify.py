"""How the part as built does beside the density that the optimization reports."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mpi4py import MPI

from morpho.analysis import Analysis, density_of, figures
from morpho.errors import InputError
from morpho.gradients.values import thresholded
from morpho.judge import finished_parts
from morpho.parallel import on_root
from morpho.problem.spec import Problem
from morpho.results.storage import replace_file

ALIKE = 0.1  #: relative difference from which it is said


def certify(folder: Path, problem: Problem, comm: MPI.Comm) -> list[str]:
    """Solve the last design of a run, and its part in 0 and 1 of the same volume, on their mesh; `as_built` in
    result.json holds the figures of the part, the lines compare them (collective).

    Raises:
        InputError: the run has no design, or it does not fit its problem.
        SolverError: a load case could not be solved.
    """
    with finished_parts(problem, comm) as parts:
        rho = density_of(parts, folder)
        density, part = figures(parts, rho), figures(parts, thresholded(comm, rho, parts.mesh.volumes))
    on_root(comm, lambda: _note(folder / "result.json", part))
    return compared(density, part)


def is_certified(folder: Path) -> bool:
    """Whether there is nothing to certify: the run has not ended, or has the figures already (local).

    Raises:
        InputError: its result.json is damaged.
    """
    path = folder / "result.json"
    try:
        return not path.is_file() or "as_built" in json.loads(path.read_text())
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from None


def compared(density: Analysis, part: Analysis) -> list[str]:
    """The figures of both side by side, and a warning where they differ much (local)."""
    width = max(len("load case"), *map(len, part.cases))
    names = {
        "compliance": "compliance",
        "displacement": "displacement",
        "von_mises_away": "von Mises",
        "von_mises": "with pads",
    }
    lines = [f"{'load case':<{width}}  {'figure':<12}  {'as density':>12}  {'as built':>12}  {'change':>8}"]
    apart = []
    for name, case in part.cases.items():
        for key, title in names.items():
            before, after = getattr(density.cases[name], key), getattr(case, key)
            if after != after or before != before:  # there is no stress in heat, or no cell that counts
                continue
            change = after / before - 1 if before else 0.0
            lines.append(f"{name:<{width}}  {title:<12}  {before:12.6g}  {after:12.6g}  {100 * change:+7.1f}%")
            if not key.startswith("von_mises") and abs(change) > ALIKE:
                apart.append(f"{title} of {name} {100 * change:+.0f} %")
    if any(case.von_mises == case.von_mises for case in part.cases.values()):
        lines.append("von Mises leaves out the cells within two edges of loads and supports; 'with pads' has them all")
    if apart:
        lines.append(
            f"warning: the part as built is not the one that was optimized: {', '.join(apart)}; see projection"
        )
    if part.pieces > 1:
        lines.append(f"warning: the part as built is {part.pieces} pieces")
    return lines


def _note(path: Path, part: Analysis) -> None:
    if not path.is_file():
        raise InputError(f"{path}: no such file; the run has not ended, `morpho resume` goes on with it")
    result: dict[str, Any] = json.loads(path.read_text())
    cases = {name: {k: v for k, v in asdict(case).items() if v == v} for name, case in part.cases.items()}
    result["as_built"] = {"objective": part.objective, "volume": part.volume, "pieces": part.pieces, "cases": cases}
    replace_file(path, json.dumps(result, indent=2) + "\n")
