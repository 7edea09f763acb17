"""Read a problem file: YAML, overrides, validation with every complaint at once and its place in the file."""

from __future__ import annotations

import difflib
import re
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from morpho.errors import InputError
from morpho.problem.check import check_consistency
from morpho.problem.spec import Problem

Location = tuple[int | str, ...]


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses a key given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue  # the base class complains
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} is given twice", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


# As in YAML 1.2, only true and false are booleans: `E: yes` is a mistake, not 1.
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in pairs if tag != "tag:yaml.org,2002:bool"]
    for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("^(?:true|false)$"), list("tf"))


def load_problem(path: str | Path, overrides: Sequence[str] = ()) -> Problem:
    """Read and validate a problem file (local; every rank may call it).

    Args:
        path: YAML file; a mesh file in it is relative to this path.
        overrides: `path.to.key=value` texts that replace values of the file.

    Raises:
        InputError: with every complaint, each with its place in the file.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give the path of a problem file") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not a text file; expected YAML") from None
    try:
        node = yaml.compose(text, Loader=_Loader)
        data = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise InputError(f"{where}: is not YAML: {getattr(error, 'problem', None) or error}") from None
    except ValueError as error:  # of the conversion of a scalar, such as a 13th month
        raise InputError(f"{path}: a value cannot be read: {error}; put it in quotes") from None
    if not isinstance(data, dict):
        kind = "an empty file" if data is None else f"a {type(data).__name__}"
        raise InputError(f"{path}: got {kind}, expected keys such as mesh, supports, loads, constraints")
    data.setdefault("name", re.sub(r"[^\w.-]", "_", path.stem))
    for override in overrides:
        _override(data, override)
    return parse_problem(data, source=str(path), folder=path.parent, node=node)


def parse_problem(data: dict[str, Any], source: str, folder: Path, node: yaml.Node | None = None) -> Problem:
    """Validate the data of a problem file whose relative paths start at folder (local).

    Raises:
        InputError: with every complaint.
    """
    try:
        problem = Problem.model_validate(data)
    except ValidationError as error:
        errors = error.errors(include_url=False)
        said = [_sentence(e, source, node) for e in errors if not _is_echo(e, errors)]
        raise InputError(said) from None
    if problem.mesh.file is not None:
        mesh = problem.mesh.model_copy(update={"file": str((folder / problem.mesh.file).resolve())})
        problem = problem.model_copy(update={"mesh": mesh})
    own = problem.objective.function
    if own is not None:
        place = f"{(folder / own[0]).resolve()}:{own[1]}"
        problem = problem.model_copy(update={"objective": problem.objective.model_copy(update={"value": place})})
    said = [_with_line(complaint, source, node) for complaint in check_consistency(problem)]
    if problem.mesh.file is not None and not Path(problem.mesh.file).is_file():
        said.append(f"{source}: mesh.file: there is no file {problem.mesh.file}; the path is relative to {folder}")
    if said:
        raise InputError(said)
    return problem


def dump_problem(problem: Problem) -> str:
    """The resolved problem as YAML, every default filled in (local)."""
    data = problem.model_dump(mode="json", exclude_none=True)
    return yaml.safe_dump(data, sort_keys=False, default_flow_style=None, width=110)


def _override(data: dict[str, Any], text: str) -> None:
    """Replace one value in place: `loads[0].weight=2`."""
    path, equals, value = text.partition("=")
    keys = [int(k) if k.isdigit() else k for k in re.findall(r"[^.\[\]]+", path)]
    if not equals or not keys:
        raise InputError(f"--set {text}: expected path.to.key=value, e.g. optimizer.max_iterations=50")
    place: Any = data
    for key, following in zip(keys, [*keys[1:], None], strict=True):
        try:
            if following is None:
                place[key] = yaml.load(value, Loader=_Loader)
            elif isinstance(place, dict):
                place = place.setdefault(key, {})
            else:
                place = place[key]
        except (IndexError, KeyError, TypeError):
            raise InputError(f"--set {text}: there is no {key!r} in the file at this place") from None
        except (yaml.YAMLError, ValueError):
            raise InputError(f"--set {text}: the value is not YAML") from None


def _sentence(error: Any, source: str, node: yaml.Node | None) -> str:
    """One pydantic error as `file:line: place: what is wrong, what is expected`."""
    location = _in_file(error["loc"])
    message = str(error["msg"]).removeprefix("Value error, ")
    kind = error["type"]
    if kind == "extra_forbidden":
        known = _known_keys(error["loc"][:-1])
        close = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.5)
        cure = f"did you mean {close[0]!r}?" if close else f"expected one of {', '.join(sorted(known))}"
        message = f"unknown key; {cure}"
    elif kind == "missing":
        message = "is missing; it has to be given"
    elif kind != "value_error":
        given = error.get("input")
        if not isinstance(given, dict | list | tuple):
            message = f"got {given!r}; {message[:1].lower()}{message[1:]}"
    return f"{source}{_line(node, location)}: {_place(location)}: {message}"


def _with_line(complaint: str, source: str, node: yaml.Node | None) -> str:
    """A complaint `place: what` with the file and the line of its place."""
    keys = re.findall(r"[^.\[\]]+", complaint.partition(":")[0])
    return f"{source}{_line(node, tuple(int(k) if k.isdigit() else k for k in keys))}: {complaint}"


def _is_echo(error: Any, errors: Sequence[Any]) -> bool:
    """A sequence counts as too short when its entries are wrong; the entries' own errors say it better."""
    depth = len(error["loc"])
    return error["type"] == "too_short" and any(
        len(e["loc"]) > depth and e["loc"][:depth] == error["loc"] for e in errors
    )


def _in_file(location: Location) -> Location:
    """Drop the names that pydantic adds for the branch of a union."""
    added = {"number", "schedule", "volume", "compliance"}
    kept = []
    for i, key in enumerate(location):
        before = location[i - 1] if i else None
        if key in added and (isinstance(before, int) or before in ("penalty", "beta")):
            continue
        if isinstance(key, str) and ("[" in key or key == "float"):
            continue
        kept.append(key)
    return tuple(kept)


def _place(location: Location) -> str:
    text = ""
    for key in location:
        text += f"[{key}]" if isinstance(key, int) else f".{key}"
    return text.lstrip(".") or "the file"


def _line(node: yaml.Node | None, location: Location) -> str:
    """`:line` of the deepest part of the location that stands in the file."""
    line = None
    for key in location:
        if isinstance(node, yaml.MappingNode):
            found = next(((k, v) for k, v in node.value if k.value == key), None)
            if found is None:
                break
            line, node = found[0].start_mark.line, found[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
            node = node.value[key]
            line = node.start_mark.line
        else:
            break
    return f":{line + 1}" if line is not None else ""


def _known_keys(location: Location) -> set[str]:
    """Keys that the model (or any branch of the union) at a location understands."""
    models: list[type[BaseModel]] = [Problem]
    for key in location:
        if isinstance(key, int):
            continue
        deeper = [
            m for model in models if key in model.model_fields for m in _models(model.model_fields[key].annotation)
        ]
        models = deeper or models
    return {name for model in models for name in model.model_fields}


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for part in typing.get_args(annotation) for m in _models(part)]
