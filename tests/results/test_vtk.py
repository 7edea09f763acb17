"""The ParaView series: values for every rank count, resume, empty ranks, a full disk."""

from mpi4py import MPI

import numpy as np
import pytest
import pyvista
from results_boxes import box, run_script

from morpho.results.vtk import VtkSeries


def read(folder, step):
    reader = pyvista.PVDReader(folder / "design.pvd")
    reader.set_active_time_value(float(step))
    return reader.read()[0]


def times(folder):
    return pyvista.PVDReader(folder / "design.pvd").time_values


@pytest.mark.parametrize("ranks", [1, 2, 3])
@pytest.mark.parametrize("shape", [(5, 3), (4, 3, 2)], ids=["2d", "3d"])
def test_series_holds_every_cell_once(tmp_path, shape, ranks):
    run_script(ranks, "vtk_script.py", tmp_path, "none", ",".join(map(str, shape)), "0,10")
    assert times(tmp_path) == [0.0, 10.0]
    assert len(list(tmp_path.glob("vtk/design_000010_*.vtu"))) == ranks
    mesh, whole = read(tmp_path, 10), box(shape, MPI.COMM_SELF)
    assert mesh.n_cells == np.prod(shape)
    key = np.rint(mesh.cell_data["key"] - 0.01).astype(int)
    assert np.array_equal(np.sort(key), np.arange(mesh.n_cells))
    middle = whole.points[whole.cells].mean(axis=1)[np.argsort(whole.key)][key]
    assert np.allclose(mesh.cell_centers().points, middle)
    assert np.allclose(mesh.cell_data["pair"], middle * [1, 1, 0])
    assert np.allclose(mesh.point_data["place"], mesh.points)
    assert set(mesh.celltypes) == {whole.vtk_cell_type}


def test_series_with_ranks_without_cells(tmp_path):
    run_script(3, "vtk_script.py", tmp_path, "none", "2,1", "0")
    assert read(tmp_path, 0).n_cells == 2


def test_resume_drops_later_steps(tmp_path):
    run_script(3, "vtk_script.py", tmp_path, "none", "5,3", "0,10,20")
    run_script(2, "vtk_script.py", tmp_path, "10", "5,3", "15")
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


@pytest.mark.parametrize("full_rank", [0, 2])
def test_full_disk_is_an_error_on_all_ranks(tmp_path, full_rank):
    answers = run_script(3, "full_disk_script.py", "vtk", tmp_path, full_rank)
    assert len(answers) == 3 and all("StorageError" in text and "design_000002" in text for text in answers)
    assert times(tmp_path) == [1.0]
