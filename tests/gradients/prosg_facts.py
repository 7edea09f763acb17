"""What prosg finds in its learned form, on any number of ranks."""

from __future__ import annotations

import sys
from typing import Any

from mpi4py import MPI

from helpers import main
from two_scale_problems import by_key_of, cantilever

from morpho.solve import iterate


def facts(comm: MPI.Comm) -> dict[str, Any]:
    """The last design of a short run."""
    problem = cantilever("prosg", 3, 20, prosg={"form": "learned"})
    *_, last = iterate(problem, comm)
    return {"objective": last.objective, "rho": by_key_of(last, problem, comm)}


if __name__ == "__main__":
    main(facts, *sys.argv[1:])
