"""Reads a written design back, with the distrust that files of others and damaged files need. Serial."""

from __future__ import annotations

import re
import stat
import zlib
from pathlib import Path
from xml.sax.saxutils import unescape

import numpy as np
import pyvista
from vtkmodules.vtkCommonCore import vtkLogger
from vtkmodules.vtkIOXML import (
    vtkXMLImageDataReader,
    vtkXMLPImageDataReader,
    vtkXMLPUnstructuredGridReader,
    vtkXMLReader,
    vtkXMLUnstructuredGridReader,
)

from morpho.errors import InputError

Design = pyvista.UnstructuredGrid | pyvista.ImageData

_READERS: dict[str, type[vtkXMLReader]] = {
    ".pvti": vtkXMLPImageDataReader,
    ".vti": vtkXMLImageDataReader,
    ".pvtu": vtkXMLPUnstructuredGridReader,
    ".vtu": vtkXMLUnstructuredGridReader,
}
_PIECES = {".pvti": ".vti", ".pvtu": ".vtu"}  #: header -> what its pieces are
_TEXT = 50_000_000  #: bytes of an index or a header
_BLOCK = 2**26  #: bytes of an array that are compressed together
_RATIO = 1100  #: of a file's size, compressed as well as can be
_CELL_TYPES = {5, 9, 10, 12}


def load_design(run_dir: Path, step: int = -1) -> Design:
    """The whole design of one written step (-1: the last) with the points of all pieces merged; local.

    An image where the cells are a box of equal ones. Raises InputError if the run folder has no such step, or one of
    its files is missing, damaged, or not in the run folder.
    """
    index = Path(run_dir) / "design.pvd"
    steps = re.findall(r'file="([^"]+)"', _index(index))
    if not -len(steps) <= step < len(steps):
        raise InputError(f"{index}: got step {step}, the run has {len(steps)} written steps.")
    path = _inside(index.parent, index.parent, steps[step], set(_READERS), index)
    if path.suffix in _PIECES:
        names = re.findall(r'<Piece [^>]*?Source="([^"]+)"', _whole_text(path))
        pieces = [_inside(index.parent, path.parent, name, {_PIECES[path.suffix]}, path) for name in names]
        if not pieces:
            raise InputError(f"{path}: names no pieces; it is damaged, choose another step or run again.")
    else:
        pieces = [path]
    missing = [str(piece) for piece in pieces if not piece.is_file()]
    if missing:
        raise InputError(f"{index}: missing files of the design: {', '.join(missing)}.")
    cells = sum(_cells(piece) for piece in pieces)
    design = _read(path, pieces)
    _check(design, path, cells)
    if isinstance(design, pyvista.ImageData):
        return design
    return design.clean(tolerance=0.0, produce_merge_map=False, average_point_data=False)


def written_steps(run_dir: Path) -> list[int]:
    """The iterations whose designs are written, in their order; local. Raises InputError as `load_design`."""
    return [int(step) for step in re.findall(r'timestep="(\d{1,9})"', _index(Path(run_dir) / "design.pvd"))]


def _index(path: Path) -> str:
    if not path.is_file():
        raise InputError(f"{path}: no such file; give the folder of a run that has written a design.")
    return _whole_text(path)


def _inside(run_dir: Path, folder: Path, name: str, endings: set[str], named_in: Path) -> Path:
    """The file of a name in an index or header, if it is one of these kinds and in the run folder."""
    path = folder / unescape(name)
    try:
        within = path.resolve().is_relative_to(run_dir.resolve())
    except (OSError, RuntimeError, ValueError):
        within = False
    if path.suffix not in endings or not within:
        raise InputError(
            f"{named_in}: names {name[:100]!r}; expected a file of the run folder that ends with "
            f"{' or '.join(sorted(endings))}."
        )
    if not path.exists():
        raise InputError(f"{named_in}: missing files of the design: {path}.")
    return path


def _whole_text(path: Path) -> str:
    """An index or a header to its end."""
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode) or found.st_size > _TEXT:
            raise InputError(f"{path}: is no index of a written design.")
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from None
    if not text.rstrip().endswith("</VTKFile>"):
        raise InputError(f"{path}: is cut off; `morpho resume` goes on and writes a design again, or run again.")
    return text


