"""Restart sets: arrays in key order as plain .npy files, readable by any number of ranks.

``checkpoint/a`` and ``checkpoint/b`` are written in turn. A set is complete while it has a meta.json: that is
removed before the arrays are touched, and put back with their checksums when they are on disk.
"""

from __future__ import annotations

import io
import json
import logging
import os
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mpi4py import MPI

import numpy as np
from numpy.typing import NDArray

from morpho.errors import InputError
from morpho.interfaces import Array
from morpho.parallel import on_root
from morpho.results import restart_sets
from morpho.results.blocks import Blocks, Portions
from morpho.results.checksum import combine
from morpho.results.storage import replace_file, write_on_root, write_together

log = logging.getLogger(__name__)

_CHUNK = 1 << 30  #: bytes per write call; Linux takes less than 2 GiB
Part = tuple[int, int]  #: CRC-32 and length of one rank's part of a file


def save(
    folder: Path,
    comm: MPI.Comm,
    key: NDArray[np.int64],
    n_global: int,
    arrays: Mapping[str, Any],
    meta: Mapping[str, Any],
) -> None:
    """Write a restart set to the run folder: owned arrays (n,) or (n, c), or what makes slices of them where cells are
    in the order of their keys, and meta as JSON; collective.

    Names, widths and meta are the same on all ranks. Raises StorageError on all ranks if any could not write;
    the set saved before is then still there.
    """
    shapes = {name: (n_global, *values.shape[1:]) for name, values in arrays.items()}
    for name in arrays:
        if not re.fullmatch(r"[\w.-]+", name):
            raise ValueError(f"name of an array should be letters, digits, '_', '.' and '-', got {name!r}")
    json.dumps(meta)  # here, so that what JSON cannot hold is an error on all ranks
    portions = Portions(comm, key, n_global)
    root = Path(folder) / "checkpoint"
    target, sequence = on_root(comm, lambda: restart_sets.next_set(root))
    sizes = {name: len(_header(shape)) + n_global * _row_bytes(shape) for name, shape in shapes.items()}
    write_on_root(comm, target, lambda: restart_sets.open_set(target, sizes))
    parts = {name: [_begin(comm, target / f"{name}.npy", _header(shape))] for name, shape in shapes.items()}
    for first, own, blocks in portions:
        for name, values in arrays.items():
            start = len(_header(shapes[name])) + _row_bytes(shapes[name]) * (first + blocks.start)
            parts[name] += comm.allgather(_write(comm, target / f"{name}.npy", start, blocks.gather(values[own])))
    entries = {}
    for name, shape in shapes.items():
        _sync(comm, target / f"{name}.npy")
        entries[name] = {"shape": shape, "bytes": sizes[name], "crc32": combine(parts[name])}
    record = restart_sets.record(sequence, n_global, entries, meta)
    write_on_root(comm, target, lambda: replace_file(target / "meta.json", record))


def read(
    folder: Path, comm: MPI.Comm, key: NDArray[np.int64], n_global: int, names: Sequence[str] | None = None
) -> tuple[dict[str, Array], dict[str, Any], list[Path]]:
    """Owned arrays (all, or those named) and meta of the newest usable restart set, and damaged sets; collective.

    A set with a wrong size or checksum is passed over with a warning. Nothing is written. Raises InputError on all
    ranks if none is usable.
    """
    root = Path(folder) / "checkpoint"
    found, complaints = on_root(comm, lambda: restart_sets.find(root))
    blocks = Blocks(comm, key, n_global)
    damaged: list[Path] = []
    for path, record in found:
        missing = [name for name in names or () if name not in record["arrays"]]
        if record["n_global"] != n_global:
            complaint = f"{path} is for a mesh of {record['n_global']} cells, this one has {n_global}"
        elif missing:
            complaint = f"{path} has no {', '.join(missing)}"
        else:
            arrays, complaint = _read_set(comm, path, record, names, blocks)
            if not complaint:
                _warn(comm, [*complaints, f"continuing from {path}"] if complaints else [])
                return arrays, record["meta"], damaged
            damaged.append(path)
        complaints.append(complaint)
    raise _none_usable(root, complaints)


