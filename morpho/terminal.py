"""The terminal as a run finds it: closed, closed in the middle, or gone; and signals before the first iteration."""

from __future__ import annotations

import logging
import os
import signal
import sys
from contextlib import suppress
from types import FrameType
from typing import NoReturn

ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)  #: they ask for an end


class Ended(BaseException):
    """A signal asked for an end before there was a run to note it; unlike KeyboardInterrupt, typer leaves it alone."""


def mend_streams() -> None:
    """Put /dev/null where standard input, output or error is closed: the next file opened would take its place."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))


def end_by_signals() -> None:
    """Until a run notes them itself, let the signals that ask for an end raise `Ended`."""
    for number in ENDS:
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _raise)


def flush() -> None:
    """Write out what there is; who read it may be gone."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class Lines(logging.StreamHandler):
    """The log on a stream; once nobody reads it any more it is silent, and the run goes on."""

    def handleError(self, record: logging.LogRecord) -> None:
        self.setLevel(logging.CRITICAL + 1)


def _raise(number: int, frame: FrameType | None) -> NoReturn:
    raise Ended
