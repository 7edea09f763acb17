"""What prosg finds in its learned form, on any number of ranks."""

from __future__ import annotations

import sys
from typing import Any

from mpi4py import MPI

from helpers import main
from two_scale_problems import cantilever, finished


def facts(comm: MPI.Comm) -> dict[str, Any]:
    """The last design of a short run."""
    problem = cantilever("prosg", 3, 20, prosg={"form": "learned"})
    (*_, last), rho = finished(problem, comm)
    return {"objective": last.objective, "rho": rho}


if __name__ == "__main__":
    main(facts, *sys.argv[1:])
