"""What is read back from a run folder is whole, and lies in it."""

import os

from mpi4py import MPI

import numpy as np
import pytest
from results_boxes import box, centres, image_box

from morpho.errors import InputError
from morpho.results.designs import load_design
from morpho.results.surface import export
from morpho.results.vtk import VtkSeries


@pytest.fixture(params=[box, image_box], ids=["mesh", "image"])
def folder(request, tmp_path):
    """A run folder with a box, half of it solid."""
    run = tmp_path / "run"
    run.mkdir()
    grid = request.param((8, 6, 5), MPI.COMM_SELF, [1.0, 1.0, 1.0])
    x = centres(grid)
    VtkSeries(run, grid, None).write(
        3, {"physical_density": (x[:, 0] < 0.5).astype(float)}, {"moved": np.zeros(7 * 54)}
    )
    return run


def piece_of(folder):
    return next(path for path in (folder / "vtk").iterdir() if path.suffix in (".vtu", ".vti"))


def header_of(folder):
    """What the index names: of an image the file that joins the pieces, of a mesh the one file."""
    return next((path for path in (folder / "vtk").iterdir() if path.suffix.startswith(".p")), piece_of(folder))


def replaced(path, old, new):
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new, 1))


def test_whole(folder):
    assert load_design(folder).n_cells == 240


@pytest.mark.parametrize("kept", [0, 100, 0.5, 0.9, -1, -30])
def test_a_piece_that_is_cut_off(folder, kept):
    piece = piece_of(folder)
    content = piece.read_bytes()
    piece.write_bytes(content[: int(kept * len(content)) if isinstance(kept, float) else kept or None] if kept else b"")
    if kept == -1:  # the line end alone
        load_design(folder)
        return
    with pytest.raises(InputError, match=rf"{piece.name}: is cut off"):
        export(folder, folder / "part.stl")
    assert not (folder / "part.stl").exists()


@pytest.mark.parametrize("kept", [0, 0.5, -3])
def test_an_index_or_a_header_that_is_cut_off(folder, kept):
    for path in {header_of(folder), folder / "design.pvd"} - {piece_of(folder)}:
        content = path.read_bytes()
        path.write_bytes(content[: int(kept * len(content)) if kept >= 0 else kept])
        with pytest.raises(InputError, match=rf"{path.name}: is cut off"):
            load_design(folder)
        path.write_bytes(content)


def test_a_piece_in_whose_middle_bytes_changed(folder):
    piece = piece_of(folder)
    content = bytearray(piece.read_bytes())
    begin, end = content.index(b"_", content.index(b"<AppendedData")) + 1, content.rindex(b"</AppendedData>")
    refused = 0
    for at in range(begin, end, max(1, (end - begin) // 40)):
        spoiled = content.copy()
        spoiled[at] ^= 0x55
        piece.write_bytes(spoiled)
        try:
            design = load_design(folder)
        except InputError as error:
            refused += 1
            assert piece.name in str(error) or header_of(folder).name in str(error)
        else:  # where nothing that counts has changed
            assert design.cell_data["physical_density"].sum() == 120
    assert refused > 5


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (b'NumberOfCells="240"', b'NumberOfCells="999999999999"', "cannot hold so many"),
        (b'NumberOfCells="240"', b'NumberOfCells="many"', "does not say how many cells"),
        (b'"physical_density"', b'"physical_densitx"', "no physical_density"),
    ],
)
def test_a_piece_with_another_head(folder, old, new, why):
    piece = piece_of(folder)
    if piece.suffix == ".vti" and b"Cells" in old:
        claim = b"0 a 0 b 0 c" if b"many" in new else b"0 99999 0 99999 0 999"
        old, new = b'<Piece Extent="0 8 0 6 0 5"', b'<Piece Extent="' + claim + b'"'
    replaced(piece, old, new)
    if b"density" in old and header_of(folder) != piece:
        replaced(header_of(folder), old, new)
    with pytest.raises(InputError, match=why):
        load_design(folder)


def test_a_density_that_is_not_finite(tmp_path):
    grid = image_box((4, 3, 2), MPI.COMM_SELF, [1.0, 1.0, 1.0])
    VtkSeries(tmp_path, grid, None).write(1, {"physical_density": np.full(24, np.nan)}, {})
    with pytest.raises(InputError, match="not finite"):
        load_design(tmp_path)


def test_names_that_lead_out_of_the_run_folder(folder):
    index, header, piece = folder / "design.pvd", header_of(folder), piece_of(folder)
    outside = folder.parent / piece.name
    outside.write_bytes(piece.read_bytes())
    (folder / "design.pkl").write_bytes(b"x")
    (folder / f"link{piece.suffix}").symlink_to(outside)
    right = index.read_text()
    for name in ("design.pkl", str(outside), f"../{piece.name}", f"link{piece.suffix}", "/etc/passwd", "a\x00b.vti"):
        index.write_text(right.replace(f"vtk/{header.name}", name))
        with pytest.raises(InputError, match="expected a file of the run folder that ends with"):
            load_design(folder)
    index.write_text(right)
    if header == piece:
        return
    for name in (f"../../{piece.name}", str(outside), "../design.pkl", f"../link{piece.suffix}", header.name):
        text = header.read_text()
        header.write_text(text.replace(f'Source="{piece.name}"', f'Source="{name}"'))
        with pytest.raises(InputError, match="expected a file of the run folder that ends with"):
            load_design(folder)
        header.write_text(text)
    assert load_design(folder).n_cells == 240


def test_pieces_that_are_missing_or_no_files(folder):
    piece = piece_of(folder)
    piece.unlink()
    with pytest.raises(InputError, match=f"missing files of the design.*{piece.name}"):
        load_design(folder)
    os.mkfifo(piece)
    with pytest.raises(InputError, match=f"missing files of the design.*{piece.name}"):
        load_design(folder)
    header = next((folder / "vtk").glob("*.pvti"), None)
    if header is None:
        return
    replaced(header, b"<Piece", b"<Peace")
    with pytest.raises(InputError, match="names no pieces"):
        load_design(folder)
