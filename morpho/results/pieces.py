"""The files of one step on a box: a compressed piece per rank, and the header that joins the pieces."""

from __future__ import annotations

import math
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from morpho.results.appended import Fields, Numbers, data_array, stored, write_image
from morpho.results.grid import ImageGrid


class ImagePieces:
    """A box of equal cells: .vti pieces and .pvti headers with single precision; made collectively."""

    ending: ClassVar[str] = "vti"
    dtype: ClassVar[type[np.floating]] = np.float32

    def __init__(self, grid: ImageGrid) -> None:
        self._grid = grid
        self._extent = _extent(grid.low, grid.high)
        self._extents = grid.comm.gather(self._extent) or []
        self._place = f'Origin="{_listed(grid.origin)}" Spacing="{_listed(grid.spacing)}"'

    def write(self, path: Path, cells: Fields, points: Fields) -> None:
        """Write this rank's file, a portion of an array at a time (local)."""
        lengths = [high - low for low, high in zip(self._grid.low, self._grid.high, strict=True)]
        for fields, length in ((cells, math.prod(lengths)), (points, math.prod(n + 1 for n in lengths))):
            for name, values in fields.items():
                if len(values) != length:
                    raise ValueError(f"{name} should have {length} rows, got shape {values.shape}")
        extent = _listed(self._extent)
        head = f'  <ImageData WholeExtent="{extent}" {self._place}>\n  <Piece Extent="{extent}">\n'
        write_image(path, head, cells, points, self.dtype)

    def header(self, names: list[str], cells: Fields, points: Fields) -> str:
        """Content of the file that joins the files of all ranks, on rank 0 (local)."""
        whole = _listed(_extent((0,) * len(self._grid.cells), self._grid.cells))
        content = f'  <PImageData WholeExtent="{whole}" GhostLevel="0" {self._place}>\n'
        content += _declared(cells, points)
        content += "".join(
            f'    <Piece Extent="{_listed(extent)}" Source="{name}"/>\n'
            for extent, name in zip(self._extents, names, strict=True)
        )
        return document("PImageData", content + "  </PImageData>\n")


def written(arrays: Fields, dtype: type[np.floating]) -> dict[str, Numbers]:
    """The arrays as they are written: contiguous, of this type, vectors of two components with a third one, zero.

    Whole numbers stay such.
    """
    return {name: stored(values, dtype) for name, values in arrays.items()}


def document(kind: str, content: str) -> str:
    """A VTK file of XML alone."""
    head = f'<VTKFile type="{kind}" version="1.0" byte_order="LittleEndian" header_type="UInt64">'
    return f'<?xml version="1.0"?>\n{head}\n{content}</VTKFile>\n'


def _extent(low: tuple[int, ...], high: tuple[int, ...]) -> tuple[int, ...]:
    """First and last point along x, y and z, as VTK wants them."""
    pairs = [*zip(low, high, strict=True), (0, 0)][:3]
    return tuple(end for pair in pairs for end in pair)


def _declared(cells: Fields, points: Fields) -> str:
    """The arrays, as a header announces them."""
    content = ""
    for section, arrays in (("PCellData", cells), ("PPointData", points)):
        content += f"    <{section}>\n"
        content += "".join(f"      {data_array('PDataArray', name, values)}\n" for name, values in arrays.items())
        content += f"    </{section}>\n"
    return content


def _listed(numbers: ArrayLike) -> str:
    """Numbers as an attribute, floats so that they are read back exactly."""
    return " ".join(map(str, np.asarray(numbers).tolist()))
