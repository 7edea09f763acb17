"""A run under way, seen from outside, and the pictures that are drawn beside it."""

import os
import pty
import signal
import subprocess
import sys
import time

from mpi4py import MPI

import pytest
from PIL import Image
from running import ROOT, finish, rows, run, settings, start, wait_until, write_mbb

from morpho import load_problem, solve
from morpho.errors import InputError
from morpho.results import side_pictures
from morpho.results.watch import follow, left, screen

ENDLESS = settings("optimizer.max_iterations=100000", "optimizer.tolerance=0", "optimizer.objective_tolerance=0")


def test_a_run_is_followed_to_its_end_and_pictured(tmp_path):
    every = settings("output.picture_every=5")
    process = start(2, "solve", write_mbb(tmp_path), *ENDLESS, *every, cwd=tmp_path)
    folder = tmp_path / "runs" / "mbb"
    wait_until(lambda: rows(folder) > 3, process)
    lines, ended = screen(folder)
    assert not ended and "is running" in lines[0]
    text = "\n".join(lines)
    assert "of 100000 at most" in text and "objective  " in text and "worst limit      met" in text
    assert "left at most" in text
    once = run(1, "watch", folder, "--once", cwd=tmp_path)
    assert once.returncode == 0 and "is running" in once.stdout
    wait_until(lambda: any((folder / "pictures").glob("*.png")), process, timeout=200)
    process.send_signal(signal.SIGINT)
    assert finish(process, timeout=200).returncode == 130
    *_, last = follow(folder)
    assert "interrupted" in last[0] and "newest picture" in "\n".join(last)
    picture = next((folder / "pictures").glob("*.png"))
    with Image.open(picture) as image:
        assert image.size == (1200, 900)


def test_pictures_that_fail_are_said_and_do_no_harm(tmp_path, monkeypatch):
    """Here nothing can be drawn, as Python is not there to be started."""
    monkeypatch.setattr(side_pictures.sys, "executable", "/nowhere/python")
    overrides = ["output.picture_every=1", "optimizer.max_iterations=3"]
    result = solve(load_problem(write_mbb(tmp_path), overrides), tmp_path / "run", MPI.COMM_SELF)
    assert result.iterations == 3
    assert (tmp_path / "run" / "log.txt").read_text().count("a picture could not be drawn") == 1


def test_one_line_in_place_on_a_terminal(tmp_path):
    """No line per iteration there; time left is said."""
    ours, theirs = pty.openpty()
    arguments = [*ENDLESS, *settings("optimizer.max_iterations=150")]
    command = [sys.executable, "-m", "morpho", "solve", str(write_mbb(tmp_path)), *arguments]
    environment = dict(os.environ, PYTHONPATH=str(ROOT), TERM="xterm", COLUMNS="120")
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    seen, end = b"", time.monotonic() + 120
    while time.monotonic() < end:
        try:
            part = os.read(ours, 1 << 16)
        except OSError:
            break
        if not part:
            break
        seen += part
    os.close(ours)
    assert process.wait(60) == 0
    text = seen.decode(errors="replace")
    assert "limits met" in text and "left" in text and "it 5, objective" not in text
    assert "it 5, objective" in (tmp_path / "runs" / "mbb" / "log.txt").read_text()


def test_what_cannot_be_watched(tmp_path):
    with pytest.raises(InputError, match="is no run folder"):
        screen(tmp_path)


@pytest.mark.parametrize(("seconds", "text"), [(45, "45 s"), (720, "12 min"), (12000, "3 h 20 min")])
def test_durations(seconds, text):
    assert left(seconds) == text
