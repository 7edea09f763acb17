"""Coarser grids first: most of a design is found there, at a small part of the cost.

Each grid is a problem of its own. The plan of iterations goes on from one to the next, and with it every continuation.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from mpi4py import MPI

import numpy as np

from morpho.errors import InputError, SolverError
from morpho.gradients.sharing import give_network, network_of
from morpho.interfaces import Array
from morpho.interrupt import Interrupt
from morpho.loop import design_loop
from morpho.mesh import Mesh, VoxelMesh
from morpho.parallel import failing_alike, raise_together
from morpho.parts import Parts
from morpho.problem.solving import Level, OptimizerSpec
from morpho.problem.spec import Problem
from morpho.progress import line
from morpho.results.history import HistoryRow
from morpho.rows import history_row
from morpho.start import Start, begin, with_volume
from morpho.step import Restart, Step
from morpho.transfer import transfer

log = logging.getLogger("morpho")

SMOOTH = 1.5  #: cells of a coarser grid that the filter spans at least


def begin_on_levels(parts: Parts, x0: Array | None, interrupt: Interrupt) -> Start:
    """Where a run starts: see `begin`, after the iterations on coarser grids where there are any (collective).

    An interrupt ends the grid under way, and the design goes on to the one asked for. A grid whose solves fail is left
    out, which the notes say.

    Raises:
        InputError: as in `begin`, or a coarser grid lacks what the problem names.
    """
    levels = shortened(parts.problem.optimizer)
    if not levels:
        return begin(parts, x0)
    raise_together(parts.comm, ["x0: optimizer.levels starts on coarser grids; leave it out"] if x0 is not None else [])
    network = network_of(parts.problem, parts.source)
    before, notes, rows = None, list[str](), list[HistoryRow]()
    for level in levels:
        problem = coarsened(parts.problem, level)
        with _opened(problem, level, parts.comm) as own, interrupt.slower(level.coarser**own.mesh.dim):
            if network is not None:
                give_network(problem, own.source, network)
            start = begin(own) if before is None else before.onto(own)
            log.info(f"on a grid coarser by {level.coarser}: {own.mesh.n_global} cells, up to iteration {level.until}")
            notes += start.notes
            done = list(rows)
            try:
                step = _last(own, start.restart, interrupt, level.coarser, rows)
            except SolverError as error:
                rows = done
                notes.append(f"warning: left out the grid coarser by {level.coarser}: {error}")
                continue
            notes.append(
                f"start: {own.mesh.n_global} cells, coarser by {level.coarser}, up to iteration {step.place}: "
                f"objective {step.objective:.6g}"
            )
            before, network = _Left(own, step, level.until), network_of(problem, own.source)
            if step.status is not None and step.status.is_cut_short:
                break
    if network is not None:
        give_network(parts.problem, parts.source, network)
    start = begin(parts) if before is None else before.onto(parts)
    return replace(start, notes=[*notes, *start.notes], rows=rows)


def _last(parts: Parts, restart: Restart, interrupt: Interrupt, coarser: int, rows: list[HistoryRow]) -> Step:
    """The last step of the iterations on a grid; rows grow by one for each (collective)."""
    for step in design_loop(parts, restart, interrupt):
        log.info(line(step, parts.parameters(step.place)))
        rows.append(history_row(parts, step, coarser))
        if step.status is not None:
            return step
    raise AssertionError("a design loop ends with a status")


def shortened(spec: OptimizerSpec) -> list[Level]:
    """The coarser grids; one that would take all iterations ends with half of them (local)."""
    most, found = spec.max_iterations, list[Level]()
    for level in spec.levels:
        until = level.until if level.until < most else most // 2
        if until > max((before.until for before in found), default=0):
            found.append(level.model_copy(update={"until": until}))
    return found


def check_levels(problem: Problem, comm: MPI.Comm) -> None:
    """Raise InputError where a coarser grid lacks what the problem names (collective)."""
    for level in problem.optimizer.levels:
        with _opened(coarsened(problem, level), level, comm):
            pass


def coarsened(problem: Problem, level: Level) -> Problem:
    """The problem on a grid that is coarser, with a filter of at least SMOOTH of its cells (local)."""
    times, given, optimizer = level.coarser, problem.mesh, problem.optimizer
    box, edge = given.box, math.inf
    if box is not None:
        box = box.model_copy(update={"cells": tuple(max(1, round(n / times)) for n in box.cells)})
        edge = max(length / (n * 2**given.refine) for length, n in zip(box.size, box.cells, strict=True))
    spacing = None if given.spacing is None else times * given.spacing
    least = SMOOTH * (spacing or edge)
    mesh = given.model_copy(update={"box": box, "spacing": spacing})
    filtered = problem.design.filter.model_copy(update=_wider(problem.design.filter.radius, least))
    design = problem.design.model_copy(update={"filter": filtered})
    stages = tuple(stage.model_copy(update=_wider(stage.radius, least)) for stage in optimizer.stages)
    plan = {"stages": stages, "levels": (), "max_iterations": level.until}
    gradient = problem.gradient.model_copy(update={"last": 0})  # its last objective is not asked for
    changes = {"mesh": mesh, "design": design, "gradient": gradient, "optimizer": optimizer.model_copy(update=plan)}
    return problem.model_copy(update=changes)


def _wider(radius: float | None, least: float) -> dict[str, float | None]:
    return {"radius": None if radius is None else max(radius, least)}


@contextmanager
def _opened(problem: Problem, level: Level, comm: MPI.Comm) -> Iterator[Parts]:
    """The parts of a coarser problem, whose complaints say which it is (collective)."""
    try:
        parts = Parts(problem, comm)
    except InputError as error:
        place = f"optimizer.levels, coarser by {level.coarser}"
        raise InputError([f"{place}: {text}" for text in error.complaints]) from None
    with parts, failing_alike(comm):
        yield parts


class _Left:
    """What the iterations on a grid leave to the next one."""

    def __init__(self, parts: Parts, step: Step, until: int) -> None:
        self.mesh: Mesh | VoxelMesh = parts.mesh
        self.x = step.restart.x
        keys = ("iteration", "ahead", "exact_solves", "linear_iterations")
        self.counts = {key: getattr(step.restart, key) for key in keys}
        if step.status is None or not step.status.is_cut_short:  # the rest of its plan is over
            self.counts["ahead"] = until - step.iteration

    def onto(self, parts: Parts) -> Start:
        """The start of a finer grid (collective)."""
        x = np.clip(transfer(self.mesh, self.x, parts.mesh).values, 0.0, 1.0)
        x, _ = with_volume(parts, np.array(parts.design.passive.apply(x)[0]), exact=False, note="")
        return Start(Restart(x=x, state=parts.optimizer.init(x, 0.0, 1.0), **self.counts))
