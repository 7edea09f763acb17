"""The ParaView series: values for every rank count, resume, empty ranks, a full disk."""

from mpi4py import MPI

import numpy as np
import pytest
from results_boxes import box, centres, read, run_script, times

from morpho.results.vtk import VtkSeries


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_series_holds_every_cell_once(tmp_path, ranks):
    shapes = {"plane": (5, 3), "solid": (4, 3, 2), "two": (2, 1)}
    arguments = [text for name, n in shapes.items() for text in (tmp_path / name, ",".join(map(str, n)))]
    run_script(ranks, "vtk_script.py", "none", "0,10", *arguments)
    for name, shape in shapes.items():
        assert times(tmp_path / name) == [0.0, 10.0]
        assert len(list(tmp_path.glob(f"{name}/vtk/design_000010_*.vtu"))) == ranks
        check_values(read(tmp_path / name, 10), box(shape, MPI.COMM_SELF))


def check_values(mesh, whole):
    assert mesh.n_cells == len(whole.cells)
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
    assert sorted(path.name for path in (tmp_path / "vtk").iterdir()) == ["design_000005.pvtu", "design_000005_0.vtu"]


def test_pieces_are_compressed(tmp_path):
    grid = box((60, 60), MPI.COMM_SELF)
    VtkSeries(tmp_path, grid, None).write(0, {"rho": np.ones(3600)}, {})
    content = (tmp_path / "vtk" / "design_000000_0.vtu").read_bytes()
    assert b"vtkZLibDataCompressor" in content[:200] and len(content) < 50_000


def test_full_disk_is_an_error_on_all_ranks(tmp_path):
    answers = run_script(3, "full_disk_script.py", "vtk", tmp_path, 2)
    assert len(answers) == 3 and all("StorageError" in text and "design_000002" in text for text in answers)
    assert times(tmp_path) == [1.0]
