"""A design that fills little of its box, to black and white; scripts/bench_engine.py dilute has a larger one."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import morpho

PROBLEMS = Path(__file__).parents[2] / "problems"


def test_a_dilute_design_stays_solvable():
    """Volume 0.05, a radius of 1.5 cells, beta to 32: bounded iterations, and late designs without their void."""
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
    assert max(np.diff(taken)) <= 60
    assert step.greyness < 0.02
    assert np.mean(step.rho < 1e-3) > 0.8
