"""The two restart sets of a run folder: which is newest, which is written next. All functions are local."""

from __future__ import annotations

import json
import os
import re
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from morpho.results.storage import sync_folder

_FORMAT = 2
_SETS = ("a", "b")
_SEAL = '"crc32": "{}"'  #: checksum of the text of meta.json with zeros in its place
_SEALED = re.compile(rb'\A\{\n "format": 2,\n "crc32": "([0-9a-f]{8})",\n')


def record(sequence: int, n_global: int, arrays: Mapping[str, Any], meta: Mapping[str, Any]) -> str:
    """Content of meta.json; arrays maps names to shape, bytes and crc32 of the whole file."""
    content = {"format": _FORMAT, "crc32": "0" * 8, "sequence": sequence, "n_global": n_global}
    text = json.dumps(content | {"arrays": arrays, "meta": meta}, indent=1) + "\n"
    crc = zlib.crc32(text.encode())
    return text.replace(_SEAL.format("0" * 8), _SEAL.format(f"{crc:08x}"), 1)


def find(root: Path) -> tuple[list[tuple[Path, dict[str, Any]]], list[str]]:
    """Complete sets with their records, newest first, and what is wrong with the others."""
    found, complaints = [], []
    for path in (root / name for name in _SETS):
        if not path.exists():
            continue
        try:
            content = _checked((path / "meta.json").read_bytes())
            for name, entry in content["arrays"].items():
                size = (path / f"{name}.npy").stat().st_size
                if size != entry["bytes"]:
                    raise ValueError(f"{name}.npy has {size} bytes, not {entry['bytes']}")
            if missing := {"sequence", "n_global", "meta"} - content.keys():
                raise ValueError(f"meta.json has no {', '.join(sorted(missing))}")
            found.append((path, content))
        except FileNotFoundError as error:
            complaints.append(f"{path} is incomplete (no {Path(error.filename).name})")
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            complaints.append(f"{path} is damaged ({error})")
    # Not by iteration: a run started afresh in the same folder counts from 1 again.
    found.sort(key=lambda item: item[1]["sequence"], reverse=True)
    return found, complaints


def _checked(text: bytes) -> dict[str, Any]:
    """The record in the text of a meta.json; format 1, of earlier versions, has no checksum."""
    if sealed := _SEALED.match(text):
        start, end = sealed.span(1)
        if zlib.crc32(text[:start] + b"0" * 8 + text[end:]) != int(sealed[1], 16):
            raise ValueError("meta.json has a wrong checksum")
    content: dict[str, Any] = json.loads(text)
    if not sealed and content["format"] != 1:
        raise ValueError(f"format {content['format']!r} of meta.json is not known to this version")
    if not (isinstance(content["sequence"], int) and isinstance(content["n_global"], int)):
        raise ValueError("meta.json is not a record of a restart set")
    return content


def next_set(root: Path) -> tuple[Path, int]:
    """The set to write now, never the only complete one, and its place in the sequence of saves."""
    found, _ = find(root)
    if not found:
        return root / _SETS[0], 1
    complete = [path for path, _ in found]
    free = [root / name for name in _SETS if root / name not in complete]
    return (free or complete[::-1])[0], found[0][1]["sequence"] + 1


def open_set(path: Path, sizes: Mapping[str, int]) -> None:
    """Make the set incomplete, then give it one file of the right size per array and no other."""
    path.mkdir(parents=True, exist_ok=True)
    (path / "meta.json").unlink(missing_ok=True)
    sync_folder(path)
    for old in path.iterdir():
        if old.stem not in sizes or old.suffix != ".npy":
            old.unlink()
    for name, size in sizes.items():
        descriptor = os.open(path / f"{name}.npy", os.O_WRONLY | os.O_CREAT, 0o666)
        try:
            os.ftruncate(descriptor, size)
        finally:
            os.close(descriptor)
    for folder in (path, path.parent, path.parent.parent):
        sync_folder(folder)


def set_aside(damaged: Sequence[Path]) -> None:
    """Mark sets as incomplete, so that the next save overwrites them and not the good one."""
    for path in damaged:
        with suppress(OSError):
            os.replace(path / "meta.json", path / "meta.damaged.json")
