"""The ParaView time series of a run: one compressed piece per rank and step, and one index file."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from morpho.results.grid import Grid, ImageGrid
from morpho.results.inside import INSIDE
from morpho.results.pieces import Fields, ImagePieces, Pieces, document, written
from morpho.results.storage import replace_file, write_on_root, write_together

CELL_NUMBER = "cell_number"  #: the same on any number of ranks
_STEP_FILE = re.compile(r"design_(\d+)(?:_\d+)?\.p?(?:vtu|vti)")


class VtkSeries:
    """``design.pvd`` and the folder ``vtk`` beside it. Methods are collective and may raise StorageError."""

    def __init__(self, folder: Path, grid: Grid | ImageGrid, append_from: int | None) -> None:
        """Start a series, or go on with the one in the folder, dropping the steps after append_from.

        The earlier steps may be of the other kind of grid.
        """
        self._index = Path(folder) / "design.pvd"
        self._folder = Path(folder) / "vtk"
        self._comm, self._grid = grid.comm, grid
        self._pieces: Pieces = ImagePieces(grid) if isinstance(grid, ImageGrid) else _mesh_pieces(grid)
        #: an image's cells are in their places
        self._numbers: Fields = {CELL_NUMBER: grid.key} if isinstance(grid, Grid) else {}
        if isinstance(grid, ImageGrid) and grid.filled is not None:
            self._numbers = {INSIDE: np.ones(np.count_nonzero(grid.filled), np.int64)}
        self._headers: dict[int, str] = {}  # file name of every step in the index
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
        piece = self._path(iteration, self._comm.rank)
        write_together(self._comm, piece, lambda: self._pieces.write(piece, cells, point_data))
        samples = [{name: rows[:1] for name, rows in fields.items()} for fields in (cells, point_data)]
        shown = [written(fields, self._pieces.dtype) for fields in samples]
        write_on_root(self._comm, self._index, lambda: self._publish(iteration, *shown))

    def _open(self, append_from: int | None) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        last = -1 if append_from is None else append_from
        files = [(int(match[1]), path) for path in self._folder.iterdir() if (match := _STEP_FILE.fullmatch(path.name))]
        self._headers = {step: path.name for step, path in files if step <= last and path.suffix.startswith(".p")}
        # The index goes first: a kill in between leaves unused files, never an index to missing ones.
        self._write_index()
        for step, path in files:
            if step not in self._headers:
                path.unlink()

    def _publish(self, iteration: int, cells: Fields, points: Fields) -> None:
        names = [self._path(iteration, rank).name for rank in range(self._comm.size)]
        header = self._path(iteration)
        replace_file(header, self._pieces.header(names, cells, points))
        self._headers[iteration] = header.name
        self._write_index()

    def _write_index(self) -> None:
        entries = "".join(
            f'    <DataSet timestep="{step}" part="0" file="vtk/{name}"/>\n'
            for step, name in sorted(self._headers.items())
        )
        content = f"  <Collection>\n{entries}  </Collection>\n"
        replace_file(self._index, document("Collection", content))

    def _path(self, iteration: int, rank: int | None = None) -> Path:
        """File of one rank, or the header."""
        ending = f".p{self._pieces.ending}" if rank is None else f"_{rank}.{self._pieces.ending}"
        return self._folder / f"design_{iteration:06d}{ending}"


def _mesh_pieces(grid: Grid) -> Pieces:
    from morpho.results.mesh_pieces import MeshPieces

    return MeshPieces(grid)
