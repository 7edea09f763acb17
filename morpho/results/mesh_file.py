"""One .vtu file of a mesh that all ranks write, each its own part: pieces would be cut open where they meet.

Readers put pieces side by side and do not join their points, so that a contour is open there, and means of cells at
points differ.
"""

from __future__ import annotations

import zlib
from typing import ClassVar

import numpy as np

from morpho.results.appended import Fields, Numbers, data_array
from morpho.results.grid import Grid

BLOCK = 2**18  #: bytes that are compressed together; but for the last, blocks are as long as that
LEVEL = 2
Chunk = tuple[int, bytes]  #: place in the file, and content


class MeshFile:
    """The cells of all ranks with the points that they share, in double precision; made collectively."""

    ending: ClassVar[str] = "vtu"
    dtype: ClassVar[type[np.floating]] = np.float64

    def __init__(self, grid: Grid) -> None:
        self._comm = comm = grid.comm
        n, corners = grid.cells.shape
        self._own = len(grid.points) if grid.own_points is None else grid.own_points
        counts = np.array(comm.allgather((n, self._own)))
        self._n_cells, self._n_points = (int(total) for total in counts.sum(axis=0))
        first_cell, first_point = counts[: comm.rank].sum(axis=0)
        known = grid.point_key
        number = first_point + np.arange(len(grid.points)) if known is None else np.asarray(known)
        self._place = np.ascontiguousarray(grid.points[: self._own], np.float64)
        self._cells: Fields = {
            "connectivity": number[np.asarray(grid.cells).ravel()].astype(np.int64),
            "offsets": (first_cell + np.arange(1, n + 1, dtype=np.int64)) * corners,
            "types": np.full(n, grid.vtk_cell_type, np.uint8),
        }

    def chunks(self, cells: Fields, points: Fields) -> list[Chunk]:
        """What this rank writes of a file with arrays as `written` makes them; rank 0 the rest, too (collective)."""
        own = {name: values[: self._own] for name, values in points.items()}
        sections: dict[str, Fields] = {
            "PointData": own,
            "CellData": cells,
            "Points": {"Points": self._place},
            "Cells": self._cells,
        }
        found: list[Chunk] = []
        offsets: list[int] = []
        at = 0
        for array in [values for section in sections.values() for values in section.values()]:
            offsets.append(at)
            blocks, bare = self._compressed(array)
            sizes = self._comm.allgather([len(block) for block in blocks])
            every = [size for of_rank in sizes for size in of_rank]
            head = np.array([len(every), BLOCK, bare % BLOCK, *every], np.uint64).tobytes()
            if self._comm.rank == 0:
                found.append((at, head))
            at += len(head)
            found.append((at + sum(map(sum, sizes[: self._comm.rank])), b"".join(blocks)))
            at += sum(every)
        before, after = self._text(sections, offsets)
        found = [(len(before) + place, content) for place, content in found if content]
        return [(0, before), *found, (len(before) + at, after)] if self._comm.rank == 0 else found

    def _compressed(self, values: Numbers) -> tuple[list[bytes], int]:
        """The blocks that begin in this rank's part of an array, and the bytes of all parts (collective).

        The end of the last one comes from the ranks behind.
        """
        comm, content = self._comm, np.ascontiguousarray(values).tobytes()
        ends = np.cumsum(comm.allgather(len(content)))
        start = int(ends[comm.rank]) - len(content)
        head = min(-start % BLOCK, len(content))  # the rest of a block that began before
        target = int(np.searchsorted(ends, start // BLOCK * BLOCK, side="right"))
        sent: list[bytes] = [b""] * comm.size
        if head:
            sent[target] = content[:head]
        content = content[head:] + b"".join(comm.alltoall(sent))
        return [zlib.compress(content[i : i + BLOCK], LEVEL) for i in range(0, len(content), BLOCK)], int(ends[-1])

    def _text(self, sections: dict[str, Fields], offsets: list[int]) -> tuple[bytes, bytes]:
        """What stands before the arrays and after them (local)."""
        place = iter(offsets)
        text = '<?xml version="1.0"?>\n<VTKFile type="UnstructuredGrid" version="1.0" byte_order="LittleEndian"'
        text += ' header_type="UInt64" compressor="vtkZLibDataCompressor">\n  <UnstructuredGrid>\n'
        text += f'    <Piece NumberOfPoints="{self._n_points}" NumberOfCells="{self._n_cells}">\n'
        for section, arrays in sections.items():
            text += f"      <{section}>\n"
            for name, values in arrays.items():
                where = f'format="appended" offset="{next(place)}"'
                text += f"        {data_array('DataArray', name, values, where)}\n"
            text += f"      </{section}>\n"
        text += '    </Piece>\n  </UnstructuredGrid>\n  <AppendedData encoding="raw">\n_'
        return text.encode(), b"\n  </AppendedData>\n</VTKFile>\n"
