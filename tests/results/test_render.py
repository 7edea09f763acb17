"""Pictures are drawn without a display, are not blank, and leave no process behind."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from mpi4py import MPI

import numpy as np
import pytest
from matplotlib.image import imread
from results_boxes import box, centres, image_box

from morpho.errors import InputError, MorphoError, StorageError
from morpho.results.history import History, HistoryRow
from morpho.results.render import pictures, plot_history, render
from morpho.results.vtk import VtkSeries

needs_display = pytest.mark.skipif(
    shutil.which("Xvfb") is None and "DISPLAY" not in os.environ, reason="no Xvfb and no display"
)


@pytest.fixture(params=[box, image_box])
def make(request):
    return request.param


def write_design(folder, shape, make=box):
    grid = make(shape, MPI.COMM_SELF)
    density = 1.0 * (np.abs(centres(grid)[:, 0] - 6.0) > 2.0)
    VtkSeries(folder, grid, None).write(0, {"physical_density": density}, {})


def children():
    return {pid for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()}


@needs_display
@pytest.mark.parametrize(("shape", "symmetric"), [((12, 4), True), ((12, 4, 4), False), ((12, 4, 4), True)])
def test_picture_of_a_design(tmp_path, make, shape, symmetric):
    write_design(tmp_path, shape, make)
    before = children()
    render(tmp_path, tmp_path / "design.png", size=(400, 300), symmetric=symmetric)
    assert children() <= before
    picture = imread(tmp_path / "design.png")[..., :3]
    assert picture.shape == (300, 400, 3)
    white = np.all(picture > 0.99, axis=2)
    assert 0.2 < white.mean() < 0.95
    # The picture is centred, and nothing is cut off.
    rows, columns = np.flatnonzero(~white.all(axis=1)), np.flatnonzero(~white.all(axis=0))
    assert rows[0] + rows[-1] == pytest.approx(299, abs=4) and columns[0] + columns[-1] == pytest.approx(399, abs=4)
    assert rows[0] > 2 and columns[0] > 2


@needs_display
def test_planar_picture_is_black_where_solid(tmp_path, make):
    write_design(tmp_path, (12, 12), make)
    render(tmp_path, tmp_path / "design.png", size=(300, 300))
    picture = imread(tmp_path / "design.png")[..., :3]
    assert picture[150, 60].max() < 0.02 and picture[150, 150].min() > 0.98


@needs_display
def test_what_cannot_be_drawn(tmp_path):
    with pytest.raises(InputError, match=r"design\.pvd"):
        render(tmp_path, tmp_path / "design.png")
    write_design(tmp_path, (3, 2))
    with pytest.raises(StorageError, match="nowhere"):
        render(tmp_path, tmp_path / "nowhere" / "design.png")


def test_broken_display_is_an_error_with_advice(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("DISPLAY", ":987654")
    write_design(tmp_path, (3, 2))
    try:
        render(tmp_path, tmp_path / "design.png")
    except MorphoError as error:
        assert "Xvfb" in str(error)


def test_drawing_process_starts_no_mpi():
    code = "import sys, morpho.results.scene; print('mpi4py.MPI' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_plot_of_the_history(tmp_path):
    with pytest.raises(InputError, match=r"history\.csv"):
        plot_history(tmp_path, tmp_path / "history.png")
    history = History(tmp_path / "history.csv", MPI.COMM_SELF)
    with pytest.raises(InputError, match="no iterations"):
        plot_history(tmp_path, tmp_path / "history.png")
    for i in range(40):
        kind = "exact" if i % 5 == 0 or i < 5 else "estimated"
        history.add(HistoryRow(i, 2.0 + 900.0 * 0.6**i, kind, 0.5, 0.2, 0.3 / (i + 1), i, 40 * i, 1.0))
    plot_history(tmp_path, tmp_path / "history.png")
    picture = imread(tmp_path / "history.png")[..., :3]
    assert 0.005 < np.mean(picture < 0.9) < 0.5
    with pytest.raises(StorageError, match="nowhere"):
        plot_history(tmp_path, tmp_path / "nowhere" / "history.png")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("history.csv", None, "not a readable history"),
        ("history.csv", "iteration,object", "it is cut off"),
        ("history.csv", "iteration,kind\n1,exact\n", "it has no objective, volume, greyness"),
        ("history.png", "link", "is a link to"),
        ("design.png", "folder", "is a folder"),
    ],
)
def test_a_report_is_refused_before_anything_is_drawn(tmp_path, name, content, words):
    write_design(tmp_path, (3, 2))
    History(tmp_path / "history.csv", MPI.COMM_SELF).add(HistoryRow(1, 2.0, "exact", 0.5, 0.2, 0.3, 1, 40, 1.0))
    if content == "link":
        (tmp_path / name).symlink_to(tmp_path / "theirs.png")
    elif content == "folder":
        (tmp_path / name).mkdir()
    elif content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=words):
        pictures(tmp_path)
    assert not [path for path in tmp_path.iterdir() if path.suffix == ".png" and path.name != name]
    assert not (tmp_path / "theirs.png").exists()
