"""A design that fills little of its box, to black and white; scripts/bench_engine.py dilute has larger ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import morpho
from morpho.results.history import read_history

PROBLEMS = Path(__file__).parents[2] / "problems"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Volume 0.05, a radius of 1.5 cells, beta to 32: its history and result."""
    problem = morpho.load_problem(
        PROBLEMS / "cantilever_3d.yaml",
        [
            "mesh.box.cells=[32,16,16]",
            "mesh.box.size=[2,1,1]",
            "design.filter.radius=0.09375",
            "design.projection={eta: 0.5, beta: {start: 1, max: 32, factor: 2, every: 8}}",
            "constraints[0].volume_fraction=0.05",
            "optimizer={kind: oc, max_iterations: 56, tolerance: 0, objective_tolerance: 0}",
            "material.penalty=3",
            "solver.rtol=1e-5",
        ],
    )
    folder = tmp_path_factory.mktemp("dilute") / "run"
    result = morpho.solve(problem, folder)
    return read_history(folder / "history.csv"), result


def test_a_dilute_design_takes_at_most_sixty_iterations(run):
    history, result = run
    assert max(np.diff(history["linear_iterations"], prepend=0)) <= 60
    assert "factor" in history["solver"] and history["solver"][0] == ""
    assert history["greyness"][-1] < 0.02 and np.mean(result.rho < 1e-3) > 0.8
