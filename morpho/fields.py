"""The full-size fields of a run on the voxel engine: what each takes, and when it is there.

Memory is highest either while a state is solved for, or while the optimizer looks for the next design; fields that are
there in neither are left out. `scripts/bench_engine.py memory` compares the sums with what is measured.
"""

from __future__ import annotations

from dataclasses import dataclass

from morpho.fem.voxel.work import SPARED
from morpho.gradients import registry
from morpho.gradients.two_scale import FEW
from morpho.problem.spec import Problem


@dataclass(frozen=True)
class Field:
    """An array, or several of a kind."""

    name: str
    size: float  #: bytes per element, a node counted as one
    solve: bool  #: whether it is there while a state is solved for
    update: bool  #: whether it is there while the optimizer looks for the next design
    life: str


def fields(problem: Problem, dim: int, cells: float) -> list[Field]:
    """Of a problem on the voxel engine, with so many elements on a rank (local)."""
    c = 1 if problem.physics == "heat" else dim
    cases = len(problem.loads) + 2 * len(problem.probes)
    states = len(problem.loads) + len(problem.probes)
    finer = 2**dim - 1  #: elements of the coarser grids together, inverse
    projected = problem.design.projection is not None
    little = _stays(c, cells)
    found = [
        Field("displacements, float64", 8 * c * states, True, True, "the run"),
        Field("load and residual, then the cycle's x and r", 8 * c, True, little, "a solve"),
        Field("Krylov residual b", max(4 * c, 8), True, little, "a solve"),
        Field("direction p", 4 * c, True, little, "a solve"),
        Field("moduli and smoother's weights of the finest grid", 8, True, little, "a solve"),
        Field("coarser grids", (16 * c + 8) / finer, True, little, "a solve"),
        Field("design variable x", 8, True, True, "the run"),
        Field("x of the step before, for a failure, 16 bits", 2, True, True, "until the next step"),
        Field("physical density", 8, True, True, "a step"),
        Field("derivatives of the load cases, float32", 4 * cases, False, True, "a step"),
        Field("derivatives of objective and constraints", 8 + 8 * len(problem.constraints), False, True, "the update"),
        Field("the next x and what it is made from", 16, False, True, "the update"),
    ]
    if problem.gradient.source == "exact":
        found.append(Field("strain energies", 8 * cases, False, True, "a step"))
    if projected:
        found.append(Field("x with what is around it, density of a trial", 16, False, True, "the update"))
    if problem.update == "mma":
        found.append(Field("designs and asymptotes of MMA, its approximation", 100, False, True, "the update"))
    if problem.update == "simpl":
        found.append(Field("what SiMPL measures the next step by", 24, True, True, "until the next step"))
    if not registry.uses_blocks(problem.gradient.source):
        return found
    return found + _of_blocks(problem, c, cases, states, dim, cells)


def _stays(c: int, cells: float) -> bool:
    """Whether the work arrays of a grid are little enough to stay between solves, see `work`."""
    return 16 * c * cells <= SPARED


def _of_blocks(problem: Problem, c: int, cases: int, states: int, dim: int, cells: float) -> list[Field]:
    """What a source that works on blocks keeps beside."""
    size = problem.gradient.block**dim
    found = [
        Field("x of the last exact design, float32, its density, 16 bits", 6, True, True, "until the next exact one"),
        Field("derivatives at the last exact design, float32", 4 * cases, True, True, "until the next exact one"),
        Field("ratios of exact and coarse energies, float32", 4 * cases, True, True, "until the next exact one"),
        Field("displacements of the blocks", 8 * c * states / size, True, True, "the run"),
        Field("those at the last exact design", 8 * c * states / size, cells <= FEW, True, "until the next exact one"),
    ]
    if problem.update == "simpl":
        found.append(Field("what SiMPL went on from there", 24, True, True, "until the next exact one"))
    if cells <= FEW:
        found.append(Field("coarse energies, float32", 4 * cases, True, False, "a step"))
    if _stays(c, cells / size):
        found.append(
            Field("work arrays of the blocks", (16 * c + 16) / size, True, True, "the run, where they are little")
        )
    if problem.gradient.source != "secant":
        onsg = problem.gradient.onsg
        past = 1 if onsg.form_in(dim) == "pretrained" else onsg.window
        seen = 17 if past == 1 else 19 * past  # of one design without those fields of blocks that do not change
        found += [
            Field("what the network saw at the last exact designs", seen * cases, True, True, "some exact ones"),
            Field("block of each cell, numbers of cells at corners", 6, True, True, "the run"),
            Field("base of its answer", 4 * cases, True, True, "until the next exact one"),
        ]
    return found


def at_solve(found: list[Field]) -> float:
    """Bytes per element while a state is solved for (local)."""
    return sum(field.size for field in found if field.solve)


def at_update(found: list[Field]) -> float:
    """Bytes per element while the optimizer looks for the next design (local)."""
    return sum(field.size for field in found if field.update)
