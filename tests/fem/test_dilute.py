"""A design that fills little of its box, to black and white; scripts/bench_engine.py dilute has larger ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import morpho

PROBLEMS = Path(__file__).parents[2] / "problems"


@pytest.fixture(scope="module")
def run():
    """Volume 0.05, a radius of 1.5 cells, beta to 32: linear iterations of each design, and the last step."""
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
    taken = [0]
    for step in morpho.iterate(problem):
        taken.append(step.linear_iterations)
    return np.diff(taken), step


def test_a_dilute_design_takes_at_most_sixty_iterations(run):
    taken, step = run
    assert max(taken) <= 60
    assert step.greyness < 0.02 and np.mean(step.rho < 1e-3) > 0.8