def set_aside(comm: MPI.Comm, damaged: Sequence[Path]) -> None:
    """Mark sets as incomplete, so that the next save overwrites them and not a good one; local."""
    if comm.rank == 0:
        restart_sets.set_aside(damaged)


def _none_usable(root: Path, complaints: Sequence[str]) -> InputError:
    return InputError(f"{root}: there is no usable checkpoint{''.join(f'; {text}' for text in complaints)}.")


def _header(shape: tuple[int, ...]) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": shape})
    return file.getvalue()


def _row_bytes(shape: Sequence[int]) -> int:
    return 8 * int(np.prod(shape[1:], dtype=int))


def _begin(comm: MPI.Comm, path: Path, head: bytes) -> Part:
    """Write the header (collective)."""
    write_on_root(comm, path, lambda: _write_at(path, 0, memoryview(head)))
    return zlib.crc32(head), len(head)


def _write(comm: MPI.Comm, path: Path, start: int, block: Array) -> Part:
    """Write the block at a byte of the file (collective)."""
    data = block.astype("<f8", copy=False).reshape(-1).view(np.uint8).data
    write_together(comm, path, lambda: _write_at(path, start, data))
    return zlib.crc32(data), len(data)


def _write_at(path: Path, offset: int, data: memoryview) -> None:
    with _opened(path) as descriptor:
        done = 0
        while done < len(data):
            done += os.pwrite(descriptor, data[done : done + _CHUNK], offset + done)


def _sync(comm: MPI.Comm, path: Path) -> None:
    """See that what every rank wrote is on the disk (collective)."""

    def sync() -> None:
        with _opened(path) as descriptor:
            os.fsync(descriptor)

    write_together(comm, path, sync)


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o666)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _read_set(
    comm: MPI.Comm, path: Path, record: Mapping[str, Any], names: Sequence[str] | None, blocks: Blocks
) -> tuple[dict[str, Array], str]:
    """Owned arrays and "", or what is wrong with the set; collective."""
    arrays: dict[str, Array] = {}
    for name in record["arrays"] if names is None else names:
        entry = record["arrays"][name]
        file, failure = path / f"{name}.npy", ""
        part: Part = (0, 0)
        block: Array = np.empty(0)
        try:
            part, block = _read_part(file, entry, blocks, with_head=comm.rank == 0)
        except (OSError, ValueError, LookupError, TypeError) as error:
            failure = f"{file} could not be read ({error})"
        answers = comm.allgather((failure, part))
        failures = [text for text, _ in answers if text]
        if not failures and combine(part for _, part in answers) != entry.get("crc32"):
            failures = [f"{file} is damaged (wrong checksum)"]
        if failures:
            return {}, failures[0]
        arrays[name] = blocks.scatter(block)
    return arrays, ""


def _read_part(path: Path, entry: Mapping[str, Any], blocks: Blocks, with_head: bool) -> tuple[Part, Array]:
    n_global, *width = entry["shape"]
    row = _row_bytes(entry["shape"])
    n = blocks.stop - blocks.start
    with open(path, "rb") as file:
        head = file.read(entry["bytes"] - row * n_global) if with_head else b""
        file.seek(entry["bytes"] - row * (n_global - blocks.start))
        block = np.fromfile(file, dtype="<f8", count=n * row // 8).reshape(n, *width)
    crc = zlib.crc32(block.data, zlib.crc32(head))
    return (crc, len(head) + block.nbytes), block.astype(np.float64, copy=False)


def _warn(comm: MPI.Comm, messages: Sequence[str]) -> None:
    if comm.rank == 0 and messages:
        log.warning("%s.", "; ".join(messages))
