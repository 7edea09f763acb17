"""The files of one step on an unstructured mesh; VTK makes them, which a box of equal cells does without."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
from vtkmodules.util.numpy_support import numpy_to_vtk, numpy_to_vtkIdTypeArray
from vtkmodules.vtkCommonCore import vtkPoints
from vtkmodules.vtkCommonDataModel import (
    vtkCellArray,
    vtkDataSet,
    vtkDataSetAttributes,
    vtkUnstructuredGrid,
)
from vtkmodules.vtkIOXML import vtkXMLUnstructuredGridWriter, vtkXMLWriter

from morpho.results.grid import Grid
from morpho.results.pieces import Fields, declared, document, written


class MeshPieces:
    """An unstructured grid: .vtu pieces and .pvtu headers with doubles."""

    ending: ClassVar[str] = "vtu"
    dtype: ClassVar[type[np.floating]] = np.float64

    def __init__(self, grid: Grid) -> None:
        self._mesh = _vtk_mesh(grid)

    def piece(self, cells: Fields, points: Fields) -> bytes:
        """Content of this rank's file, from arrays as `written` makes them (local)."""
        return _encoded(vtkXMLUnstructuredGridWriter(), self._mesh, cells, points)

    def write(self, path: Path, cells: Fields, points: Fields) -> None:
        """Write this rank's file (local)."""
        path.write_bytes(self.piece(*(written(fields, self.dtype) for fields in (cells, points))))

    def header(self, names: list[str], cells: Fields, points: Fields) -> str:
        """Content of the file that joins the files of all ranks, on rank 0 (local)."""
        content = '  <PUnstructuredGrid GhostLevel="0">\n' + declared(cells, points)
        content += '    <PPoints>\n      <PDataArray type="Float64" Name="Points" NumberOfComponents="3"/>\n'
        content += "    </PPoints>\n"
        content += "".join(f'    <Piece Source="{name}"/>\n' for name in names)
        return document("PUnstructuredGrid", content + "  </PUnstructuredGrid>\n")


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


def _encoded(writer: vtkXMLWriter, mesh: vtkDataSet, cells: Fields, points: Fields) -> bytes:
    """Content of one file.

    VTK makes it in memory and Python writes it, because VTK reports a full disk by printing only.
    """
    data = mesh.NewInstance()
    data.ShallowCopy(mesh)
    _add_arrays(data.GetCellData(), cells, data.GetNumberOfCells())
    _add_arrays(data.GetPointData(), points, data.GetNumberOfPoints())
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


def _add_arrays(attributes: vtkDataSetAttributes, arrays: Fields, length: int) -> None:
    for name, values in arrays.items():
        if len(values) != length:
            raise ValueError(f"{name} should have {length} rows, got shape {values.shape}")
        array = numpy_to_vtk(values)
        array.SetName(name)
        attributes.AddArray(array)
