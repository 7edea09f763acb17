"""Which folders may be written, who holds them, and what is removed with a run."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from running import ROOT

from morpho.errors import InputError
from morpho.results import run_folder


def make_run(folder: Path) -> Path:
    """The files of a run, and some of others."""
    for name in ("problem.yaml", "log.txt", "history.csv", "result.json", "design.pvd", "design.stl", "history.png"):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("# morpho 0.1.0\n")
    for name in ("vtk/design_000001.pvtu", "vtk/design_000001_0.vtu", "checkpoint/a/x.npy", "checkpoint/a/meta.json"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("")
    return folder


def test_what_may_be_written(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(folder)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / ".gitkeep").write_text("")
    for overwrite in (False, True):
        assert run_folder.refusal(tmp_path / "new", overwrite) == ""
        assert run_folder.refusal(tmp_path / "empty", overwrite) == ""
        assert "is a file" in run_folder.refusal(tmp_path / "file", overwrite)
        assert "is a link to" in run_folder.refusal(tmp_path / "link", overwrite)
        assert "is no run folder and holds other files" in run_folder.refusal(tmp_path, overwrite)
        assert "is no run folder" in run_folder.refusal(folder, overwrite, bench=True)
    assert "--overwrite" in run_folder.refusal(folder, overwrite=False)
    assert run_folder.refusal(folder, overwrite=True) == ""


def test_benchmarks_are_not_replaced_either(tmp_path: Path) -> None:
    for name in ("bench.json", "bench.md", "bench.png", "notes.txt"):
        (tmp_path / name).write_text("{}")
    assert "holds the results of a benchmark already" in run_folder.refusal(tmp_path, overwrite=False, bench=True)
    assert run_folder.refusal(tmp_path, overwrite=True, bench=True) == ""
    assert "is no run folder" in run_folder.refusal(tmp_path, overwrite=True)
    run_folder.clear(tmp_path, bench=True)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_lock_file_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "theirs").write_text("theirs")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").symlink_to(tmp_path / "theirs")
    with pytest.raises(OSError, match="symbolic links"):
        run_folder.lock(tmp_path / "run")

    assert "is a link to" in run_folder.holder(tmp_path / "run")
    assert "is a link to" in run_folder.refusal(tmp_path / "run", overwrite=True)


CONTINUED = ("log.txt", "vtk", "checkpoint", "checkpoint/a", "checkpoint/b", "history.csv", "result.json", "design.pvd")
WITHIN = (".lock", "problem.yaml", "problem.yaml.partial", "vtk/design_000001_0.vtu", "checkpoint/a/x.npy")


@pytest.mark.parametrize("name", [*CONTINUED, *WITHIN])
def test_a_run_does_not_go_on_through_links_or_in_pipes(name: str, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    (folder / "design.stl").unlink()
    (folder / "design.stl").symlink_to("elsewhere.stl")  # only removed
    (folder / "mesh.msh").symlink_to("elsewhere.msh")
    assert run_folder.misplaced(folder) == []
    path = folder / name
    if path.is_dir():
        shutil.rmtree(path)
    for target in (tmp_path, tmp_path / "nowhere"):
        path.unlink(missing_ok=True)
        path.symlink_to(target)
        (said,) = run_folder.misplaced(folder)
        assert said.startswith(f"{path} is a link to {target}, ")
    path.unlink()
    os.mkfifo(path)
    (said,) = run_folder.misplaced(folder)
    assert said.startswith(f"{path} is no ")
    assert run_folder.is_run(folder) == (name != "problem.yaml")


def test_a_problem_file_of_ones_own_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "problem.yaml").write_text("mesh: {}\n")
    (tmp_path / "log.txt").write_text("")
    assert not run_folder.is_run(tmp_path)
    (tmp_path / "problem.yaml").write_text("# morpho 0.1.0\n")
    assert run_folder.is_run(tmp_path)
    (tmp_path / "log.txt").unlink()
    assert not run_folder.is_run(tmp_path), "a copy of the resolved problem"


def test_a_run_is_removed_and_nothing_else(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    for name in ("notes.txt", "vtk/mine.vtu", "mesh.msh"):
        (folder / name).write_text("mine")
    (tmp_path / "elsewhere.stl").write_text("mine")
    (folder / "design.ply").symlink_to(tmp_path / "elsewhere.stl")
    run_folder.clear(folder)
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {"run/notes.txt", "run/vtk/mine.vtu", "run/mesh.msh", "elsewhere.stl"}
    assert not (folder / "checkpoint").exists() and not (folder / "design.ply").is_symlink()


@pytest.mark.parametrize("name", ["vtk", "checkpoint", "checkpoint/a", "checkpoint/b"])
def test_a_folder_that_is_a_link_goes_and_what_it_points_to_stays(name: str, tmp_path: Path) -> None:
    folder, theirs = make_run(tmp_path / "run"), tmp_path / "theirs"
    for path in ("x.npy", "meta.json", "a/x.npy", "a/meta.json", "b/meta_2.json", "design_000001.pvtu", "a/b/x.npy"):
        (theirs / path).parent.mkdir(parents=True, exist_ok=True)
        (theirs / path).write_text("theirs")
    (theirs / "empty").mkdir()
    before = sorted(theirs.rglob("*"))
    if (folder / name).exists():
        shutil.rmtree(folder / name)
    (folder / name).symlink_to(theirs)
    run_folder.clear(folder)
    assert sorted(theirs.rglob("*")) == before
    assert list(folder.iterdir()) == []


def test_only_one_holds_a_folder(tmp_path: Path) -> None:
    held = run_folder.lock(tmp_path)
    held.sign()
    assert run_folder.is_run(make_run(tmp_path))
    for said in (run_folder.holder(tmp_path), run_folder.refusal(tmp_path, overwrite=True)):
        assert "a run is writing here (process" in said
    with pytest.raises(InputError, match="a run is writing here"):
        run_folder.lock(tmp_path)
    held.release()
    assert run_folder.holder(tmp_path) == ""
    run_folder.lock(tmp_path).withdraw()
    assert (tmp_path / ".lock").exists(), "it was there before"


def test_a_lock_without_a_run_leaves_no_trace(tmp_path: Path) -> None:
    run_folder.lock(tmp_path).withdraw()
    assert list(tmp_path.iterdir()) == []


def test_a_killed_process_holds_nothing(tmp_path: Path) -> None:
    program = (
        "import sys, time, pathlib\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "from morpho.results.run_folder import lock\n"
        "held = lock(pathlib.Path(sys.argv[1]))\n"
        "print(flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert "a run is writing here" in run_folder.holder(tmp_path)
        process.kill()
        process.wait()
    assert run_folder.holder(tmp_path) == ""
