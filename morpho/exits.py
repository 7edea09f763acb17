"""How the command line ends where it does not come to its end: words on rank 0, a status, and no rank left waiting."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

from morpho.errors import MorphoError


def complain(error: MorphoError, code: int = 2) -> int:
    """Print complaints once, on rank 0."""
    if rank() == 0:
        for line in str(error).splitlines():
            print(f"error: {line}", file=sys.stderr, flush=True)
    return code


def interrupted() -> int:
    """An end before there is anything to write; ranks that do not know of it are ended too."""
    if rank() == 0:
        print("interrupted before the first iteration; nothing was written", file=sys.stderr, flush=True)
    abort_others(130)
    return 130


def abort_others(code: int) -> None:
    if "mpi4py.MPI" in sys.modules:
        from mpi4py import MPI

        if MPI.COMM_WORLD.size > 1:
            MPI.COMM_WORLD.Abort(code)


def usage(error: Exception) -> int:
    """A wrong command line ends with 2; anything else is a defect and must not leave other ranks waiting."""
    show: Callable[..., Any] | None = getattr(error, "show", None)
    if show is not None:
        if rank() == 0:
            show()
        return 2
    traceback.print_exc()
    sys.stderr.flush()
    abort_others(1)
    return 1


def rank() -> int:
    """Rank of this process, also before MPI has started."""
    if "mpi4py.MPI" in sys.modules:
        from mpi4py import MPI

        return int(MPI.COMM_WORLD.rank)
    return int(os.environ.get("OMPI_COMM_WORLD_RANK", os.environ.get("PMI_RANK", "0")))
