"""What can go wrong, as exceptions that are raised on every rank together."""

from __future__ import annotations

from collections.abc import Sequence


class MorphoError(Exception):
    """Base of all errors raised by morpho."""


def in_words(error: BaseException) -> str:
    """The type of an exception and what it says, if it says anything."""
    try:
        said = str(error)
    except Exception:  # of the user's own types
        said = ""
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


class InputError(MorphoError, ValueError):
    """Bad input, found before any solve; holds every complaint at once."""

    def __init__(self, complaints: Sequence[str] | str) -> None:
        self.complaints = [complaints] if isinstance(complaints, str) else list(complaints)
        super().__init__("\n".join(self.complaints))


class SolverError(MorphoError, RuntimeError):
    """The numerics failed: a linear solve did not converge, or a value is not finite."""


class StorageError(MorphoError, OSError):
    """A result could not be written (disk full, no permission)."""


class NotFiniteError(SolverError):
    """A value became infinite or NaN."""


class OwnCodeError(MorphoError, RuntimeError):
    """A function or a gradient source of the user's failed."""
