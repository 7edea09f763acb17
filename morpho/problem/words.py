"""Complaints about a problem file in sentences: where, what was given, what is expected."""

from __future__ import annotations

import difflib
import re
import typing
from collections.abc import Sequence
from typing import Any

import yaml
from pydantic import BaseModel

from morpho.problem import wishes
from morpho.problem.spec import Problem

Location = tuple[int | str, ...]

MOST = 40  #: complaints that are said of one file
_ALIKE = 0.7  #: similarity from which a word counts as misspelt
_NEARLY_EQUAL = 0.85  #: and from which it does, although people look for it

_EXAMPLES = {
    "mesh": "mesh: {box: {size: [60, 20], cells: [60, 20]}}",
    "supports": "supports: [{region: {plane: {axis: x, at: 0}}, fix: all}]",
    "constraints": "constraints: [{volume_fraction: 0.5}]",
}


def sentences(errors: Sequence[Any], data: Any, source: str, node: yaml.Node | None) -> list[str]:
    """What pydantic says of data, each place once, as `file:line: place: what is wrong, what is expected`."""
    said: dict[Location, list[str]] = {}
    looked_at = errors[: 3 * MOST]
    for error in looked_at:
        if not _is_echo(error, looked_at):
            location = _in_file(error["loc"], data, error["type"] == "missing")
            if error["type"] == "union_tag_invalid":
                location = (*location, "kind")
            texts = said.setdefault(location, [])
            if (text := _what(error, location, data)) not in texts:
                texts.append(text)
    lines = [f"{source}{_line(node, place)}: {_place(place)}: {_joined(texts)}" for place, texts in said.items()]
    return at_most(lines, len(errors) - len(looked_at))


def with_line(complaint: str, source: str, node: yaml.Node | None) -> str:
    """A complaint `place: what` with the file and the line of its place."""
    keys = re.findall(r"[^.\[\]]+", complaint.partition(":")[0])
    return f"{source}{_line(node, tuple(int(k) if k.isdecimal() else k for k in keys))}: {complaint}"


def at_most(complaints: list[str], others: int = 0) -> list[str]:
    """The complaints, cut off where nobody reads on, and how many there are besides."""
    more = max(0, len(complaints) - MOST) + others
    return [*complaints[:MOST], *([f"and {more} more"] if more else [])]


def shown(value: Any) -> str:
    """A value as a message shows it."""
    if value is None or isinstance(value, bool):
        return {None: "nothing", True: "true", False: "false"}[value]
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:60]}... ({len(text)} characters)"


def _what(error: Any, location: Location, data: Any) -> str:
    kind, given, context = error["type"], error.get("input"), error.get("ctx", {})
    message = str(error["msg"]).removeprefix("Value error, ")
    message = message[:1].lower() + message[1:] if message.startswith("Input") else message
    if kind == "extra_forbidden":
        return _unknown_key(error["loc"], location, data)
    if kind == "missing":
        example = _EXAMPLES.get(str(location[-1])) if len(location) == 1 else None
        return "is missing; it has to be given" + (f", for instance {example}" if example else "")
    if given is None:
        return f"is empty; {message if kind == 'value_error' else 'expected ' + _expected(error)}"
    if kind == "value_error":
        return message
    if kind in ("literal_error", "union_tag_invalid"):
        return _unknown_name(error, given, context, location)
    if kind in ("too_short", "too_long"):
        bound = "at least {min_length}" if kind == "too_short" else "at most {max_length}"
        return f"got {len(given)} values; expected {bound.format(**context)}"
    if kind == "string_pattern_mismatch":
        return f"got {shown(given)}; a name has letters, digits, _, - and . only"
    if kind == "union_tag_not_found":
        return f"got {shown(given)}; kind is missing"
    if kind in (
        "model_type",
        "model_attributes_type",
        "dict_type",
        "tuple_type",
        "string_type",
        "no_number",
        "float_type",
    ):
        hint = "; put it in quotes for a text" if kind == "string_type" and isinstance(given, int | float) else ""
        wanted = message if kind == "no_number" else f"expected {_expected(error)}"
        return f"got {shown(given)}; {wanted}{hint}"
    if kind == "less_than_equal" and location and location[-1] in ("volume_fraction", "volfrac") and 1 < given <= 100:
        return f"got {given:g}; a fraction is at most 1: write {given / 100:g} for {given:g} %"
    if isinstance(given, dict | list | tuple):
        return message
    return f"got {shown(given)}; {message}"


