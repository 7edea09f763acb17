"""Runs side by side: a table for the terminal, and a page with their pictures. Serial."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from morpho.errors import InputError, MorphoError
from morpho.interfaces import Status
from morpho.results.pages import embedded, write_page

INDEX = "sweep.json"  #: in the folder of a sweep: its runs and what varies
WIDEST = 28  #: characters of a title


@dataclass(frozen=True)
class Run:
    """A run that has ended."""

    name: str
    folder: Path
    result: dict[str, Any]
    values: dict[str, str]  #: of the keys that a sweep varied


@dataclass(frozen=True)
class Column:
    """A figure of every run."""

    title: str
    texts: list[str]
    values: list[float | str]  #: to sort by


def runs_in(folders: Sequence[Path]) -> list[Run]:
    """The runs of folders, and those within the folders of sweeps that have ended (local).

    Raises:
        InputError: a folder is neither, or has nothing to compare.
    """
    found: list[Run] = []
    said: list[str] = []
    for folder in folders:
        try:
            found += _runs(folder)
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            said += error.complaints if isinstance(error, InputError) else [f"{folder}: cannot be read ({error})"]
    if said:
        raise InputError(said)
    return found


def columns(runs: list[Run]) -> list[Column]:
    """Name, objective, responses with their limits, figures as built, effort (local)."""
    results = [run.result for run in runs]
    found = [_texts("run", [run.name for run in runs])]
    for key in dict.fromkeys(key for run in runs for key in run.values):
        found.append(_texts(key, [run.values.get(key, "") for run in runs]))
    found.append(_numbers("objective", [result.get("objective") for result in results]))
    for name in dict.fromkeys(name for result in results for name in result["responses"]):
        found.append(_response(name, [result["responses"].get(name) for result in results]))
    built = [result.get("as_built") or {} for result in results]
    if any(built):
        found.append(_numbers("objective as built", [figures.get("objective") for figures in built]))
        found.append(_numbers("volume as built", [figures.get("volume") for figures in built]))
        found.append(_numbers("pieces", [figures.get("pieces") for figures in built]))
    found.append(_numbers("iterations", [result.get("iterations") for result in results]))
    found.append(_numbers("exact solves", [result.get("exact_solves") for result in results]))
    found.append(_numbers("seconds", [result.get("wall_seconds") for result in results], ".1f"))
    found.append(_texts("ended", [_ended(result) for result in results]))
    return found


def ordered(runs: list[Run], sort: str | None) -> list[Run]:
    """The runs by one of their figures, those without it last (local).

    Raises:
        InputError: there is no such figure.
    """
    if sort is None:
        return runs
    known = columns(runs)
    wanted = sort.lower().replace("_", " ")
    exact = [column for column in known if column.title.lower().replace("_", " ") == wanted]
    near = [column for column in known if wanted in column.title.lower().replace("_", " ")]
    if not exact and len(near) != 1:
        what = "no figure of that name" if not near else "several figures with that in their name"
        raise InputError(f"--sort: got {sort!r}, {what}; give one of {', '.join(column.title for column in known)}")
    values = (exact or near)[0].values
    missing = [isinstance(value, float) and math.isnan(value) for value in values]
    order = sorted(range(len(runs)), key=lambda i: (missing[i], values[i] if not missing[i] else 0))
    return [runs[i] for i in order]


def table(runs: list[Run]) -> list[str]:
    """The figures in lines (local)."""
    found = [column for column in columns(runs) if column.title not in runs[0].values] if runs else []
    lines = [""] * (len(runs) + 1)
    for k, column in enumerate(found):
        cells = [_cut(column.title), *column.texts]
        width = max(map(len, cells))
        numeric = k > 0 and column.title != "ended"
        lines = [
            f"{line}{'  ' if k else ''}{cell:>{width}}" if numeric else f"{line}{'  ' if k else ''}{cell:<{width}}"
            for line, cell in zip(lines, cells, strict=True)
        ]
    note = ["* not met"] if any("*" in text for column in found[1:] for text in column.texts) else []
    return [*(line.rstrip() for line in lines), *note]


def compare_page(runs: list[Run], output: Path) -> list[str]:
    """Write one page with the pictures and the figures; what could not be drawn, in lines (local)."""
    from morpho.results.render import render

    said, cards = [], []
    titles = columns(runs)
    for i, run in enumerate(runs):
        picture = run.folder / "design.png"
        try:
            if not picture.is_file() or picture.is_symlink():
                render(run.folder, picture)
            image = embedded(picture)
        except MorphoError as error:
            image = ""
            said.append(f"warning: {run.name} has no picture: {error}")
        figures = [(column.title, column.texts[i]) for column in titles[1:] if column.texts[i]]
        cards.append({"name": run.name, "image": image, "figures": figures})
    numeric = [not any(isinstance(value, str) for value in column.values) for column in titles]
    write_page(output, "compare.html", cards=cards, columns=titles, numeric=numeric, count=len(runs))
    return said


def _runs(folder: Path) -> list[Run]:
    if (folder / "result.json").is_file():
        return [_run(folder, folder.name or str(folder), {})]
    if (folder / INDEX).is_file():
        listed = json.loads((folder / INDEX).read_text())["runs"]
        within = []
        for entry in listed:
            name, values = str(entry["folder"]), {str(k): str(v) for k, v in entry["values"].items()}
            if Path(name).name != name:
                raise InputError(f"{folder / INDEX}: names {name!r}, which is no folder beside it")
            if (folder / name / "result.json").is_file():
                within.append(_run(folder / name, name, values))
        if not within:
            raise InputError(f"{folder}: no run of this sweep has ended yet")
        return within
    if (folder / "problem.yaml").is_file():
        raise InputError(f"{folder}: there is no result.json; the run has not ended, `morpho watch` follows it")
    raise InputError(f"{folder}: is neither a run folder nor that of a sweep")


def _run(folder: Path, name: str, values: dict[str, str]) -> Run:
    result = json.loads((folder / "result.json").read_text())
    if not isinstance(result, dict) or not isinstance(result.get("responses"), dict):
        raise InputError(f"{folder / 'result.json'}: is no result of a run")
    return Run(name, folder, result, values)


def _texts(title: str, texts: Sequence[str]) -> Column:
    values: list[float | str] = list(texts)
    with suppress(ValueError):
        values = [float(text) for text in texts]
    return Column(title, list(texts), values)


def _numbers(title: str, given: Sequence[Any], digits: str = ".6g") -> Column:
    values = [float(value) if isinstance(value, int | float) else math.nan for value in given]
    return Column(title, ["" if math.isnan(v) else format(v, digits) for v in values], list(values))


def _response(name: str, given: Sequence[Any]) -> Column:
    """Values beside limits; the limit is in the title where it is the same for all."""
    values = [float(one["value"]) if one else math.nan for one in given]
    limits = [f"{'>=' if one['at_least'] else '<='} {one['limit']:g}" if one else "" for one in given]
    marks = ["*" if one and not one["feasible"] else "" for one in given]
    alike = len({limit for limit in limits if limit}) == 1
    title = f"{name} {next(limit for limit in limits if limit)}" if alike else name
    texts = [
        "" if math.isnan(value) else f"{value:.5g}{'' if alike else f' {limit}'}{mark}"
        for value, limit, mark in zip(values, limits, marks, strict=True)
    ]
    return Column(title, texts, list(values))


def _ended(result: dict[str, Any]) -> str:
    status = str(result.get("status", ""))
    known = status.upper() in Status.__members__
    said = status.replace("_", " ") if known else "?"
    return said if result.get("feasible") else f"{said}, not feasible"


def _cut(title: str) -> str:
    return title if len(title) <= WIDEST else f"{title[: WIDEST // 2]}...{title[-(WIDEST // 2 - 3) :]}"
