"""Samples to train on: drawn from the cells of all ranks, and brought together in the same order everywhere."""

from __future__ import annotations

import base64
from typing import Any

from mpi4py import MPI

import numpy as np

from morpho.gradients.kernels import sample
from morpho.gradients.physics import Floats
from morpho.interfaces import Array


def draw(comm: MPI.Comm, importance: Array, draws: Array, number: float) -> Any:
    """Cells of this rank, of about `number` in all: half by importance, half evenly where there is any (collective).

    Args:
        importance: (n,) of each cell.
        draws: (n,) random numbers in [0, 1).
    """
    total, active = comm.allreduce(np.array([importance.sum(), np.count_nonzero(importance)]))
    share, uniform = number / 2 / max(total, 1e-300), number / 2 / max(active, 1)
    return sample(importance, draws, share, uniform)


def together(comm: MPI.Comm, keys: Any, *columns: Floats) -> tuple[Floats, ...]:
    """Columns (m,) or (m, k) of all ranks in the order of their keys (m,), the same everywhere (collective).

    Those with the same key are on one rank, and keep their order.
    """
    parts = comm.allgather((keys, np.column_stack(columns)))
    order = np.argsort(np.concatenate([own for own, _ in parts]), kind="stable")
    rows = np.concatenate([part for _, part in parts])[order]
    ends = np.cumsum([1 if c.ndim == 1 else c.shape[1] for c in columns])
    return tuple(
        np.ascontiguousarray(part.squeeze(1) if c.ndim == 1 else part)
        for part, c in zip(np.split(rows, ends[:-1], axis=1), columns, strict=True)
    )


def encoded(values: Floats) -> tuple[str, list[int]]:
    """An array as text, and its shape, for a checkpoint (local)."""
    return base64.b64encode(values.tobytes()).decode(), list(values.shape)


def decoded(text: str, shape: list[int]) -> Floats:
    """What `encoded` gave (local)."""
    return np.frombuffer(base64.b64decode(text), np.float32).reshape(shape)
