"""One problem with several values of some of its keys, a run each."""

from __future__ import annotations

import itertools
import json
import logging
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mpi4py import MPI

from morpho import start
from morpho.errors import InputError
from morpho.interrupt import Clock
from morpho.parallel import on_root, raise_together
from morpho.parts import complaints
from morpho.problem import Problem, load_problem, spec
from morpho.result import Result
from morpho.results import run_folder
from morpho.results.compare import INDEX
from morpho.results.storage import replace_file
from morpho.run import solve

log = logging.getLogger("morpho")

MOST = 1000  #: runs of a sweep


@dataclass(frozen=True)
class Variant:
    """One run of a sweep."""

    folder: str  #: its name in the folder of the sweep
    values: dict[str, str]  #: of the keys that vary, as they were given
    problem: Problem


def variants(
    file: Path, sweeps: Sequence[str], overrides: Sequence[str] = (), allow_code: bool = False
) -> list[Variant]:
    """Every combination of `path.to.key=v1,v2` texts, the last key fastest; each is validated (local).

    Raises:
        InputError: a text is none of these, or what is wrong with the problems, each complaint once.
    """
    keys = [_split(text) for text in sweeps]
    if twice := [key for key, n in Counter(key for key, _ in keys).items() if n > 1]:
        raise InputError(f"--sweep {twice[0]}: is given twice; put all values into one")
    count = 1
    for _, values in keys:
        count *= len(values)
    if count > MOST:
        raise InputError(f"--sweep: {count} runs; give at most {MOST}")
    found: list[Variant] = []
    said: list[str] = []
    short = _short([key for key, _ in keys])
    for combination in itertools.product(*(values for _, values in keys)):
        chosen = {key: value for (key, _), value in zip(keys, combination, strict=True)}
        texts = [f"{key}={value}" for key, value in chosen.items()]
        name = "-".join(f"{part}_{_plain(value)}" for part, value in zip(short, combination, strict=True))[:150]
        try:
            problem = load_problem(file, [*overrides, *texts], allow_code=allow_code)
            said += [f"--sweep {' '.join(texts)}: {text}" for text in complaints(problem)]
            found.append(Variant(name, chosen, problem))
        except InputError as error:
            said += [
                text.replace("--set", "--sweep") if text.startswith("--set") else f"--sweep {' '.join(texts)}: {text}"
                for text in error.complaints
            ]
    if said:
        raise InputError(list(dict.fromkeys(said)))
    if alike := [name for name, n in Counter(each.folder for each in found).items() if n > 1]:
        raise InputError(f"--sweep: several runs would be called {alike[0]}; give each value once")
    return found


def sweep(
    runs: list[Variant],
    folder: Path,
    comm: MPI.Comm,
    overwrite: bool = False,
    from_previous: bool = False,
    time_limit: float | None = None,
) -> list[Result]:
    """Solve one after the other into folder/NAME, until one is interrupted (collective).

    Args:
        from_previous: whether each starts from the design of the one before.
        time_limit: seconds for all of them.

    Raises:
        InputError: before any solve, but for what only the mesh of a later one can tell.
    """
    raise_together(comm, on_root(comm, lambda: _refusals(runs, folder, overwrite)))
    if not from_previous:
        for each in runs:
            start.check(each.problem, comm)
    whole = on_root(comm, folder.absolute)
    on_root(comm, lambda: _note(whole, runs))
    results: list[Result] = []
    clock, previous = Clock(time_limit), None
    for i, each in enumerate(runs, start=1):
        said = ", ".join(f"{key} {value}" for key, value in each.values.items())
        log.info(f"run {i} of {len(runs)}: {said}")
        problem = each.problem
        if previous is not None:
            problem = problem.model_copy(update={"start": spec.Start(run=str(previous))})
        result = solve(problem, whole / each.folder, comm, overwrite=overwrite, time_limit=clock.left())
        results.append(result)
        if result.status.is_cut_short:
            break
        if from_previous and result.status.exit_code == 0:
            previous = whole / each.folder
    return results


def _split(text: str) -> tuple[str, list[str]]:
    """The key and its values; commas in brackets and quotes part none."""
    key, equals, given = text.partition("=")
    values = re.findall(r"""(?:\[[^\]]*\]|\{[^}]*\}|"[^"]*"|'[^']*'|[^,])+""", given)
    if not equals or not key.strip() or not values or any(not value.strip() for value in values):
        raise InputError(f"--sweep {text}: expected path.to.key=v1,v2, e.g. design.filter.radius=2,3,4")
    return key.strip(), [value.strip() for value in values]


def _short(keys: Sequence[str]) -> list[str]:
    """The last part of each key, more of it where two would be alike."""
    parts = [[part for part in re.split(r"[.\[\]]+", key) if part] for key in keys]
    last = [part[-1] for part in parts]
    return [name if last.count(name) == 1 else "_".join(part) for name, part in zip(last, parts, strict=True)]


def _plain(value: str) -> str:
    return re.sub(r"[^\w.+-]+", "_", value).strip("_.") or "_"


def _refusals(runs: list[Variant], folder: Path, overwrite: bool) -> list[str]:
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        return [f"--output: {folder} is no folder of its own; choose another one"]
    if run_folder.is_run(folder):
        return [f"--output: {folder} holds a run; a sweep has a folder of its own, with one for each run in it"]
    if (folder / INDEX).is_symlink():
        return [f"--output: {folder / INDEX} is a link; remove it"]
    return [text for each in runs for text in run_folder.complaints(folder / each.folder, overwrite)]


def _note(folder: Path, runs: list[Variant]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    index = [{"folder": each.folder, "values": each.values} for each in runs]
    replace_file(folder / INDEX, json.dumps({"runs": index}, indent=2) + "\n")
