"""The ParaView series: values for every rank count, resume, empty ranks, a full disk."""

from mpi4py import MPI

import numpy as np
import pytest
from results_boxes import box, centres, read, run_script, times
from running import run

from morpho.results.designs import load_design
from morpho.results.vtk import VtkSeries


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_series_holds_every_cell_once(tmp_path, ranks):
    shapes = {"plane": (5, 3), "solid": (4, 3, 2), "two": (2, 1)}
    arguments = [text for name, n in shapes.items() for text in (tmp_path / name, ",".join(map(str, n)))]
    run_script(ranks, "vtk_script.py", "none", "0,10", *arguments)
    for name, shape in shapes.items():
        assert times(tmp_path / name) == [0.0, 10.0]
        assert len(list(tmp_path.glob(f"{name}/vtk/*"))) == 2
        check_values(read(tmp_path / name, 10), box(shape, MPI.COMM_SELF))


def check_values(mesh, whole):
    assert mesh.n_cells == len(whole.cells) and mesh.n_points == len(whole.points)
    key = np.rint(mesh.cell_data["key"] - 0.01).astype(int)
    assert np.array_equal(np.sort(key), np.arange(mesh.n_cells))
    middle = centres(whole)[np.argsort(whole.key)][key]
    assert np.allclose(mesh.cell_centers().points, middle)
    assert np.allclose(mesh.cell_data["pair"], middle * [1, 1, 0])
    assert np.allclose(mesh.point_data["place"], mesh.points)
    assert set(mesh.celltypes) == {whole.vtk_cell_type}


def test_resume_drops_later_steps(tmp_path):
    run_script(3, "vtk_script.py", "none", "0,10,20", tmp_path, "5,3")
    run_script(2, "vtk_script.py", "10", "15", tmp_path, "5,3")
    assert times(tmp_path) == [0.0, 10.0, 15.0]
    assert [read(tmp_path, step).n_cells for step in (0, 10, 15)] == [15, 15, 15]
    assert not list(tmp_path.glob("vtk/*000020*"))


def test_new_run_starts_a_new_series(tmp_path):
    grid = box((2, 2), MPI.COMM_SELF)
    series = VtkSeries(tmp_path, grid, None)
    for step in (0, 10):
        series.write(step, {"rho": np.ones(4)}, {})
    VtkSeries(tmp_path, grid, None).write(5, {"rho": np.ones(4)}, {})
    assert times(tmp_path) == [5.0]
    assert sorted(path.name for path in (tmp_path / "vtk").iterdir()) == ["design_000005.vtu"]


def test_pieces_are_compressed(tmp_path):
    grid = box((60, 60), MPI.COMM_SELF)
    VtkSeries(tmp_path, grid, None).write(0, {"rho": np.ones(3600)}, {})
    content = (tmp_path / "vtk" / "design_000000.vtu").read_bytes()
    assert b"vtkZLibDataCompressor" in content[:200] and len(content) < 50_000


@pytest.mark.parametrize("ranks", [1, 3])
def test_an_array_of_many_blocks(tmp_path, ranks):
    """Blocks begin on one rank and end on another."""
    run_script(ranks, "vtk_script.py", "none", "0", tmp_path, "300,299")
    check_values(read(tmp_path, 0), box((300, 299), MPI.COMM_SELF))
    assert load_design(tmp_path).n_cells == 300 * 299


def test_a_contour_of_three_ranks_is_closed(tmp_path):
    """Also between the cells of different ranks, as it comes out of VTK, on tetrahedra and on boxes."""
    for cell in ("tetrahedron", "hexahedron"):
        problem = write_problem(tmp_path / f"{cell}.yaml", cell)
        assert run(3, "solve", problem, "--output", tmp_path / cell, cwd=tmp_path).returncode == 0
        design = read(tmp_path / cell, 4)
        at_points = design.cell_data_to_point_data()
        surface = at_points.contour([0.5], scalars="physical_density")
        edges = surface.extract_feature_edges(feature_edges=False, non_manifold_edges=True, manifold_edges=False)
        distance = np.abs(np.asarray(edges.points)[:, :, None] - np.reshape(design.bounds, (3, 2))).min(axis=(1, 2))
        assert surface.n_cells > 50 and surface.n_open_edges > 0 and distance.max() < 1e-6
        solid = at_points.clip_scalar("physical_density", value=0.5, invert=False)
        assert solid.extract_surface().triangulate().n_open_edges == 0
        dense = design.threshold(0.5, scalars="physical_density")
        assert 0 < dense.n_cells < design.n_cells


def write_problem(path, cell):
    path.write_text(f"""
mesh: {{box: {{size: [2, 1, 1], cells: [12, 6, 6], cell: {cell}}}}}
material: {{E: 1, nu: 0.3}}
supports: [{{region: {{plane: {{axis: x, at: 0}}}}, fix: all}}]
loads:
  - forces: [{{region: {{all_of: [{{plane: {{axis: x, at: 2}}}}, {{plane: {{axis: z, at: 0}}}}]}}, total: [0, 0, -1]}}]
constraints: [{{volume_fraction: 0.3}}]
design: {{filter: {{kind: cone, radius: 0.3}}}}
optimizer: {{max_iterations: 4}}
""")
    return path


def test_full_disk_is_an_error_on_all_ranks(tmp_path):
    answers = run_script(3, "full_disk_script.py", "vtk", tmp_path, 0)
    assert len(answers) == 3 and all("StorageError" in text and "design_000002" in text for text in answers)
    assert times(tmp_path) == [1.0]
