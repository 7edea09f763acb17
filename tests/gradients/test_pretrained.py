"""The form of onsg whose network was trained before and ships with morpho."""

import subprocess
import sys

from mpi4py import MPI

import numpy as np
import pytest
from helpers import box, make_problem, plane, random_cells
from two_scale_problems import cantilever, run_steps

import morpho
from morpho.errors import InputError
from morpho.gradients import Tools, create
from morpho.gradients.anchored import Anchored, shipped
from morpho.gradients.exact import Exact
from morpho.gradients.features import NAMES
from morpho.gradients.onsg import Onsg
from morpho.parts import Parts
from morpho.problem.gradient_spec import OnsgSpec


def pretrained(iterations=30, **gradient):
    return cantilever("onsg", 3, iterations, onsg={"form": "pretrained"}, **gradient)


@pytest.mark.parametrize("block", [2, 4, 8])
def test_the_network_fits_the_features(block):
    weights = shipped(block)
    assert weights.W.shape == (24, len(NAMES)) and weights.b.shape == weights.w.shape == (24,)
    assert all(np.isfinite(part).all() for part in (weights.W, weights.b, weights.w))


def test_it_is_the_default_in_three_dimensions_if_nothing_else_is_set():
    assert OnsgSpec().form_in(3) == "pretrained"
    assert OnsgSpec().form_in(2) == OnsgSpec(hidden=12).form_in(3) == OnsgSpec(form="anchored").form_in(3) == "anchored"
    for dim, kind in ((3, Anchored), (2, Onsg)):
        pull = [{"forces": [{"region": plane("x", 1), "total": [1.0] * dim}]}]
        with Parts(make_problem(box([4] * dim), gradient={"source": "onsg"}, loads=pull), MPI.COMM_SELF) as parts:
            assert type(parts.source) is kind


def test_where_nothing_changed_it_is_exact():
    with Parts(pretrained(), MPI.COMM_SELF) as parts:
        rho = random_cells(parts.mesh, 0.6, 1.0)
        exact = Exact(parts.physics).estimate(rho)
        parts.source.learn(rho, exact)
        found = parts.source.estimate(rho).d_cases
        np.testing.assert_allclose(found, exact.d_cases, rtol=1e-4, atol=1e-5 * np.abs(exact.d_cases).max())


@pytest.mark.parametrize("block", [2, 4])
def test_it_is_nearer_to_unseen_gradients_than_the_secant(block):
    """Five designs after an exact one, in the median over a run."""
    with Parts(pretrained(block=block), MPI.COMM_SELF) as parts:
        tools = Tools(parts.physics, parts.problem.gradient)
        sources = [create(name, parts.physics, tools) for name in ("onsg", "secant")]
        ratios = []
        for step in run_steps(cantilever("exact", 3, 40)):
            exact = step.gradient
            if step.iteration % 5 == 0:
                if step.iteration > 5:
                    ours, theirs = (
                        np.linalg.norm(s.estimate(step.rho).d_compliance - exact.d_compliance) for s in sources
                    )
                    ratios.append(ours / theirs)
                for source in sources:
                    source.learn(step.rho, exact)
    assert np.median(ratios) < 0.95


def test_a_run_goes_on_where_it_stopped(tmp_path):
    whole, _ = (morpho.solve(pretrained(n, enough=0), tmp_path / str(n), MPI.COMM_SELF) for n in (24, 14))
    problem = morpho.load_problem(tmp_path / "14" / "problem.yaml", ["optimizer.max_iterations=24"])
    assert morpho.resume(tmp_path / "14", problem, MPI.COMM_SELF).objective == pytest.approx(whole.objective, rel=1e-2)


def test_it_takes_no_torch(tmp_path):
    file = tmp_path / "given.yaml"
    file.write_text(morpho.problem.dump_problem(pretrained(12)))
    code = f"import sys, morpho; morpho.solve(morpho.load_problem({str(file)!r})); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=120).returncode == 0


def test_what_it_is_not():
    with pytest.raises(InputError, match="knows 3-D only"):
        Parts(cantilever("onsg", 2, onsg={"form": "pretrained"}), MPI.COMM_SELF)
    with pytest.raises(ValueError, match="pretrained is as it is, and takes no hidden and no window; use anchored"):
        OnsgSpec(form="pretrained", hidden=12, window=2)
