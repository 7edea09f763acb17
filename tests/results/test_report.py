"""The page about a run, and what a browser makes of it."""

import json
import shutil
from pathlib import Path

from mpi4py import MPI

import browser
import numpy as np
import pytest
from helpers import box, make_problem, plane
from running import run, write_mbb

import morpho
from morpho.errors import InputError
from morpho.results.album import chosen
from morpho.results.report import report_page

MOST = 6_000_000  #: bytes of a page


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A bar with a displacement limit, a continuation and estimated gradients, with its page."""
    tip = {"kind": "displacement", "region": plane("x", 2), "direction": [0, 0, -1], "max": 300.0}
    problem = make_problem(
        box([16, 8, 8], [2.0, 1, 1]),
        name="bar",
        loads=[{"name": "tip", "forces": [{"region": plane("x", 2), "total": [0, 0, -1]}]}],
        constraints=[{"volume_fraction": 0.3}, tip],
        material={"penalty": {"start": 1, "max": 3, "every": 4, "step": 1}},
        design={"filter": {"kind": "cone", "radius": 0.2}},
        gradient={"source": "secant"},
        optimizer={"max_iterations": 14},
    )
    run_dir = tmp_path_factory.mktemp("run") / "bar"
    morpho.solve(problem, run_dir, MPI.COMM_SELF)
    done = run(2, "report", run_dir, cwd=run_dir.parent, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("report.html")
    return run_dir


def test_the_page_says_what_the_run_was(folder):
    page = (folder / "report.html").read_text()
    assert len(page) < MOST
    for text in ("The part as built", "Continuation", "Gradient source", "How it came about", "part-data", "set-up"):
        assert text in page
    assert "displacement" in page and "at most 300" in page
    assert json.loads((folder / "result.json").read_text())["as_built"]["pieces"] >= 1


def test_a_browser_shows_it(folder, tmp_path):
    """Narrow and wide, light and dark: nothing is cut off, and the part turns."""
    with browser.opened() as page:
        for width in (400, 1400):
            for dark in (False, True):
                page.show(folder / "report.html", width, dark)
                page.screenshot(tmp_path / f"report_{width}_{dark}.png")
                assert page.value("document.documentElement.scrollWidth") <= width
                pictures = "[...document.images].map((i) => i.complete && i.naturalWidth > 0)"
                assert page.value(f"{pictures}.length") >= 5 and all(page.value(pictures))
                paper = [int(v) for v in page.value("getComputedStyle(document.body).backgroundColor")[4:-1].split(",")]
                assert (sum(paper) < 200) == dark
        left, top = page.value(
            "(({left, top}) => [left, top])(document.getElementById('part').getBoundingClientRect())"
        )
        before = page.value("document.getElementById('part').dataset.view")
        page.screenshot(tmp_path / "as_it_was.png", whole=False)
        page.drag((left + 300, top + 100), (left + 380, top + 140))
        page.value("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))")
        page.screenshot(tmp_path / "turned.png", whole=False)
        assert (tmp_path / "turned.png").read_bytes() != (tmp_path / "as_it_was.png").read_bytes()
        after = page.value("document.getElementById('part').dataset.view")
        turned = np.array(after.split(), float) - np.array(before.split(), float)
        np.testing.assert_allclose(turned, [-0.8, 0.4, 0.0], atol=1e-3)
        assert page.errors == []
        assert set(page.requests) == {(folder / "report.html").resolve().as_uri()}


def test_a_planar_run_and_one_that_has_not_ended(tmp_path):
    problem = morpho.load_problem(write_mbb(tmp_path), ["optimizer.max_iterations=2"])
    morpho.solve(problem, tmp_path / "run", MPI.COMM_SELF)
    (tmp_path / "run" / "result.json").unlink()
    with open(tmp_path / "run" / "log.txt", "a") as log:
        log.write("warning: <script>alert(1)</script>\n")
    page = report_page(tmp_path / "run", notes=("warning: of a test",)).read_text()
    assert "The run has not ended." in page and "warning: of a test" in page and "part-data" not in page
    assert "&lt;script&gt;alert(1)" in page and "<script>" not in page
    (tmp_path / "run" / "result.json").write_text("{")
    with pytest.raises(InputError, match=r"result\.json: is damaged"):
        report_page(tmp_path / "run")
    (tmp_path / "run" / "result.json").unlink()
    shutil.rmtree(tmp_path / "run" / "vtk")
    assert "the pictures could not be drawn" in report_page(tmp_path / "run").read_text()
    with pytest.raises(InputError, match="not a readable history"):
        report_page(tmp_path)


def test_stages_are_closer_at_first():
    assert chosen([1]) == [0]
    assert chosen([1, 2, 3, 4, 5, 20, 40, 60, 80, 100]) == [0, 2, 4, 5, 6, 9]
