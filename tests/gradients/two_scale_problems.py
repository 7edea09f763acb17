"""Small problems for the supervised sources, and what they find on any number of ranks."""

from __future__ import annotations

from typing import Any

from mpi4py import MPI

from helpers import box, by_key, make_problem, plane

from morpho.interrupt import Interrupt
from morpho.loop import design_loop
from morpho.parts import Parts
from morpho.problem import Problem
from morpho.run import iterate
from morpho.step import Step

SOURCES = ("inexact", "coarse", "secant", "rom", "onsg", "prosg", "sobolev", "bp_lambda")
CELLS = {2: [48, 24], 3: [24, 12, 12]}


def cantilever(source: str, dim: int = 3, iterations: int = 20, **gradient: Any) -> Problem:
    """Clamped at x = 0, pulled down along the lower edge of the far end; the iteration limit ends it.

    The network of onsg is trained in the run, also in 3-D.
    """
    if source == "onsg":
        gradient["onsg"] = {"form": "anchored"} | gradient.get("onsg", {})
    cells = CELLS[dim]
    down = [0.0] * (dim - 1) + [-1.0]
    end = {"all_of": [plane("x", 2), plane("xyz"[dim - 1], 0)]}
    return make_problem(
        box(cells, [2 * n / cells[0] for n in cells]),
        loads=[{"forces": [{"region": end, "total": down}]}],
        constraints=[{"volume_fraction": 0.2 if dim == 3 else 0.4}],
        design={"filter": {"kind": "cone", "radius": 3.2 / cells[0]}},
        gradient={"source": source} | gradient,
        optimizer={"max_iterations": iterations, "tolerance": 0, "objective_tolerance": 0},
        solver={"rtol": 1e-8},
    )


def two_cases(source: str, iterations: int = 12) -> Problem:
    """A bar on triangles, refined, under its own weight and a pull, in two load cases."""
    return make_problem(
        box([12, 6], [2.0, 1.0], "triangle", refine=2),
        loads=[
            {"name": "weight", "forces": [{"self_weight": [0, -0.1]}, {"region": plane("x", 2), "total": [0, -1]}]},
            {"name": "pull", "weight": 0.5, "forces": [{"region": plane("x", 2), "total": [1, 0.3]}]},
        ],
        constraints=[{"volume_fraction": 0.5}],
        design={"filter": {"kind": "cone", "radius": 0.08}},
        material={"E_min_ratio": 1e-6},
        gradient={"source": source, "block": 2, "iterations": 3, "correction_rtol": None},
        optimizer={"max_iterations": iterations, "tolerance": 0, "objective_tolerance": 0, "move_limit": 0.1},
        solver={"preset": "multigrid", "rtol": 1e-9},
    )


def finished(problem: Problem, comm: MPI.Comm) -> tuple[list[Step], Any]:
    """All steps, and the last rho in key order; another mesh of the same problem may order its cells otherwise."""
    with Parts(problem, comm) as parts, Interrupt(comm) as interrupt:
        steps = list(design_loop(parts, parts.start(), interrupt))
        return steps, by_key(parts.mesh, steps[-1].rho)


def run_steps(problem: Problem) -> list[Step]:
    """All steps of a run on this process (local)."""
    return list(iterate(problem, MPI.COMM_SELF))


def with_void(problem: Problem) -> Problem:
    """The same with void too stiff to be left out, so that exact solves are the same to the last bit in all sources."""
    return problem.model_copy(update={"material": problem.material.model_copy(update={"E_min_ratio": 1e-7})})
