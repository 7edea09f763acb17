"""Read a problem file: YAML, overrides, validation with every complaint at once and its place in the file."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from morpho.errors import InputError
from morpho.machine import physical_memory
from morpho.problem import petsc_options
from morpho.problem.check import check_consistency
from morpho.problem.gradient_spec import source_complaints
from morpho.problem.numbers import plain_value
from morpho.problem.spec import CAD, Problem
from morpho.problem.words import at_most, sentences, with_line
from morpho.problem.yaml_text import BYTES, decode, read_yaml


class _Dumper(yaml.SafeDumper):
    """Puts text in quotes where it would be read back as something else."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    style = None if plain_value(text) is text else "'"
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


def load_problem(path: str | Path, overrides: Sequence[str] = (), *, allow_code: bool = False) -> Problem:
    """Read and validate a problem file (local; every rank may call it).

    Args:
        path: YAML file; a mesh file in it is relative to this path.
        overrides: `path.to.key=value` texts that replace values of the file.
        allow_code: whether the file may name code that a solve runs (`objective.value: file.py:function`).

    Raises:
        InputError: with every complaint, each with its place in the file.
    """
    path = Path(path)
    try:
        document = read_yaml(decode(_content(path)))
    except InputError as error:
        raise InputError([f"{path}{text}" for text in error.complaints]) from None
    data, said = document.data, at_most([f"{path}{text}" for text in document.complaints])
    if not isinstance(data, dict):
        kind = "an empty file" if data is None else "a list" if isinstance(data, list) else "a single value"
        raise InputError([*said, f"{path}: got {kind}, expected keys such as mesh, supports, loads, constraints"])
    data.setdefault("name", name_of(path))
    for override in overrides:
        _override(data, override)
    try:
        problem = parse_problem(data, str(path), path.parent, document.node, allow_code)
    except InputError as error:
        said += error.complaints
    if said:
        raise InputError(said)
    return problem


def part_of(path: str | Path, overrides: Sequence[str] = ()) -> Path:
    """The CAD part that a problem file names, whatever else is in it or missing (local).

    Raises:
        InputError: it names none, or there is no such file.
    """
    path = Path(path)
    data = read_yaml(decode(_content(path))).data
    for override in overrides:
        _override(data, override)
    mesh = data.get("mesh") if isinstance(data, dict) else None
    name = mesh.get("file", mesh.get("voxelize")) if isinstance(mesh, dict) else None
    if not isinstance(name, str) or not name.lower().endswith(CAD):
        raise InputError(f"{path}: mesh.file: names no CAD part ({', '.join(CAD)}), so that there are no faces to list")
    part = _resolved(path.parent / name)
    if said := _file_complaints("mesh.file", part, path.parent):
        raise InputError([f"{path}: {text}" for text in said])
    return part


def parse_problem(
    data: dict[str, Any], source: str, folder: Path, node: yaml.Node | None = None, allow_code: bool = False
) -> Problem:
    """Validate the data of a problem file whose relative paths start at folder (local).

    Raises:
        InputError: with every complaint.
    """
    said: list[str] = []
    data = _with_surfaces(data, folder, said)
    try:
        problem = Problem.model_validate(data)
    except ValidationError as error:
        said += sentences(error.errors(include_url=False), data, source, node)
        gradient = data.get("gradient")
        if isinstance(gradient, dict) and isinstance(gradient.get("source"), str):
            said += [with_line(text, source, node) for text in source_complaints(gradient["source"])]
        raise InputError(said) from None
    said += petsc_options.complaints(problem.solver.petsc_options)
    for key in ("file", "voxelize"):
        if name := getattr(problem.mesh, key):
            file = _resolved(folder / name)
            said += _file_complaints(f"mesh.{key}", file, folder)
            problem = problem.model_copy(update={"mesh": problem.mesh.model_copy(update={key: str(file)})})
    if problem.start is not None:
        begun = problem.start.model_copy(update={"run": str(_resolved(folder / problem.start.run))})
        problem = problem.model_copy(update={"start": begun})
    own = problem.objective.function
    if own is not None:
        if not allow_code:
            said.append(
                f"objective.value: the file names code to run, {own[1]} in {own[0]}; if you trust it, allow it with "
                "--allow-code (in Python load_problem(..., allow_code=True))"
            )
        place = f"{_resolved(folder / own[0])}:{own[1]}"
        problem = problem.model_copy(update={"objective": problem.objective.model_copy(update={"value": place})})
    said += check_consistency(problem)
    if said:
        said += source_complaints(problem.gradient.source)
        raise InputError([with_line(complaint, source, node) for complaint in at_most(said)])
    return problem


