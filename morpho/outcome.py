"""The figures of a run that has ended, and the sentence about it."""

from __future__ import annotations

import resource
import time

from mpi4py import MPI

import numpy as np

from morpho.feasibility import Response, responses
from morpho.gradients import sharing
from morpho.interfaces import Status
from morpho.parts import Parts
from morpho.record import Recorder
from morpho.result import Result
from morpho.step import Step
from morpho.stopping import FEASIBLE

VANISHED = 1e-3  #: volume fraction of a design that is nothing


def make_result(parts: Parts, last: Step | None, status: Status, failure: str, recorder: Recorder) -> Result:
    """Collect the figures of a run that ended with step `last` (collective)."""
    nothing = np.zeros(0)
    found = responses(parts.responses.bounds, [float(g) for g in last.constraints]) if last else {}
    own = {name: limit for _, part in parts.evolving for name, limit in part.limits().items()} if last else {}
    found |= {name: Response(value, limit, value <= (1 + FEASIBLE) * limit) for name, (value, limit) in own.items()}
    is_feasible = last is not None and all(response.feasible for response in found.values())
    return Result(
        name=parts.problem.name,
        status=status,
        message=_message(status, failure, last, is_feasible),
        objective=last.objective if last else float("nan"),
        volume=last.volume if last else float("nan"),
        iterations=min(last.iteration, parts.problem.optimizer.max_iterations) if last else 0,
        exact_solves=last.exact_solves if last else 0,
        linear_iterations=last.linear_iterations if last else 0,
        wall_seconds=recorder.wall_before + time.perf_counter() - recorder.start,
        setup_seconds=recorder.setup_seconds,
        peak_rss_bytes=peak_memory(parts.comm),
        n_cells=parts.mesh.n_global,
        n_design=parts.design.n_design,
        n_dofs=parts.physics.n_dofs,
        ranks=parts.comm.size,
        source=parts.problem.gradient.source,
        feasible=is_feasible,
        responses=found,
        compliance=_compliance(parts, last),
        von_mises=_von_mises(parts, last),
        constraints=[float(g) for g in last.constraints] if last else [],
        x=last.x if last else nothing,
        rho=last.rho if last else nothing,
        key=np.asarray(parts.mesh.key if last else nothing, np.int64),
        folder=recorder.folder,
        network=sharing.network_of(parts.problem, parts.source),
    )


def _compliance(parts: Parts, last: Step | None) -> dict[str, float]:
    if last is None or parts.problem.objective.function is not None:
        return {}
    return {name: float(value) for name, value in zip(parts.physics.cases, last.gradient.cases, strict=False)}


def _von_mises(parts: Parts, last: Step | None) -> dict[str, float]:
    """The highest root of density times stress of the solid, by load case (collective)."""
    if last is None or parts.problem.physics != "elasticity":
        return {}
    root, comm = np.sqrt(last.rho), parts.comm
    return {
        name: float(comm.allreduce(float((root * parts.physics.von_mises(i)).max(initial=0)), MPI.MAX))
        for i, name in enumerate(parts.physics.cases)
    }


def _message(status: Status, failure: str, last: Step | None, is_feasible: bool) -> str:
    if failure and last is None:
        return f"Failed before the first design was done: {failure}"
    text = f"{status.value} ({failure})" if failure else status.value
    if last is not None and last.volume < VANISHED:
        text += (
            " Next to nothing is left of the design; try smaller steps (optimizer.move_limit), another start "
            "(design.initial) or a cone filter."
        )
    return text if is_feasible else f"{text} The design does not meet its constraints."


def peak_memory(comm: MPI.Comm) -> int:
    """Peak resident memory in bytes, summed over the ranks (collective)."""
    return int(comm.allreduce(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024))
