"""history.csv: columns, resume, cut rows, a full disk, light import."""

import subprocess
import sys
from dataclasses import replace

from mpi4py import MPI

import numpy as np
import pytest
from results_boxes import run_script

from morpho.errors import InputError, StorageError
from morpho.results.history import History, HistoryRow, read_history

ROW = HistoryRow(0, np.float64(1 / 3), "exact", 0.5, 0.2, 0.1, 1, 40, 1.25, beta=8.0)


def write_rows(path, count):
    history = History(path, MPI.COMM_SELF)
    for iteration in range(count):
        kind = "exact" if iteration % 2 == 0 else "estimated"
        history.add(replace(ROW, iteration=iteration, kind=kind))


def test_columns_and_values(tmp_path):
    path = tmp_path / "run" / "history.csv"
    write_rows(path, 3)
    assert path.read_text().splitlines()[0] == (
        "iteration,objective,kind,volume,change,greyness,exact_solves,linear_iterations,seconds,"
        "max_constraint,penalty,beta,radius,move_limit,step,since,error,secant_error,gap,coarse_iterations,rollback,"
        "solver,coarser"
    )
    table = read_history(path)
    assert table["iteration"].tolist() == [0, 1, 2]
    assert table["kind"].tolist() == ["exact", "estimated", "exact"]
    assert table["objective"][0] == 1 / 3 and table["beta"][2] == 8.0
    assert np.isnan(table["penalty"]).all()


def test_resume_drops_later_and_cut_rows(tmp_path):
    path = tmp_path / "history.csv"
    write_rows(path, 5)
    with open(path, "a") as file:
        file.write("1,0.25,exa")
    history = History(path, MPI.COMM_SELF, append_from=2)
    history.add(replace(ROW, iteration=3, objective=7.0))
    table = read_history(path)
    assert table["iteration"].tolist() == [0, 1, 2, 3]
    assert table["objective"][-1] == 7.0


def test_new_run_starts_a_new_table(tmp_path):
    write_rows(tmp_path / "history.csv", 4)
    write_rows(tmp_path / "history.csv", 2)
    assert len(read_history(tmp_path / "history.csv")["iteration"]) == 2


def test_resume_without_a_table_starts_one(tmp_path):
    History(tmp_path / "history.csv", MPI.COMM_SELF, append_from=5)
    assert read_history(tmp_path / "history.csv")["objective"].shape == (0,)


def test_unreadable_table(tmp_path):
    path = tmp_path / "history.csv"
    with pytest.raises(InputError, match=r"history\.csv"):
        read_history(path)
    path.write_text("no,history\n1,2\n3,x\n")
    with pytest.raises(StorageError, match="not a history"):
        History(path, MPI.COMM_SELF, append_from=3)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("\n1,", "\n", "row 2 has other columns than the head"),
        ("\n1,", "\none,", "not a readable history"),
        (None, "iteration,objec", "it is cut off"),
        (None, "", "it is cut off"),
    ],
)
def test_damaged_table(tmp_path, old, new, words):
    path = tmp_path / "history.csv"
    write_rows(path, 3)
    path.write_text(new if old is None else path.read_text().replace(old, new))
    with pytest.raises(InputError, match=words):
        read_history(path)


def test_full_disk_is_an_error_on_all_ranks(tmp_path):
    answers = run_script(2, "full_disk_script.py", "history", tmp_path, 0)
    assert len(answers) == 2 and all("StorageError" in text and "history.csv" in text for text in answers)


def test_import_is_light():
    code = (
        "import sys, morpho.results.history; print(*({'pyvista', 'vtkmodules', 'dolfinx', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
