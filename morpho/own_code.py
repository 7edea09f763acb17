"""Whose code an exception comes from: of the user's, of morpho's or of a library's. All functions are local."""

from __future__ import annotations

import sysconfig
import traceback
from pathlib import Path

from morpho.errors import OwnCodeError, in_words

PACKAGE = Path(__file__).resolve().parent
LIBRARIES = {"site-packages", "dist-packages"}


def is_own(error: BaseException) -> bool:
    """Whether it was raised in a function or source of the user's, or by what that called."""
    return isinstance(error, OwnCodeError) or _own_frame(error) is not None


def described(error: BaseException) -> str:
    """The exception in words, with the line of the user's that it comes from, else the last one."""
    if isinstance(error, OwnCodeError):
        return str(error)
    frame = _own_frame(error) or (traceback.extract_tb(error.__traceback__) or [None])[-1]
    text = in_words(error)
    return text if frame is None else f"{text}, in {frame.filename}, line {frame.lineno}"


def _own_frame(error: BaseException) -> traceback.FrameSummary | None:
    frames = traceback.extract_tb(error.__traceback__)
    return next((frame for frame in reversed(frames) if not _is_library(frame.filename)), None)


def _is_library(filename: str) -> bool:
    if filename.startswith("<frozen"):
        return True
    path = Path(filename)
    standard = [Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")]
    return bool(LIBRARIES & set(path.parts)) or any(path.is_relative_to(folder) for folder in (PACKAGE, *standard))
