"""The ParaView time series of a run: of each step a mesh in one file, or an image in a piece per rank; one index."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from morpho.errors import StorageError
from morpho.results.grid import Grid, ImageGrid
from morpho.results.inside import INSIDE
from morpho.results.mesh_file import Chunk, MeshFile
from morpho.results.pieces import Fields, ImagePieces, document, written
from morpho.results.storage import replace_file, write_on_root, write_together

CELL_NUMBER = "cell_number"  #: the same on any number of ranks
_PIECE = re.compile(r"_\d+_\d+\.")  #: in names of files that others name
_STEP_FILE = re.compile(r"design_(\d+)(?:_\d+)?\.p?(?:vtu|vti)(?:\.partial)?")


class VtkSeries:
    """``design.pvd`` and the folder ``vtk`` beside it. Methods are collective and may raise StorageError."""

    def __init__(self, folder: Path, grid: Grid | ImageGrid, append_from: int | None) -> None:
        """Start a series, or go on with the one in the folder, dropping the steps after append_from.

        The earlier steps may be of the other kind of grid.
        """
        self._index = Path(folder) / "design.pvd"
        self._folder = Path(folder) / "vtk"
        self._comm, self._grid = grid.comm, grid
        self._pieces = ImagePieces(grid) if isinstance(grid, ImageGrid) else MeshFile(grid)
        #: an image's cells are in their places
        self._numbers: Fields = {CELL_NUMBER: grid.key} if isinstance(grid, Grid) else {}
        if isinstance(grid, ImageGrid) and grid.slots is not None:
            self._numbers = {INSIDE: np.broadcast_to(np.int64(1), len(grid.slots))}
        self._files: dict[int, str] = {}  # name of the file of every step in the index
        write_on_root(self._comm, self._index, lambda: self._open(append_from))

    def write(self, iteration: int, cell_data: Fields, point_data: Fields) -> None:
        """Add one step with arrays (n,) or (n, c) per owned cell and (p,) or (p, c) per local point.

        The names and widths are the same on all ranks; vectors of two components get a third one, zero. An ImageGrid
        stores single precision, and takes what makes slices of an array, too; a Grid adds the number of each cell,
        which does not depend on the ranks.
        """
        cells = {**self._numbers, **cell_data}
        if isinstance(self._grid, ImageGrid):
            cells = {name: self._grid.spread(values) for name, values in cells.items()}
        if isinstance(self._pieces, ImagePieces):
            self._write_pieces(self._pieces, iteration, cells, point_data)
        else:
            self._write_mesh(
                self._pieces, iteration, *(written(data, self._pieces.dtype) for data in (cells, point_data))
            )

    def _write_mesh(self, mesh: MeshFile, iteration: int, cells: Fields, points: Fields) -> None:
        chunks = mesh.chunks(cells, points)
        path = self._folder / f"design_{iteration:06d}.{mesh.ending}"
        partial = path.with_name(path.name + ".partial")

        def publish() -> None:
            os.replace(partial, path)
            self._publish(iteration, path.name)

        write_on_root(self._comm, path, lambda: partial.write_bytes(b""))
        self._write_partial(path, partial, lambda: _put(partial, chunks))
        write_on_root(self._comm, self._index, publish)

    def _write_pieces(self, image: ImagePieces, iteration: int, cells: Fields, points: Fields) -> None:
        names = [f"design_{iteration:06d}_{rank}.{image.ending}" for rank in range(self._comm.size)]
        piece = self._folder / names[self._comm.rank]
        partial = piece.with_name(piece.name + ".partial")
        header = self._folder / f"design_{iteration:06d}.p{image.ending}"
        samples = [{name: rows[:1] for name, rows in fields.items()} for fields in (cells, points)]

        def publish() -> None:
            replace_file(header, image.header(names, *(written(fields, image.dtype) for fields in samples)))
            self._publish(iteration, header.name)

        self._write_partial(piece, partial, lambda: image.write(partial, cells, points))
        write_together(self._comm, piece, lambda: os.replace(partial, piece))
        write_on_root(self._comm, self._index, publish)

    def _write_partial(self, path: Path, partial: Path, write: Callable[[], None]) -> None:
        """Write what becomes a file when all ranks have written; nothing stays of it otherwise (collective)."""
        try:
            write_together(self._comm, path, write)
        except StorageError:
            partial.unlink(missing_ok=True)
            raise

    def _open(self, append_from: int | None) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        last = -1 if append_from is None else append_from
        files = [(int(match[1]), path) for path in self._folder.iterdir() if (match := _STEP_FILE.fullmatch(path.name))]
        kept = [(step, path) for step, path in files if step <= last and path.suffix != ".partial"]
        self._files = {step: path.name for step, path in kept if not _PIECE.search(path.name)}
        # The index goes first: a kill in between leaves unused files, never an index to missing ones.
        self._write_index()
        for step, path in files:
            if step not in self._files or path.suffix == ".partial":
                path.unlink()

    def _publish(self, iteration: int, name: str) -> None:
        self._files[iteration] = name
        self._write_index()

    def _write_index(self) -> None:
        entries = "".join(
            f'    <DataSet timestep="{step}" part="0" file="vtk/{name}"/>\n'
            for step, name in sorted(self._files.items())
        )
        content = f"  <Collection>\n{entries}  </Collection>\n"
        replace_file(self._index, document("Collection", content))


def _put(path: Path, chunks: list[Chunk]) -> None:
    """Write parts of a file that others write to, too (local)."""
    descriptor = os.open(path, os.O_WRONLY)
    try:
        for at, content in chunks:
            left = memoryview(content)
            while left:
                done = os.pwrite(descriptor, left, at)
                at, left = at + done, left[done:]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
