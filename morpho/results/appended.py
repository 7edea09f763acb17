"""An image file of VTK, compressed, written as its arrays are made: nothing is held but a portion of one of them."""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO
from xml.sax.saxutils import quoteattr

import numpy as np
from numpy.typing import NDArray

BLOCK = 1 << 15  #: bytes that are compressed at a time, as VTK's own writer has it
LEVEL = 2  #: of the compression
PORTION = 64  #: blocks whose values are made at a time
WIDTH = 18  #: digits of a place in the file
_TYPES = {"i": "Int", "u": "UInt", "f": "Float"}

Numbers = NDArray[np.floating] | NDArray[np.integer]
Fields = Mapping[str, Any]  #: of arrays, or of what makes slices (p,) or (p, c) of one when it is asked


def write_image(path: Path, head: str, cells: Fields, points: Fields, dtype: type[np.floating]) -> None:
    """Write a file of this rank (local).

    Args:
        head: the lines that open the image and its piece.
        dtype: of numbers that are not whole.
    """
    sections = [("PointData", points), ("CellData", cells)]
    with open(path, "wb") as file:
        places: list[int] = []  #: in the file, of what says where an array begins

        def say(text: str) -> None:
            file.write(text.encode())

        say('<VTKFile type="ImageData" version="1.0" byte_order="LittleEndian" header_type="UInt64" ')
        say(f'compressor="vtkZLibDataCompressor">\n{head}')
        for section, fields in sections:
            say(f"    <{section}>\n")
            for name, rows in fields.items():
                where = f'format="appended" offset="{0:0{WIDTH}d}"'
                say(f"      {data_array('DataArray', name, stored(rows[:0], dtype), where)}\n")
                places.append(file.tell() - len('"/>\n') - WIDTH)
            say(f"    </{section}>\n")
        say('  </Piece>\n  </ImageData>\n  <AppendedData encoding="raw">\n_')
        begin = file.tell()
        for place, rows in zip(places, [rows for _, fields in sections for rows in fields.values()], strict=True):
            offset = file.tell() - begin
            _write_array(file, rows, dtype)
            end = file.tell()
            file.seek(place)
            say(f"{offset:0{WIDTH}d}")
            file.seek(end)
        say("\n  </AppendedData>\n</VTKFile>\n")


def _write_array(file: BinaryIO, rows: Any, dtype: type[np.floating]) -> None:
    """The blocks of an array, with their sizes before them."""
    sample = stored(rows[:1], dtype)
    row, count = sample[:1].nbytes, len(rows)
    whole, rest = divmod(row * count, BLOCK)
    sizes: list[int] = []
    start = file.tell()
    blocks = whole + (rest > 0)
    file.write(bytes(8 * (3 + blocks)))
    step, left = max(1, PORTION * BLOCK // max(row, 1)), b""
    for first in range(0, count, step):
        data = left + stored(rows[first : first + step], dtype).tobytes()
        full = len(data) - len(data) % BLOCK if first + step < count else len(data)
        for at in range(0, full, BLOCK):
            packed = zlib.compress(data[at : min(at + BLOCK, full)], LEVEL)
            file.write(packed)
            sizes.append(len(packed))
        left = data[full:]
    end = file.tell()
    file.seek(start)
    file.write(np.array([blocks, BLOCK, rest, *sizes], "<u8").tobytes())
    file.seek(end, os.SEEK_SET)


def data_array(tag: str, name: str, values: Numbers, more: str = "") -> str:
    """An array as an element of XML, with more attributes (local)."""
    kind = f"{_TYPES[values.dtype.kind]}{8 * values.itemsize}"
    width = values.shape[1] if values.ndim == 2 else 1
    return f'<{tag} type="{kind}" Name={quoteattr(name)} NumberOfComponents="{width}" {more}/>'


def stored(values: NDArray[Any], dtype: type[np.floating]) -> NDArray[Any]:
    """As it is written: of a type, vectors of two components with a third one, zero; whole numbers stay such."""
    if np.issubdtype(values.dtype, np.integer):
        return np.ascontiguousarray(values, np.int64)
    if values.ndim == 2 and values.shape[1] == 2:
        widened = np.zeros((len(values), 3), dtype)
        widened[:, :2] = values
        return widened
    return np.ascontiguousarray(values, dtype)
