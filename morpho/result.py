"""What a run came to."""

from __future__ import annotations

import resource
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpi4py import MPI

import numpy as np
from numpy.typing import NDArray

import morpho
from morpho.feasibility import Response, responses
from morpho.gradients import sharing
from morpho.interfaces import Array, Status

if TYPE_CHECKING:
    from morpho.parts import Parts
    from morpho.record import Recorder
    from morpho.solve import Step

VANISHED = 1e-3  #: volume fraction of a design that is nothing


@dataclass(frozen=True)
class Result:
    """The returned design and the figures of result.json. Scalars are equal on all ranks."""

    name: str
    status: Status
    message: str
    objective: float  #: of the returned design, by an exact solve; nan if there is none
    volume: float
    iterations: int
    exact_solves: int
    linear_iterations: int
    wall_seconds: float
    setup_seconds: float
    peak_rss_bytes: int
    n_cells: int
    n_design: int
    n_dofs: int
    ranks: int
    source: str
    feasible: bool  #: whether every constraint is met, to a relative 1e-3; False if there is no design
    responses: dict[str, Response]  #: value and limit of every constraint
    compliance: dict[str, float]  #: of every load case; empty if a function of the user's was minimised
    constraints: list[float]  #: normalised, feasible when <= 0
    x: Array  #: (n,) design variable, owned cells
    rho: Array  #: (n,) physical density, owned cells
    key: NDArray[np.int64]  #: (n,) number of each owned cell, the same on any number of ranks
    folder: Path | None
    network: dict[str, Any] | None = None  #: of onsg and prosg, for `solve(network=)` with another problem

    def to_dict(self) -> dict[str, Any]:
        """What stands in result.json (local)."""
        left_out = {"x", "rho", "key", "folder", "status", "network"}
        values = {k: v for k, v in vars(self).items() if k not in left_out}
        values["responses"] = {name: response.to_dict() for name, response in self.responses.items()}
        return {
            "name": self.name,
            "status": self.status.name.lower(),
            **values,
            "morpho_version": morpho.__version__,
        }


def make_result(parts: Parts, last: Step | None, status: Status, failure: str, recorder: Recorder) -> Result:
    """Collect the figures of a run that ended with step `last` (collective)."""
    nothing = np.zeros(0)
    found = responses(parts.responses.bounds, [float(g) for g in last.constraints]) if last else {}
    is_feasible = last is not None and all(response.feasible for response in found.values())
    return Result(
        name=parts.problem.name,
        status=status,
        message=_message(status, failure, last, is_feasible),
        objective=last.objective if last else float("nan"),
        volume=last.volume if last else float("nan"),
        iterations=last.iteration if last else 0,
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