def name_of(path: Path) -> str:
    """The name of a problem whose file says none: that of the file, as far as it can name a folder."""
    name = re.sub(r"[^\w.-]", "_", path.stem).lstrip(".-")
    return name.encode()[:100].decode(errors="ignore") or "problem"


def _resolved(path: Path) -> Path:
    """The path from the root; links that lead round in circles stay as they are."""
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError):
        return path.absolute()


def _content(path: Path) -> bytes:
    if "\0" in str(path):
        raise InputError(": cannot be read (there is a NUL in the path); give the path of a problem file")
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise InputError(": cannot be read (it is no regular file); give the path of a problem file")
        with open(path, "rb") as file:
            content = file.read(BYTES + 1)
    except OSError as error:
        raise InputError(f": cannot be read ({error.strerror}); give the path of a problem file") from None
    if len(content) > BYTES:
        raise InputError(f": has more than {BYTES / 1e6:g} MB; a problem file is a page of text, meshes have their own")
    return content


def _with_surfaces(value: Any, folder: Path, said: list[str]) -> Any:
    """The data with the paths of surface files made absolute, wherever a region names one (local)."""
    if isinstance(value, list):
        return [_with_surfaces(part, folder, said) for part in value]
    if not isinstance(value, dict):
        return value
    found = {key: _with_surfaces(part, folder, said) for key, part in value.items()}
    if isinstance(name := found.get("surface"), str):
        file = _resolved(folder / name)
        said += _file_complaints("surface", file, folder)
        found["surface"] = str(file)
    return found


def _file_complaints(place: str, file: Path, folder: Path) -> list[str]:
    """Why a file cannot be read; whether it is what it should be shows when it is (local)."""
    try:
        found = os.stat(file)
    except OSError as error:
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            return [f"{place}: there is no file {file}; the path is relative to {folder}"]
        return [f"{place}: {file} cannot be read ({error.strerror})"]
    except ValueError:
        return [f"{place}: got {str(file)!r}, a path with a NUL in it"]
    if not stat.S_ISREG(found.st_mode):
        return [f"{place}: {file} is no regular file; give the path of a file"]
    if not os.access(file, os.R_OK):
        return [f"{place}: {file} cannot be read (Permission denied)"]
    if found.st_size == 0:
        return [f"{place}: {file} is empty; write it again"]
    if found.st_size > physical_memory():
        return [f"{place}: {file} has {found.st_size / 1e9:.0f} GB, more than the memory of this machine"]
    return []


def dump_problem(problem: Problem) -> str:
    """The resolved problem as YAML, every default filled in (local)."""
    data = problem.model_dump(mode="json", exclude_none=True)
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, default_flow_style=None, width=110)


def _override(data: dict[str, Any], text: str) -> None:
    """Replace one value in place: `loads[0].weight=2`."""
    path, equals, value = text.partition("=")
    keys = [int(k) if k.isdecimal() and len(k) < 10 else k for k in re.findall(r"[^.\[\]]+", path)]
    if not equals or not keys:
        raise InputError(f"--set {text}: expected path.to.key=value, e.g. optimizer.max_iterations=50")
    place: Any = data
    for key, following in zip(keys, [*keys[1:], None], strict=True):
        key = str(key) if isinstance(place, dict) else key
        try:
            if following is None:
                place[key] = _override_value(text, value)
            elif isinstance(place, dict):
                place = place.setdefault(key, {})
            else:
                place = place[key]
        except (IndexError, KeyError, TypeError):
            raise InputError(f"--set {text}: there is no {key!r} in the file at this place") from None


def _override_value(text: str, value: str) -> Any:
    try:
        document = read_yaml(value)
        if document.complaints:
            raise InputError(document.complaints)
    except InputError as error:
        why = "; ".join(re.sub(r"^:\d*:? ?", "", complaint) for complaint in error.complaints)
        raise InputError(f"--set {text}: the value {why}") from None
    return document.data
