"""Ctrl-C, SIGTERM and SIGUSR1 end a run after the iteration under way, on all ranks together.

Open MPI's mpirun does not wait for that on Ctrl-C: a quarter of a second later it kills the ranks. It passes SIGUSR1
on (`kill -USR1` to mpirun; `#SBATCH --signal=USR1@300` under SLURM) and waits.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

from mpi4py import MPI

from morpho.parallel import any_rank


class Interrupt:
    """Context manager that notes SIGINT, SIGTERM and SIGUSR1 instead of raising in the middle of a collective call.

    A second SIGINT acts at once. Outside the main thread signals are left alone.
    """

    def __init__(self, comm: MPI.Comm) -> None:
        self.comm = comm
        self._noted = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._noted and number == signal.SIGINT:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self._noted = True

    def requested(self) -> bool:
        """Whether any rank was asked to stop (collective)."""
        return any_rank(self.comm, self._noted)
