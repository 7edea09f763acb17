"""The two restart sets of a run folder: which is newest, which is written next. All functions are local."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from morpho.results.storage import sync_folder

_FORMAT = 1
_SETS = ("a", "b")


def record(sequence: int, n_global: int, arrays: Mapping[str, Any], meta: Mapping[str, Any]) -> str:
    """Content of meta.json; arrays maps names to shape, bytes and crc32 of the whole file."""
    content = {"format": _FORMAT, "sequence": sequence, "n_global": n_global, "arrays": arrays, "meta": meta}
    return json.dumps(content, indent=1) + "\n"


def find(root: Path) -> tuple[list[tuple[Path, dict[str, Any]]], list[str]]:
    """Complete sets with their records, newest first, and what is wrong with the others."""
    found, complaints = [], []
    for path in (root / name for name in _SETS):
        if not path.exists():
            continue
        try:
            content = json.loads((path / "meta.json").read_text(encoding="utf-8"))
            if content["format"] != _FORMAT:
                raise ValueError(f"format {content['format']} is not known to this version")
            for name, entry in content["arrays"].items():
                size = (path / f"{name}.npy").stat().st_size
                if size != entry["bytes"]:
                    raise ValueError(f"{name}.npy has {size} bytes, not {entry['bytes']}")
            if missing := {"sequence", "n_global", "meta"} - content.keys():
                raise ValueError(f"meta.json has no {', '.join(sorted(missing))}")
            found.append((path, content))
        except FileNotFoundError as error:
            complaints.append(f"{path} is incomplete (no {Path(error.filename).name})")
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            complaints.append(f"{path} is damaged ({error})")
    # Not by iteration: a run started afresh in the same folder counts from 1 again.
    found.sort(key=lambda item: item[1]["sequence"], reverse=True)
    return found, complaints


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
