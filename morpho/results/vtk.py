"""The ParaView time series of a run: one compressed piece per rank and step, and one index file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from xml.sax.saxutils import quoteattr

import numpy as np
from vtkmodules.util.numpy_support import numpy_to_vtk, numpy_to_vtkIdTypeArray
from vtkmodules.vtkCommonCore import vtkPoints
from vtkmodules.vtkCommonDataModel import vtkCellArray, vtkDataSetAttributes, vtkUnstructuredGrid
from vtkmodules.vtkIOXML import vtkXMLUnstructuredGridWriter

from morpho.interfaces import Array
from morpho.results.grid import Grid
from morpho.results.storage import replace_file, write_on_root, write_together

_STEP_FILE = re.compile(r"design_(\d+)(?:_\d+)?\.p?vtu")


class VtkSeries:
    """``design.pvd`` and the folder ``vtk`` beside it. Methods are collective and may raise StorageError."""

    def __init__(self, folder: Path, grid: Grid, append_from: int | None) -> None:
        """Start a series, or go on with the one in the folder, dropping the steps after append_from."""
        self._index = Path(folder) / "design.pvd"
        self._pieces = Path(folder) / "vtk"
        self._comm = grid.comm
        self._mesh = _vtk_mesh(grid)
        self._steps: list[int] = []
        write_on_root(self._comm, self._index, lambda: self._open(append_from))

    def write(self, iteration: int, cell_data: Mapping[str, Array], point_data: Mapping[str, Array]) -> None:
        """Add one step with arrays (n,) or (n, c) per owned cell and (p,) or (p, c) per local point.

        The names and widths are the same on all ranks; vectors of two components get a third one, zero.
        """
        cells = {name: _three_components(values) for name, values in cell_data.items()}
        points = {name: _three_components(values) for name, values in point_data.items()}
        piece = self._path(iteration, f"_{self._comm.rank}.vtu")
        write_together(self._comm, piece, lambda: piece.write_bytes(_piece(self._mesh, cells, points)))
        write_on_root(self._comm, self._index, lambda: self._publish(iteration, cells, points))

    def _open(self, append_from: int | None) -> None:
        self._pieces.mkdir(parents=True, exist_ok=True)
        last = -1 if append_from is None else append_from
        files = [(int(match[1]), path) for path in self._pieces.iterdir() if (match := _STEP_FILE.fullmatch(path.name))]
        self._steps = sorted(step for step, path in files if step <= last and path.suffix == ".pvtu")
        # The index goes first: a kill in between leaves unused files, never an index to missing ones.
        self._write_index()
        for step, path in files:
            if step not in self._steps:
                path.unlink()

    def _publish(self, iteration: int, cells: Mapping[str, Array], points: Mapping[str, Array]) -> None:
        names = [self._path(iteration, f"_{rank}.vtu").name for rank in range(self._comm.size)]
        replace_file(self._path(iteration, ".pvtu"), _parallel_header(names, cells, points))
        self._steps = sorted({*self._steps, iteration})
        self._write_index()

    def _write_index(self) -> None:
        entries = "".join(
            f'    <DataSet timestep="{step}" part="0" file="vtk/{self._path(step, ".pvtu").name}"/>\n'
            for step in self._steps
        )
        content = f"  <Collection>\n{entries}  </Collection>\n"
        replace_file(self._index, _document("Collection", content))

    def _path(self, iteration: int, ending: str) -> Path:
        return self._pieces / f"design_{iteration:06d}{ending}"


def _vtk_mesh(grid: Grid) -> vtkUnstructuredGrid:
    points = vtkPoints()
    points.SetData(numpy_to_vtk(np.asarray(grid.points, dtype=np.float64).reshape(-1, 3), deep=True))
    n, nv = grid.cells.shape
    offsets = numpy_to_vtkIdTypeArray(np.arange(0, nv * n + 1, nv, dtype=np.int64), deep=True)
    nodes = numpy_to_vtkIdTypeArray(np.asarray(grid.cells, dtype=np.int64).ravel(), deep=True)
    cells = vtkCellArray()
    cells.SetData(offsets, nodes)
    mesh = vtkUnstructuredGrid()
    mesh.SetPoints(points)
    mesh.SetCells(grid.vtk_cell_type, cells)
    return mesh


def _three_components(values: Array) -> Array:
    if values.ndim == 2 and values.shape[1] == 2:
        values = np.column_stack([values, np.zeros(len(values))])
    return np.ascontiguousarray(values, dtype=np.float64)


def _piece(mesh: vtkUnstructuredGrid, cells: Mapping[str, Array], points: Mapping[str, Array]) -> bytes:
    """Content of one .vtu file.

    VTK makes it in memory and Python writes it, because VTK reports a full disk by printing only.
    """
    data = vtkUnstructuredGrid()
    data.ShallowCopy(mesh)
    _add_arrays(data.GetCellData(), cells, data.GetNumberOfCells())
    _add_arrays(data.GetPointData(), points, data.GetNumberOfPoints())
    writer = vtkXMLUnstructuredGridWriter()
    writer.SetInputData(data)
    writer.SetDataModeToAppended()
    writer.EncodeAppendedDataOff()
    writer.SetHeaderTypeToUInt64()
    writer.SetCompressorTypeToZLib()
    writer.SetCompressionLevel(2)
    writer.WriteToOutputStringOn()
    if not writer.Write():
        raise OSError("VTK could not encode the data")
    content = writer.GetOutputString()
    return content if isinstance(content, bytes) else content.encode()


def _add_arrays(attributes: vtkDataSetAttributes, arrays: Mapping[str, Array], length: int) -> None:
    for name, values in arrays.items():
        if len(values) != length:
            raise ValueError(f"{name} should have {length} rows, got shape {values.shape}")
        array = numpy_to_vtk(values)
        array.SetName(name)
        attributes.AddArray(array)


def _parallel_header(pieces: list[str], cells: Mapping[str, Array], points: Mapping[str, Array]) -> str:
    content = '  <PUnstructuredGrid GhostLevel="0">\n'
    for section, arrays in (("PCellData", cells), ("PPointData", points)):
        content += f"    <{section}>\n"
        for name, values in arrays.items():
            width = values.shape[1] if values.ndim == 2 else 1
            content += f'      <PDataArray type="Float64" Name={quoteattr(name)} NumberOfComponents="{width}"/>\n'
        content += f"    </{section}>\n"
    content += '    <PPoints>\n      <PDataArray type="Float64" Name="Points" NumberOfComponents="3"/>\n'
    content += "    </PPoints>\n"
    content += "".join(f'    <Piece Source="{name}"/>\n' for name in pieces)
    return _document("PUnstructuredGrid", content + "  </PUnstructuredGrid>\n")


def _document(kind: str, content: str) -> str:
    head = f'<VTKFile type="{kind}" version="1.0" byte_order="LittleEndian" header_type="UInt64">'
    return f'<?xml version="1.0"?>\n{head}\n{content}</VTKFile>\n'
