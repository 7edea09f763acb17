"""The table of a run, one row per design iteration."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from math import nan
from pathlib import Path

from mpi4py import MPI

import numpy as np
from numpy.typing import NDArray

from morpho.errors import InputError
from morpho.interfaces import Kind
from morpho.results.storage import replace_file, write_on_root


@dataclass(frozen=True)
class HistoryRow:
    """One design iteration; a value that the run does not have is nan."""

    iteration: int
    objective: float
    kind: Kind
    volume: float
    change: float
    greyness: float
    exact_solves: int  #: so far
    linear_iterations: int  #: so far
    seconds: float  #: of this iteration
    max_constraint: float = nan
    penalty: float = nan
    beta: float = nan
    radius: float = nan
    move_limit: float = nan
    #: exact, correction (solved loosely), estimate; fallback or secant (it stands in for a network that lost to it, or
    #: because it is good enough); jump (exact, where an extrapolation landed)
    step: str = "exact"
    since: int = 0  #: iterations since the last exact one or correction
    error: float = nan  #: of the source on a new exact gradient, before it learned from it
    secant_error: float = nan  #: of the secant there
    gap: int = 1  #: iterations until the next correction, if nothing else asks for one
    coarse_iterations: int = 0  #: linear iterations on blocks, of this iteration
    rollback: int = 0  #: whether the steps since the last correction were taken back
    #: what solves take beside the usual: void (solved for, too, as without it one failed), float64 (as float32 did not
    #: do), factor or smoothing (thin struts)
    solver: str = ""
    coarser: int = 1  #: the cells are so many times as long as those of the problem
    responses: Mapping[str, float] = field(default_factory=dict)  #: what each constraint is about, a column each


#: that every run has; the others are responses
COLUMNS = [column.name for column in fields(HistoryRow) if column.name != "responses"]
_INTEGERS = (
    "iteration",
    "exact_solves",
    "linear_iterations",
    "since",
    "gap",
    "coarse_iterations",
    "rollback",
    "coarser",
)
_TYPES = {"kind": str, "step": str, "solver": str} | dict.fromkeys(_INTEGERS, np.int64)


class History:
    """Writes ``history.csv``; every method is collective and may raise StorageError."""

    def __init__(
        self, path: Path, comm: MPI.Comm, append_from: int | None = None, responses: Sequence[str] = ()
    ) -> None:
        """Start a table, or go on with the one at path, dropping the rows after iteration append_from.

        Args:
            responses: names of the columns beside those that every run has.
        """
        self._path = Path(path)
        self._comm = comm
        self._columns = [*COLUMNS, *(name for name in responses if name not in COLUMNS)]
        write_on_root(comm, self._path, lambda: self._open(append_from))

    def add(self, row: HistoryRow) -> None:
        """Append one row; it is on disk for other programs when this returns. Rank 0's values count."""
        write_on_root(self._comm, self._path, lambda: self._append(row))

    def _open(self, append_from: int | None) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        kept = []
        if append_from is not None and self._path.exists():
            try:
                kept = [
                    {"solver": "", "coarser": "1"} | row
                    for row in _complete_rows(self._path)
                    if int(row["iteration"]) <= append_from
                ]
            except (ValueError, KeyError, csv.Error) as error:
                raise OSError(f"the rows in it are not a history ({error})") from error
        table = io.StringIO()
        writer = csv.DictWriter(table, self._columns, restval="nan", extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(kept)
        replace_file(self._path, table.getvalue())

    def _append(self, row: HistoryRow) -> None:
        values = {**row.responses, **{name: getattr(row, name) for name in COLUMNS}}
        cells = {k: v if isinstance(v, str) else repr(np.asarray(v).item()) for k, v in values.items()}
        line = io.StringIO()
        writer = csv.DictWriter(line, self._columns, restval="nan", extrasaction="ignore", lineterminator="\n")
        writer.writerow(cells)
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(line.getvalue())


def check_history(path: Path) -> None:
    """Raise InputError if there is a table that a run could not go on with; local."""
    try:
        if path.exists():
            for row in _complete_rows(path):
                int(row["iteration"])
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise InputError(
            f"{path}: the rows in it are not a history ({error}); move the file away to go on without them"
        ) from None


def read_history(path: Path) -> dict[str, NDArray]:
    """Columns of a history.csv as arrays: integers, text (kind) and floats (the others). Local.

    Raises InputError if there is no such table, or a row other than the last is not whole.
    """
    try:
        if "\n" not in Path(path).read_text(encoding="utf-8"):
            raise ValueError("it is cut off")
        rows = _complete_rows(Path(path))
        columns = list(rows[0]) if rows else COLUMNS
        return {name: np.array([row[name] for row in rows], dtype=_TYPES.get(name, float)) for name in columns}
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise InputError(f"{path}: not a readable history ({error}).") from error


def _complete_rows(path: Path) -> list[dict[str, str]]:
    """Rows of the table without a last one that was cut short by a kill or a full disk."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    rows = csv.DictReader(line for line in lines if line.endswith("\n"))
    whole = [(row, None not in row.values() and None not in row) for row in rows]
    for number, (_, is_whole) in enumerate(whole[:-1], start=1):
        if not is_whole:
            raise ValueError(f"row {number} has other columns than the head")
    return [row for row, is_whole in whole if is_whole]
