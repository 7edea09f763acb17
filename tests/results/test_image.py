"""Series of image data: values for every rank count, pieces that fit, resume, steps of a mesh, a full disk."""

from mpi4py import MPI

import numpy as np
import pytest
import pyvista
from results_boxes import ORIGIN, SPACING, box, centres, image_box, points, read, run_script, times

from morpho.results.mirror import mirrored
from morpho.results.surface import export, load_design, part_surface
from morpho.results.vtk import VtkSeries


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_series_holds_every_cell_once(tmp_path, ranks):
    shapes = {"plane": (5, 3), "solid": (4, 3, 5)}
    arguments = [text for name, n in shapes.items() for text in (tmp_path / name, ",".join(map(str, n)))]
    run_script(ranks, "image_script.py", "none", "0,10", *arguments)
    for name, shape in shapes.items():
        assert times(tmp_path / name) == [0.0, 10.0]
        whole = read(tmp_path / name, 10)
        check_whole(whole, shape)
        pieces = [pyvista.read(path) for path in (tmp_path / name / "vtk").glob("design_000010_*.vti")]
        assert len(pieces) == ranks and sum(piece.n_cells for piece in pieces) == whole.n_cells
        for piece in pieces:
            check_piece(piece, whole)


def check_whole(image, shape):
    lengths = np.multiply(SPACING[: len(shape)], shape)
    grid = image_box(shape, MPI.COMM_SELF, lengths, ORIGIN)
    assert isinstance(image, pyvista.ImageData) and image.n_cells == np.prod(shape)
    assert np.allclose(image.points, points(grid)) and np.allclose(image.cell_centers().points, centres(grid))
    assert np.array_equal(image.cell_data["key"], np.float32(np.arange(image.n_cells) + 0.01))
    assert np.allclose(image.cell_data["pair"], centres(grid) * [1, 1, 0])
    assert np.allclose(image.point_data["place"], image.points * (np.arange(3) < len(shape)))
    measure = image.compute_cell_sizes(length=False).cell_data["Area" if len(shape) == 2 else "Volume"]
    assert measure.sum() == pytest.approx(np.prod(lengths))


def check_piece(piece, whole):
    """Its cells and points are those of the whole, with the same places and values, on every piece that has them."""
    for own, all_places, values in (
        (piece.points, whole.points, "place"),
        (piece.cell_centers().points, whole.cell_centers().points, "key"),
    ):
        number = [np.argmin(np.linalg.norm(all_places - place, axis=1)) for place in own]
        assert np.allclose(own, all_places[number], rtol=0.0, atol=1e-9)
        assert np.array_equal(piece[values], whole[values][number])


def test_origin_and_spacing_are_exact(tmp_path):
    grid = image_box((3, 2, 7), MPI.COMM_SELF, (1.0, 0.1, 1e-7), (1 / 3, -1e9 / 7, 1e-12))
    VtkSeries(tmp_path, grid, None).write(0, {"rho": np.ones(42)}, {})
    image = read(tmp_path, 0)
    assert np.array_equal(image.origin, grid.origin) and np.array_equal(image.spacing, grid.spacing)


def test_pieces_are_compressed_and_of_single_precision(tmp_path):
    grid = image_box((60, 60), MPI.COMM_SELF)
    VtkSeries(tmp_path, grid, None).write(0, {"rho": np.ones(3600)}, {"u": np.ones((3721, 2))})
    content = (tmp_path / "vtk" / "design_000000_0.vti").read_bytes()
    assert b"vtkZLibDataCompressor" in content[:200] and len(content) < 10_000
    header = (tmp_path / "vtk" / "design_000000.pvti").read_bytes()
    assert content.count(b'type="Float32"') == header.count(b'type="Float32"') == 2
    assert b"Float64" not in content + header
    assert read(tmp_path, 0)["rho"].dtype == np.float32


def test_arrays_have_to_fit(tmp_path):
    series = VtkSeries(tmp_path, image_box((4, 3), MPI.COMM_SELF), None)
    with pytest.raises(ValueError, match="u should have 20 rows"):
        series.write(0, {"rho": np.ones(12)}, {"u": np.ones((12, 2))})


