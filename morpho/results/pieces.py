"""The files of one step: a compressed piece per rank, and the header that joins the pieces."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar
from xml.sax.saxutils import quoteattr

import numpy as np
from numpy.typing import ArrayLike, NDArray
from vtkmodules.util.numpy_support import numpy_to_vtk, numpy_to_vtkIdTypeArray
from vtkmodules.vtkCommonCore import vtkPoints
from vtkmodules.vtkCommonDataModel import (
    vtkCellArray,
    vtkDataSet,
    vtkDataSetAttributes,
    vtkUnstructuredGrid,
)
from vtkmodules.vtkIOXML import vtkXMLUnstructuredGridWriter, vtkXMLWriter

from morpho.results.appended import stored, write_image
from morpho.results.grid import Grid, ImageGrid

Numbers = NDArray[np.floating] | NDArray[np.integer]
Fields = Mapping[str, Any]  #: of `Numbers`, or of what makes slices of them


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
        content = '  <PUnstructuredGrid GhostLevel="0">\n' + _declared(cells, points)
        content += '    <PPoints>\n      <PDataArray type="Float64" Name="Points" NumberOfComponents="3"/>\n'
        content += "    </PPoints>\n"
        content += "".join(f'    <Piece Source="{name}"/>\n' for name in names)
        return document("PUnstructuredGrid", content + "  </PUnstructuredGrid>\n")


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


def _extent(low: tuple[int, ...], high: tuple[int, ...]) -> tuple[int, ...]:
    """First and last point along x, y and z, as VTK wants them."""
    pairs = [*zip(low, high, strict=True), (0, 0)][:3]
    return tuple(end for pair in pairs for end in pair)


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


def _declared(cells: Fields, points: Fields) -> str:
    """The arrays, as a header announces them."""
    content = ""
    for section, arrays in (("PCellData", cells), ("PPointData", points)):
        content += f"    <{section}>\n"
        for name, values in arrays.items():
            kind = f"{'Int' if np.issubdtype(values.dtype, np.integer) else 'Float'}{8 * values.itemsize}"
            width = values.shape[1] if values.ndim == 2 else 1
            content += f'      <PDataArray type="{kind}" Name={quoteattr(name)} NumberOfComponents="{width}"/>\n'
        content += f"    </{section}>\n"
    return content


def _listed(numbers: ArrayLike) -> str:
    """Numbers as an attribute, floats so that they are read back exactly."""
    return " ".join(map(str, np.asarray(numbers).tolist()))