def _cells(piece: Path) -> int:
    """Number of cells of a piece by its own head, if its compressed data is whole and can be so much."""
    try:
        content = piece.read_bytes()
    except OSError as error:
        raise InputError(f"{piece}: cannot be read ({error.strerror}).") from None
    begin, end = content.find(b"<AppendedData"), content.rfind(b"</AppendedData>")
    if not content.rstrip().endswith(b"</VTKFile>") or not 0 < begin < end:
        raise InputError(f"{piece}: is cut off; write the design again, or choose another step.")
    head = content[:begin].decode("latin-1")
    number = re.search(r'<Piece [^>]*?NumberOfCells="(\d{1,18})"', head)
    extent = re.search(r'<Piece [^>]*?Extent="([-\d ]{11,130})"', head)
    if number:
        cells = int(number[1])
    elif extent and len(ends := [int(place) for place in extent[1].split()]) == 6:
        cells = int(np.prod([max(high - low, 1) for low, high in zip(ends[::2], ends[1::2], strict=True)], dtype=float))
    else:
        raise InputError(f"{piece}: is damaged (it does not say how many cells it has).")
    if cells > len(content) * _RATIO:
        raise InputError(f"{piece}: is damaged (it says that it has {cells} cells, and cannot hold so many).")
    data = memoryview(content)[content.find(b"_", begin) + 1 : end]
    offsets = [int(offset) for offset in re.findall(r'<DataArray [^>]*?offset="(\d{1,18})"', head)]
    if 'compressor="vtkZLibDataCompressor"' not in head or not all(_is_whole(data[offset:]) for offset in offsets):
        raise InputError(f"{piece}: is damaged (its compressed data is not as it was written).")
    return cells


def _is_whole(data: memoryview) -> bool:
    """Whether the compressed blocks of an array have their sizes and checksums; VTK would end the process otherwise."""
    words = np.frombuffer(data[: len(data) // 8 * 8], np.uint64)
    if len(words) == 0 or (n := int(words[0])) == 0:
        return len(words) > 0
    if n > len(words) - 3 or words[1] > _BLOCK or words[2] > words[1] or words[3 : 3 + n].max() > len(data):
        return False
    full, last = int(words[1]), int(words[2])
    sizes = [full] * (n - 1) + [last or full]
    at = 8 * (3 + n)
    for size, length in zip(sizes, map(int, words[3 : 3 + n]), strict=True):
        unpacking = zlib.decompressobj()
        try:
            found = len(unpacking.decompress(data[at : at + length], size + 1))
        except zlib.error:
            return False
        if found != size or not unpacking.eof:
            return False
        at += length
    return True


def _read(path: Path, pieces: list[Path]) -> Design:
    """What VTK reads; its errors, which it only prints, are raised with the file that they are of."""
    try:
        return _without_errors(path)
    except ValueError as error:
        why = str(error)
    for piece in pieces:
        try:
            _without_errors(piece)
        except ValueError as error:
            raise InputError(f"{piece}: is damaged ({error}).") from None
    raise InputError(f"{path}: is damaged ({why}).")


def _without_errors(path: Path) -> Design:
    reader = _READERS[path.suffix]()
    reader.SetFileName(str(path))
    caught = pyvista.VtkErrorCatcher(send_to_logging=False)
    vtkLogger.SetStderrVerbosity(vtkLogger.VERBOSITY_OFF)
    try:
        with caught:
            reader.Update()
    finally:
        vtkLogger.SetStderrVerbosity(vtkLogger.VERBOSITY_INFO)
    design: Design = pyvista.wrap(reader.GetOutputDataObject(0))  # type: ignore[assignment]
    said = [event.alert.strip() for event in caught.events]
    if said or reader.GetErrorCode():
        raise ValueError(said[0].splitlines()[0][:200] if said else "VTK cannot read it")
    return design


def _check(design: Design, path: Path, cells: int) -> None:
    """That all cells are there, with a density and with corners that exist."""
    density = design.cell_data.get("physical_density")
    if design.n_cells != cells:
        why = f"{design.n_cells} cells of {cells} could be read"
    elif cells == 0:
        why = "it has no cells"
    elif density is None or np.shape(density) != (cells,):
        why = "it has no physical_density in its cells"
    elif not np.isfinite(density).all():
        why = "its physical_density is not finite"
    elif not np.isfinite(design.bounds).all():
        why = "its coordinates are not finite"
    elif isinstance(design, pyvista.UnstructuredGrid) and not _well_formed(design):
        why = "its cells are not those of a mesh that morpho writes"
    else:
        return
    raise InputError(f"{path}: is damaged ({why}); write the design again, or choose another step.")


def _well_formed(design: pyvista.UnstructuredGrid) -> bool:
    corners = design.cell_connectivity
    known = set(np.unique(design.celltypes)) <= _CELL_TYPES
    return known and len(corners) > 0 and corners.min() >= 0 and corners.max() < design.n_points