def test_resume_drops_later_steps(tmp_path):
    run_script(3, "image_script.py", "none", "0,10,20", tmp_path, "5,3")
    run_script(2, "image_script.py", "10", "15", tmp_path, "5,3")
    assert times(tmp_path) == [0.0, 10.0, 15.0]
    assert [read(tmp_path, step).n_cells for step in (0, 10, 15)] == [15, 15, 15]
    assert not list(tmp_path.glob("vtk/*000020*"))


@pytest.mark.parametrize(("first", "then"), [(box, image_box), (image_box, box)])
def test_series_goes_on_after_steps_of_the_other_kind(tmp_path, first, then):
    series = VtkSeries(tmp_path, first((4, 3, 2), MPI.COMM_SELF), None)
    for step in (0, 10, 20):
        series.write(step, {"physical_density": np.ones(24)}, {})
    grid = then((4, 3, 2), MPI.COMM_SELF)
    VtkSeries(tmp_path, grid, 10).write(15, {"physical_density": np.ones(24)}, {})
    assert times(tmp_path) == [0.0, 10.0, 15.0]
    assert [read(tmp_path, step).n_cells for step in (0, 10, 15)] == [24, 24, 24]
    assert [isinstance(load_design(tmp_path, step), pyvista.ImageData) == (first is image_box) for step in (0, 1)]
    assert isinstance(load_design(tmp_path), pyvista.ImageData) == (then is image_box)
    assert export(tmp_path, tmp_path / "part.stl")["watertight"]
    VtkSeries(tmp_path, grid, None)
    assert not list((tmp_path / "vtk").iterdir())


def test_full_disk_is_an_error_on_all_ranks(tmp_path):
    answers = run_script(3, "full_disk_script.py", "image", tmp_path, 2)
    assert len(answers) == 3 and all("StorageError" in text and "design_000002" in text for text in answers)
    assert times(tmp_path) == [1.0]


def solid(density, origin=(0.0, 0.0, 0.0)):
    """An image of the unit cube with the density, axes z, y, x."""
    shape = np.array(density.shape[::-1])
    image = pyvista.ImageData(dimensions=tuple(shape + 1), spacing=tuple(1.0 / shape), origin=origin)
    image.cell_data["physical_density"] = np.asarray(density, dtype=np.float32).ravel()
    return image


def test_cavity_is_no_part_of_the_volume():
    z, y, x = (np.indices((30, 30, 30)) + 0.5) / 30 - 0.5
    distance = np.sqrt(x**2 + y**2 + z**2)
    shell = np.clip(0.5 + 12 * np.minimum(0.4 - distance, distance - 0.2), 0.0, 1.0)
    surface = part_surface(solid(shell), smooth=False)
    assert signed_volume(surface) == pytest.approx(4 / 3 * np.pi * (0.4**3 - 0.2**3), rel=0.02)


def signed_volume(surface):
    a, b, c = np.asarray(surface.points)[surface.regular_faces].transpose(1, 0, 2)
    return np.einsum("ij,ij", a, np.cross(b, c)) / 6


@pytest.mark.parametrize("seed", range(5))
def test_every_pattern_is_closed(seed):
    density = np.random.default_rng(seed).random((6, 7, 1 if seed == 4 else 9)).round(seed % 3)
    surface = part_surface(solid(density, origin=(1e5, 0.0, -3.0)), smooth=False)
    assert surface.n_open_edges == 0 and surface.is_manifold
    assert np.asarray(surface.bounds)[::2].min() >= -3.0


def test_diagonal_bar_is_one_piece():
    surface = part_surface(solid(np.tile(np.eye(9), (3, 1, 1))), level=0.45, smooth=False)
    assert surface.split_bodies().n_blocks == 1 and surface.n_open_edges == 0


def test_mirror_image_touches_the_design():
    density = np.random.default_rng(0).random((3, 2, 4))
    design = solid(density, origin=(5.0, 1.0, 2.0))
    both = mirrored(design, (0, False))
    assert np.allclose(both.bounds, [4, 6, 1, 2, 2, 3])
    values = both.cell_data["physical_density"].reshape(3, 2, 8)
    assert np.allclose(values[..., 4:], density) and np.allclose(values[..., 3::-1], density)
