"""Writing that fails on all ranks together, and files that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from mpi4py import MPI

from morpho.errors import StorageError

T = TypeVar("T")


def write_together(comm: MPI.Comm, target: Path, work: Callable[[], T]) -> T:
    """Run work on every rank and return its result; an OSError on any rank is a StorageError on all.

    Collective; work itself must be local. The message names the target.
    """
    result: T | None = None
    failure = ""
    try:
        result = as_storage_error(target, work)
    except StorageError as error:
        failure = str(error)
    said = dict.fromkeys(text for text in comm.allgather(failure) if text)
    if said:
        raise StorageError(" ".join(said))
    return result  # type: ignore[return-value]


def as_storage_error(target: Path, work: Callable[[], T]) -> T:
    """Run work; its OSError is a StorageError that names the file, or the target (local)."""
    try:
        return work()
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(f"Could not write {error.filename or target}: {error.strerror or error}.") from None


def write_on_root(comm: MPI.Comm, target: Path, work: Callable[[], object]) -> None:
    """Run work on rank 0 only; its OSError is a StorageError on all ranks (collective)."""
    write_together(comm, target, work if comm.rank == 0 else lambda: None)


def replace_file(path: Path, content: str | bytes) -> None:
    """Write path so that it is seen with its old or its new content, also after a power cut (local)."""
    partial = path.with_name(path.name + ".partial")
    try:
        with open(partial, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable (local)."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
