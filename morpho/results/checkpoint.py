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
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mpi4py import MPI

import numpy as np
from numpy.typing import NDArray

from morpho.errors import InputError
from morpho.interfaces import Array
from morpho.parallel import on_root
from morpho.results import restart_sets
from morpho.results.blocks import Blocks
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
    arrays: Mapping[str, Array],
    meta: Mapping[str, Any],
) -> None:
    """Write a restart set to the run folder: owned arrays (n,) or (n, c), and meta as JSON; collective.

    Names, widths and meta are the same on all ranks. Raises StorageError on all ranks if any could not write;
    the set saved before is then still there.
    """
    shapes = {name: (n_global, *values.shape[1:]) for name, values in arrays.items()}
    for name in arrays:
        if not re.fullmatch(r"[\w.-]+", name):
            raise ValueError(f"name of an array should be letters, digits, '_', '.' and '-', got {name!r}")
    json.dumps(meta)  # here, so that what JSON cannot hold is an error on all ranks
    blocks = Blocks(comm, key, n_global)
    root = Path(folder) / "checkpoint"
    target, sequence = on_root(comm, lambda: restart_sets.next_set(root))
    sizes = {name: len(_header(shape)) + n_global * _row_bytes(shape) for name, shape in shapes.items()}
    write_on_root(comm, target, lambda: restart_sets.open_set(target, sizes))
    entries = {}
    for name, values in arrays.items():
        path, head = target / f"{name}.npy", _header(shapes[name])
        block = blocks.gather(values)
        part = _write(comm, path, head, _row_bytes(shapes[name]) * blocks.start, block)
        crc = combine(comm.allgather(part))
        entries[name] = {"shape": shapes[name], "bytes": sizes[name], "crc32": crc}
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


def _write(comm: MPI.Comm, path: Path, head: bytes, start: int, block: Array) -> Part:
    """Write the block at byte start of the data, on rank 0 the header too; collective."""
    pieces = [(len(head) + start, block.astype("<f8", copy=False).reshape(-1).view(np.uint8).data)]
    if comm.rank == 0:
        pieces.insert(0, (0, memoryview(head)))
    write_together(comm, path, lambda: _write_pieces(path, pieces))
    crc = 0
    for _, data in pieces:
        crc = zlib.crc32(data, crc)
    return crc, sum(len(data) for _, data in pieces)


def _write_pieces(path: Path, pieces: Sequence[tuple[int, memoryview]]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o666)
    try:
        for offset, data in pieces:
            done = 0
            while done < len(data):
                done += os.pwrite(descriptor, data[done : done + _CHUNK], offset + done)
        os.fsync(descriptor)
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
