"""The JSON schema of problem files, for editors and for the reference of keys."""

from __future__ import annotations

import re
from typing import Any

from morpho.problem.spec import Problem


def schema() -> dict[str, Any]:
    """As pydantic makes it, with the short forms that a region has besides (local)."""
    found = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Problem.model_json_schema()}
    blocks = found["$defs"]
    whole = blocks["Region"]
    number = {"anyOf": [{"type": "integer"}, {"type": "array", "items": {"type": "integer"}}]}
    face = {"type": "object", "properties": {"face": number}, "required": ["face"], "additionalProperties": False}
    within = {
        "type": "object",
        "properties": {"surface": {"type": "string"}, "within": {"type": "number", "exclusiveMinimum": 0}},
        "required": ["surface", "within"],
        "additionalProperties": False,
    }
    short = [{"type": "string"}, {"type": "integer"}, face, within]
    blocks["Region"] = {"title": "Region", "description": whole["description"], "anyOf": [whole, *short]}
    blocks["WorstSpec"]["properties"]["of"]["items"] = {"type": "object"}
    return found


def reference() -> str:
    """A page with a table for each block of the problem file (local)."""
    found = schema()
    blocks = found["$defs"]
    blocks["Region"] = blocks["Region"]["anyOf"][0]
    text = "# Keys of the problem file\n\nMade from the models by `scripts/env python3 scripts/key_reference.py`. "
    text += "[problem_file.md](problem_file.md) explains them.\n"
    text += _table("Problem", found)
    for name in sorted(blocks, key=_title):
        text += _table(_title(name), blocks[name])
    return text


def _title(name: str) -> str:
    return name.removesuffix("Spec")


def _table(title: str, block: dict[str, Any]) -> str:
    text = (
        f"\n## {title}\n\n{_one_line(block.get('description', ''))}\n\n| key | value | default | |\n|---|---|---|---|\n"
    )
    required = set(block.get("required", ()))
    for key, given in block.get("properties", {}).items():
        default = "**needed**" if key in required else _default(given.get("default"))
        text += f"| `{key}` | {_kind(given)} | {default} | {_one_line(given.get('description', ''))} |\n"
    return text


def _one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip().replace("|", "\\|")


def _default(value: Any) -> str:
    if value is None or value == [] or isinstance(value, dict | list):
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _kind(given: dict[str, Any]) -> str:
    """What a value is, in words (local)."""
    if "$ref" in given:
        name = _title(given["$ref"].rpartition("/")[2])
        return f"[{name}](#{name.lower()})"
    if "const" in given:
        return f"`{given['const']}`"
    if "enum" in given:
        return ", ".join(f"`{value}`" for value in given["enum"])
    for key in ("anyOf", "oneOf", "allOf"):
        if key in given:
            kinds = dict.fromkeys(_kind(part) for part in given[key] if part.get("type") != "null")
            return " or ".join(kinds)
    kind = given.get("type")
    if kind == "array":
        items = given.get("items") or {}
        return f"list of {_kind(items)}" if items else "list"
    limits = {"exclusiveMinimum": "> {}", "minimum": ">= {}", "exclusiveMaximum": "< {}", "maximum": "<= {}"}
    said = [
        words.format(f"{given[key]:g}") for key, words in limits.items() if key in given and abs(given[key]) < 2**31 - 1
    ]
    names = {"number": "number", "integer": "whole number", "string": "text", "boolean": "true or false"}
    return " ".join([names.get(str(kind), "mapping"), *said])
