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
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from mpi4py import MPI

from morpho.interfaces import Status
from morpho.terminal import ENDS

log = logging.getLogger("morpho")

AT_ONCE = 1.0  #: seconds; what comes sooner is the same Ctrl-C, handed on by several processes
LAPS = 5  #: iterations of late, of which the longest says what the next one takes
MARGIN = 1.2  #: of its time, for what is written at the end


class Clock:
    """What is left of a time limit in seconds, which several runs may share."""

    def __init__(self, seconds: float | None) -> None:
        self._end = None if seconds is None else time.monotonic() + seconds

    def left(self) -> float | None:
        """Seconds by this rank's clock, None without a limit (local)."""
        return None if self._end is None else self._end - time.monotonic()


class Interrupt:
    """Context manager that notes signals instead of raising in the middle of a collective call.

    A second SIGINT acts at once. A SIGHUP that is ignored, as under nohup, stays ignored. A closed pipe is an error for
    who writes to it, not a signal. Outside the main thread signals are left alone.

    With a time limit in seconds it also asks for an end before an iteration that would not come to its own in time.
    """

    def __init__(self, comm: MPI.Comm, time_limit: float | None = None) -> None:
        self.comm = comm
        self._end = None if time_limit is None else time.monotonic() + time_limit
        self._laps: deque[float] = deque(maxlen=LAPS)
        self._looked_at = time.monotonic()
        self._times = 1.0
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

    @contextmanager
    def slower(self, times: float) -> Iterator[None]:
        """Meanwhile the iterations to be ready for take so many times as long as those that are done (local)."""
        self._times = times
        try:
            yield
        finally:
            self._times = 1.0

    def requested(self) -> Status | None:
        """How to stop, where any rank was asked to or the time is up by rank 0's clock (collective)."""
        now = time.monotonic()
        self._laps.append(now - self._looked_at)
        self._looked_at = now
        is_late = (
            self.comm.rank == 0 and self._end is not None and now + MARGIN * self._times * max(self._laps) > self._end
        )
        asked = self._noted_at is not None
        return {2: Status.INTERRUPTED, 1: Status.TIME_LIMIT}.get(self.comm.allreduce(2 * asked or is_late, MPI.MAX))
