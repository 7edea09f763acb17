"""What a run came to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mpi4py import MPI

import numpy as np
from numpy.typing import NDArray

from morpho.feasibility import Response
from morpho.interfaces import Array, Status
from morpho.version import VERSION


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
    von_mises: dict[str, float]  #: highest, times the root of the density, of every load case; in elasticity
    constraints: list[float]  #: normalised, feasible when <= 0
    x: Array  #: (n,) design variable, owned cells
    rho: Array  #: (n,) physical density, owned cells
    key: NDArray[np.int64]  #: (n,) number of each owned cell, the same on any number of ranks
    folder: Path | None
    network: dict[str, Any] | None = None  #: of onsg and prosg, for `solve(network=)` with another problem

    def whole(self, values: Array | None = None, comm: MPI.Comm | None = None) -> Array | None:
        """(n_cells, ...) values of all cells in the order of their numbers on rank 0, None on others (collective).

        The numbers are those of the cells in the mesh file; in a box x is fastest, then y, then z; in a part that is
        filled with voxels only those inside count. Of a refined mesh the children of a cell follow each other.

        Args:
            values: (n, ...) of the owned cells, default `rho`.
            comm: the one that the run was on.
        """
        comm = comm or MPI.COMM_WORLD
        parts = comm.gather((self.key, self.rho if values is None else values))
        if parts is None:
            return None
        keys, found = (np.concatenate(column) for column in zip(*parts, strict=True))
        return np.asarray(found[np.argsort(keys)])

    def to_dict(self) -> dict[str, Any]:
        """What stands in result.json (local)."""
        left_out = {"x", "rho", "key", "folder", "status", "network"}
        values = {k: v for k, v in vars(self).items() if k not in left_out}
        values["responses"] = {name: response.to_dict() for name, response in self.responses.items()}
        return {
            "name": self.name,
            "status": self.status.name.lower(),
            **values,
            "morpho_version": VERSION,
        }
