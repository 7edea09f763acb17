"""The Python interface, as a user's own script calls it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from mpi4py import MPI

import numpy as np
import pytest
from running import ROOT, write_mbb

import morpho
from morpho.errors import InputError
from morpho.gradients import registry
from morpho.gradients.exact import Exact, Physics
from morpho.interfaces import Array, Gradient

COMM = MPI.COMM_SELF


@pytest.fixture
def problem(tmp_path: Path) -> morpho.Problem:
    return morpho.load_problem(write_mbb(tmp_path), ["optimizer.max_iterations=6"])


@pytest.fixture
def no_new_sources(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Forget what a test registers."""
    monkeypatch.setattr(registry, "_factories", dict(registry._factories))
    yield


def test_importing_is_cheap() -> None:
    code = "import sys, morpho; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    heavy = {"dolfinx", "torch", "pyvista", "vtkmodules", "petsc4py", "mpi4py", "numpy", "meshio", "gmsh", "pydantic"}
    assert not heavy & set(done.stdout.split())


def test_the_function_solve_is_not_hidden_by_its_module() -> None:
    code = "import morpho; morpho.iterate; from morpho.step import Step; import morpho.run"
    command = [sys.executable, "-c", f"{code}; print(morpho.solve.__name__)"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    assert done.stdout == b"solve\n"


def test_public_names() -> None:
    for name in morpho.__all__:
        assert getattr(morpho, name) is not None
    assert set(morpho.__all__) <= set(dir(morpho))
    assert callable(morpho.solve) and callable(morpho.resume)
    assert callable(morpho.gradients.register)
    with pytest.raises(AttributeError, match="no attribute 'optimise'"):
        morpho.optimise  # noqa: B018


def test_the_shell_completes_verbs() -> None:
    environment = dict(os.environ, _MORPHO_COMPLETE="complete_bash", COMP_WORDS="morpho so", COMP_CWORD="1")
    done = subprocess.run([sys.executable, "-m", "morpho"], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.stdout.split() == ["solve", "sources"]


def test_solve_without_output_writes_nothing(
    problem: morpho.Problem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    result = morpho.solve(problem, comm=COMM)
    assert list((tmp_path / "here").iterdir()) == []
    assert result.folder is None
    assert result.status is morpho.Status.ITERATION_LIMIT
    assert (result.iterations, result.ranks, result.n_design, result.n_dofs) == (6, 1, 48, 130)
    assert result.rho.shape == result.x.shape == (48,)
    assert result.rho.mean() == pytest.approx(result.volume) == pytest.approx(0.5)


def test_solve_with_output(problem: morpho.Problem, tmp_path: Path) -> None:
    result = morpho.solve(problem, tmp_path / "run", comm=COMM)
    assert result.folder == tmp_path / "run"
    assert "it 6, objective" in (tmp_path / "run" / "log.txt").read_text()
    assert result.objective == morpho.solve(problem, comm=COMM).objective


def test_own_loop(problem: morpho.Problem) -> None:
    steps = list(morpho.iterate(problem, comm=COMM))
    assert [step.iteration for step in steps] == [1, 2, 3, 4, 5, 6]
    assert [step.status for step in steps] == [None] * 5 + [morpho.Status.ITERATION_LIMIT]
    assert steps[-1].objective == morpho.solve(problem, comm=COMM).objective
    first = steps[0]
    assert isinstance(first.gradient, Gradient)
    assert first.gradient.compliance == first.objective
    assert first.gradient.d_compliance.shape == first.rho.shape == (48,)
    assert (first.gradient.d_compliance <= 0).all()
    np.testing.assert_allclose(first.rho, 0.5, rtol=1e-14)
    assert steps[1].x is not first.x
    assert np.abs(steps[1].x - first.x).max() == pytest.approx(first.change)


def test_leaving_the_loop_early(problem: morpho.Problem) -> None:
    for step in morpho.iterate(problem, comm=COMM):
        if step.iteration == 3:
            break
    assert step.iteration == 3
    assert step.exact_solves == 3
    # What the loop held is free, and another run goes as if there had been none.
    assert morpho.solve(problem, comm=COMM).iterations == 6


def test_problem_from_python(problem: morpho.Problem) -> None:
    own = morpho.Problem(
        name="mbb",
        mesh={"box": {"size": [12, 4], "cells": [12, 4]}},
        supports=[
            {"region": {"plane": {"axis": "x", "at": 0}}, "fix": "x"},
            {"region": {"points": [[12, 0]]}, "fix": "y"},
        ],
        loads=[{"name": "tip", "forces": [{"region": {"points": [[0, 4]]}, "total": [0, -1]}]}],
        constraints=[{"volume_fraction": 0.5}],
        design={"filter": {"kind": "cone", "radius": 1.5}},
        optimizer={"max_iterations": 6},
    )
    assert own == problem
    with pytest.raises(ValueError, match="raduis"):
        morpho.Problem(**own.model_dump(exclude={"design"}), design={"filter": {"raduis": 1.5}})


@pytest.mark.parametrize(
    ("part", "fragment"),
    [
        (
            {"constraints": [{"volume_fraction": 0.5}] * 2, "optimizer": {"kind": "oc"}},
            "oc takes compliance with one volume constraint",
        ),
        ({"loads": [{"name": "tip"}]}, "the case does nothing"),
        ({"loads": [{"forces": [{"body": [0, 0, 1]}]}]}, "got 3 numbers, the mesh is 2-dimensional"),
        ({"gradient": {"source": "exakt"}}, "did you mean 'exact'?"),
    ],
)
def test_contradictions_are_found_before_any_solve(
    problem: morpho.Problem, tmp_path: Path, part: dict, fragment: str
) -> None:
    wrong = morpho.Problem(**(problem.model_dump(exclude_none=True) | part))
    with pytest.raises(InputError, match=fragment.replace("?", r"\?")):
        morpho.solve(wrong, tmp_path / "run", comm=COMM)
    assert not (tmp_path / "run").exists()


class TooStiff:
    """A user's source: exact in every third iteration, in between off by a factor."""

    supervised = False

    def __init__(self, physics: Physics) -> None:
        self.exact, self.calls = Exact(physics), 0

    def estimate(self, rho: Array) -> Gradient:
        self.calls += 1
        gradient = self.exact.estimate(rho)
        if self.calls % 3 == 1:
            return gradient
        return replace(gradient, cases=0.9 * gradient.cases, d_cases=0.9 * gradient.d_cases, kind="estimated")

    def learn(self, rho: Array, exact: Gradient) -> None:
        """Nothing."""


@pytest.mark.usefixtures("no_new_sources")
def test_own_gradient_source(tmp_path: Path) -> None:
    morpho.gradients.register("mine", TooStiff)
    assert {"exact", "mine"} <= set(morpho.gradients.names())
    limit = ["optimizer.max_iterations=6"]
    mine = morpho.load_problem(write_mbb(tmp_path, "gradient: {source: mine}"), limit)
    exact = morpho.load_problem(write_mbb(tmp_path), limit)
    steps = list(morpho.iterate(mine, comm=COMM))
    assert [step.gradient.kind for step in steps] == ["exact", "estimated", "estimated"] * 2
    assert [step.exact_solves for step in steps] == [1, 1, 1, 2, 2, 2]

    result = morpho.solve(mine, tmp_path / "run", comm=COMM)
    truth = morpho.solve(exact, comm=COMM)
    # A constant factor does not change what optimality criteria do, so the designs agree; the last objective is exact.
    np.testing.assert_allclose(result.rho, truth.rho, atol=1e-9)
    assert steps[-1].objective == pytest.approx(0.9 * truth.objective)
    assert result.objective == pytest.approx(truth.objective)
    assert result.exact_solves == 3
    assert result.source == "mine"
    kinds = [line.split(",")[2] for line in (tmp_path / "run" / "history.csv").read_text().splitlines()]
    assert kinds[1:] == ["exact", "estimated", "estimated"] * 2
