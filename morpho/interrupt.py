"""Ctrl-C, SIGTERM, SIGUSR1 and SIGHUP end a run after the iteration under way, on all ranks together.

Open MPI's mpirun does not wait for that on the first two: a quarter of a second later it kills the ranks. It passes
SIGUSR1 on (`kill -USR1` to mpirun; `#SBATCH --signal=USR1@300` under SLURM) and waits; `scripts/bin/mpirun` makes
SIGUSR1 of the others.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from types import FrameType
from typing import Any

from mpi4py import MPI

from morpho.parallel import any_rank
from morpho.terminal import ENDS

log = logging.getLogger("morpho")

AT_ONCE = 1.0  #: seconds; what comes sooner is the same Ctrl-C, handed on by several processes


class Interrupt:
    """Context manager that notes signals instead of raising in the middle of a collective call.

    A second SIGINT acts at once. A SIGHUP that is ignored, as under nohup, stays ignored. A closed pipe is an error for
    who writes to it, not a signal. Outside the main thread signals are left alone.
    """

    def __init__(self, comm: MPI.Comm) -> None:
        self.comm = comm
        self._noted_at: float | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            for number in ENDS:
                if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._note)
            self._before[signal.SIGPIPE] = signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)

    def _note(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._noted_at is None:
            self._noted_at = now
            if self.comm.rank == 0:
                log.warning("stopping after this iteration; Ctrl-C again to stop at once, without its result")
        elif number == signal.SIGINT and now > self._noted_at + AT_ONCE:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    def requested(self) -> bool:
        """Whether any rank was asked to stop (collective)."""
        return any_rank(self.comm, self._noted_at is not None)
