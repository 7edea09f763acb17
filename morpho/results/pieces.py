"""The files of one step on a box: a compressed piece per rank, and the header that joins the pieces."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar
from xml.sax.saxutils import quoteattr

import numpy as np
from numpy.typing import ArrayLike, NDArray
from vtkmodules.util.numpy_support import numpy_to_vtk
from vtkmodules.vtkCommonDataModel import vtkDataSet, vtkDataSetAttributes, vtkImageData
from vtkmodules.vtkIOXML import vtkXMLImageDataWriter, vtkXMLWriter

from morpho.results.grid import ImageGrid

Numbers = NDArray[np.floating] | NDArray[np.integer]
Fields = Mapping[str, Numbers]
_TYPES = {"i": "Int", "u": "UInt", "f": "Float"}


class ImagePieces:
    """A box of equal cells: .vti pieces and .pvti headers with single precision; made collectively."""

    ending: ClassVar[str] = "vti"
    dtype: ClassVar[type[np.floating]] = np.float32

    def __init__(self, grid: ImageGrid) -> None:
        self._grid = grid
        extent = _extent(grid.low, grid.high)
        self._extents = grid.comm.gather(extent) or []
        self._image = vtkImageData()
        self._image.SetOrigin(*grid.origin)
        self._image.SetSpacing(*grid.spacing)
        self._image.SetExtent(*extent)

    def piece(self, cells: Fields, points: Fields) -> bytes:
        """Content of this rank's file, from arrays as `written` makes them (local)."""
        return _encoded(vtkXMLImageDataWriter(), self._image, cells, points)

    def header(self, names: list[str], cells: Fields, points: Fields) -> str:
        """Content of the file that joins the files of all ranks, on rank 0 (local)."""
        whole = _listed(_extent((0,) * len(self._grid.cells), self._grid.cells))
        place = f'Origin="{_listed(self._grid.origin)}" Spacing="{_listed(self._grid.spacing)}"'
        content = f'  <PImageData WholeExtent="{whole}" GhostLevel="0" {place}>\n'
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
    return {name: _three_components(values, dtype) for name, values in arrays.items()}


def document(kind: str, content: str) -> str:
    """A VTK file of XML alone."""
    head = f'<VTKFile type="{kind}" version="1.0" byte_order="LittleEndian" header_type="UInt64">'
    return f'<?xml version="1.0"?>\n{head}\n{content}</VTKFile>\n'


def data_array(tag: str, name: str, values: Numbers, more: str = "") -> str:
    """An array as an element of XML, with more attributes (local)."""
    kind = f"{_TYPES[values.dtype.kind]}{8 * values.itemsize}"
    width = values.shape[1] if values.ndim == 2 else 1
    return f'<{tag} type="{kind}" Name={quoteattr(name)} NumberOfComponents="{width}" {more}/>'


def _extent(low: tuple[int, ...], high: tuple[int, ...]) -> tuple[int, ...]:
    """First and last point along x, y and z, as VTK wants them."""
    pairs = [*zip(low, high, strict=True), (0, 0)][:3]
    return tuple(end for pair in pairs for end in pair)


def _three_components(values: Numbers, dtype: type[np.floating]) -> Numbers:
    if np.issubdtype(values.dtype, np.integer):
        return np.ascontiguousarray(values, np.int64)
    if values.ndim == 2 and values.shape[1] == 2:
        widened = np.zeros((len(values), 3), dtype)
        widened[:, :2] = values
        return widened
    return np.ascontiguousarray(values, dtype)


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
            content += f"      {data_array('PDataArray', name, values)}\n"
        content += f"    </{section}>\n"
    return content


def _listed(numbers: ArrayLike) -> str:
    """Numbers as an attribute, floats so that they are read back exactly."""
    return " ".join(map(str, np.asarray(numbers).tolist()))