def _unknown_key(loc: Location, location: Location, data: Any) -> str:
    key, known = str(location[-1]), _known_keys(loc[:-1])
    around = _at(data, location[:-1])
    if key.isdecimal() and isinstance(around, dict):
        return "unknown key; if it is the end of a number: a number has no thousands separator (write 210000)"
    if ":" in key:
        return "unknown key; a space is missing after the colon"
    if key == "volfrac":
        return "the same as volume_fraction; give one of them"
    if isinstance(around, dict):
        for name, value in around.items():
            if value is None and name in known and key in _known_keys((*loc[:-1], name)) - known:
                return f"unknown key; indent it deeper than {name!r}, which it belongs to"
    return f"unknown key; {_cure(key, sorted(known)) or 'expected one of ' + ', '.join(sorted(known))}"


def _unknown_name(error: Any, given: Any, context: Any, location: Location) -> str:
    expected = str(context.get("expected") or context.get("expected_tags") or "")
    name = context["tag"] if error["type"] == "union_tag_invalid" else given
    text = f"got {shown(name)}; expected {expected.replace(' or ', ', ')}"
    wished = location[0] in ("objective", "constraints")
    cure = _cure(name, re.findall(r"'([^']*)'", expected), wished) if isinstance(name, str) else None
    return f"{text}; {cure}" if cure else text


def _cure(word: str, known: Sequence[str], wished: bool = True) -> str | None:
    """The known word that was meant, or what morpho has instead of what was wished for."""

    def close(cutoff: float) -> str | None:
        found = difflib.get_close_matches(word.lower(), known, n=1, cutoff=cutoff)
        return f"did you mean {found[0]!r}?" if found else None

    begun = next((f"did you mean {name!r}?" for name in known if len(word) > 3 and name.startswith(word.lower())), None)
    return close(_NEARLY_EQUAL) or begun or (wishes.about(word) if wished else None) or close(_ALIKE)


def _expected(error: Any) -> str:
    kind, context = error["type"], error.get("ctx", {})
    if kind in ("no_number", "float_type", "int_type"):
        return "a number"
    if kind == "string_type":
        return "a text"
    if kind in ("tuple_type", "list_type"):
        return "a list, such as [1, 2], or lines that start with a dash"
    if kind == "dict_type":
        return "a mapping, such as {key: value}"
    if kind in ("model_type", "model_attributes_type"):
        known = sorted(_known_keys(error["loc"]))
        return f"keys such as {', '.join(known[:8])}" if known else "keys with values"
    if kind == "literal_error":
        return str(context.get("expected", "a name"))
    return "a value"


def _joined(texts: list[str]) -> str:
    """What the branches of a union say of the same value, as one text."""
    first, *others = texts
    more = [text.partition("; expected ")[2] for text in others]
    return first + "".join(f", or {text}" for text in more if text and text not in first)


def _is_echo(error: Any, errors: Sequence[Any]) -> bool:
    """A sequence counts as too short when its entries are wrong; the entries' own errors say it better."""
    depth = len(error["loc"])
    return error["type"] == "too_short" and any(
        len(e["loc"]) > depth and e["loc"][:depth] == error["loc"] for e in errors
    )


def _in_file(location: Location, data: Any, is_missing: bool) -> Location:
    """Drop the names that pydantic adds for the branch of a union: they do not stand in the data."""
    kept: list[int | str] = []
    for i, key in enumerate(location):
        branch_of_constraint = i == 2 and location[0] == "constraints" and key in ("volume", "compliance")
        if _has(data, key) and not (branch_of_constraint and i + 1 < len(location)):
            data = data[key]
        elif i + 1 < len(location) or not is_missing:
            continue
        kept.append(key)
    return tuple(kept)


def _has(data: Any, key: int | str) -> bool:
    if isinstance(data, dict):
        return key in data
    return isinstance(data, list | tuple) and isinstance(key, int) and 0 <= key < len(data)


def _at(data: Any, location: Location) -> Any:
    for key in location:
        if not _has(data, key):
            return None
        data = data[key]
    return data


def _place(location: Location) -> str:
    text = ""
    for key in location:
        text += f"[{key}]" if isinstance(key, int) else f".{key}" if len(key) <= 60 else f".{key[:57]}..."
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
        models = deeper or [m for m in models if key in _kinds(m)] or models
    return {name for model in models for name in model.model_fields}


def _kinds(model: type[BaseModel]) -> tuple[Any, ...]:
    """The kinds by which a union knows a model."""
    kind = model.model_fields.get("kind")
    return typing.get_args(kind.annotation) if kind is not None else ()


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for part in typing.get_args(annotation) for m in _models(part)]
