"""Meshes by meshio: every format that has no reader of its own here."""

from __future__ import annotations

import contextlib
import io
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from morpho.mesh.raw import DIMENSIONS, ORDERS, Raw

#: Integer data that other programs number their groups by, the first found giving the plain numbers as names.
GROUP_DATA = ("gmsh:physical", "medit:ref", "nastran:ref", "MaterialIds", "MaterialID", "material", "cell_tags",
              "CellEntityIds", "RegionId", "subdomain", "attribute", "ref")  # fmt: skip
MOST_GROUPS = 200  #: data with more values than this numbers something else


def read_meshio(path: str) -> Raw:
    """A file that meshio reads (local).

    Raises:
        ValueError: with the reason, in one line.
    """
    import meshio

    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            data = meshio.read(path)
    except (Exception, SystemExit) as error:  # meshio raises all sorts, or prints the reason and exits
        reason = printed.getvalue() if isinstance(error, SystemExit) else str(error)
        raise ValueError(" ".join(reason.split()) or type(error).__name__) from None
    raw = Raw(np.asarray(data.points, dtype=float))
    raw.blocks = [(block.type, np.asarray(block.data, dtype=np.int64)) for block in data.cells]
    for name, parts in data.cell_sets.items():
        if not name.startswith("gmsh:"):
            for block, rows in enumerate(parts):
                if rows is not None:
                    raw.groups.append((name, block, np.asarray(rows, dtype=np.int64)))
    _add_numbered(raw, data, _physical_names(path) if path.lower().endswith(".msh") else {})
    for name, nodes in data.point_sets.items():
        raw.add_points(name, nodes)
    return raw


def _add_numbered(raw: Raw, data: Any, physical: dict[tuple[int, int], str]) -> None:
    """Groups by the values of integer data; a value of 0 is no group."""
    plain = next((name for name in GROUP_DATA if name in data.cell_data), None)
    for key, parts in data.cell_data.items():
        columns = [_whole_numbers(part) for part in parts]
        if key.startswith("gmsh:") and key != "gmsh:physical":
            continue
        if any(c is None for c in columns) or not 0 < len(_values(columns)) <= MOST_GROUPS:
            continue
        for block, column in enumerate(columns):
            kind = ORDERS.get(raw.blocks[block][0], raw.blocks[block][0])
            for value in _values([column]):
                name = str(value) if key == plain else f"{key}={value}"
                if key == "gmsh:physical":
                    name = physical.get((DIMENSIONS.get(kind, -1), value), name)
                raw.groups.append((name, block, np.flatnonzero(column == value)))
        if key != "gmsh:physical":
            written = "their values" if key == plain else f"{key}=VALUE"
            raw.notes.append(f"the cell data {key} give groups, named by {written}")
    for key, column in data.point_data.items():
        numbers = _whole_numbers(column) if key in GROUP_DATA else None
        for value in _values([numbers]) if numbers is not None else []:
            raw.add_points(f"{key}={value}", np.flatnonzero(numbers == value))


def _physical_names(path: str) -> dict[tuple[int, int], str]:
    """(dimension, number) -> name of gmsh's physical groups; meshio keeps one group of each name."""
    found, inside = {}, False
    with open(path, "rb") as file:
        for line in (raw_line.decode("utf-8", errors="replace").strip() for raw_line in file):
            if line == "$EndPhysicalNames" or line == "$Nodes":
                break
            named = re.fullmatch(r'(\d+)\s+(\d+)\s+"(.*)"', line) if inside else None
            if named:
                found[int(named[1]), int(named[2])] = named[3]
            inside = inside or line == "$PhysicalNames"
    return found


def _whole_numbers(values: Any) -> NDArray[np.int64] | None:
    """Values as integers if that is what they are."""
    column = np.asarray(values)
    if column.ndim == 2 and column.shape[1] == 1:
        column = column[:, 0]
    if column.ndim != 1 or column.dtype.kind not in "iuf":
        return None
    whole = np.nan_to_num(column, nan=0.5).astype(np.int64)
    return whole if np.array_equal(whole, column) else None


def _values(columns: list[Any]) -> list[int]:
    return sorted({int(v) for column in columns for v in np.unique(column) if v != 0})
