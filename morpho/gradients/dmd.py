"""Exact dynamic mode decomposition: the affine operator that takes each snapshot of a window to the next.

Snapshots are the columns of D (..., q, w), oldest first, less the newest one. With F all but the last, F' all but the
first, each less its mean,

    x(t+1) - mean' = A (x(t) - mean),  A = F' pinv(F)

in the coordinates of the leading left singular vectors of F; the means are what a constant observable would give.
Every result is a combination of snapshots, so only their inner products matter: for rows that are spread over ranks, a
triangle of w x w has them all. Source: Dogra & Redman (2020), with a low rank, the constant, and bounded eigenvalues
added.
"""

from __future__ import annotations

from dataclasses import dataclass

from mpi4py import MPI

import numpy as np
from numpy.typing import NDArray

from morpho.interfaces import Array

RCOND = 1e-9  #: singular values below this, relative to the largest, are noise
GROWTH = 1e-9  #: by which an eigenvalue may exceed 1


@dataclass(frozen=True)
class Operator:
    """One affine operator, or a stack of them, one per patch; arrays have the dimensions of the stack in front."""

    matrix: Array  #: (..., r + 1, r + 1), takes (z, 1) one step ahead; z are coordinates
    start: Array  #: (..., r + 1), (z, 1) of the newest snapshot
    lift: Array  #: (..., w, r), coefficients of the snapshots for a change of each coordinate
    missed: Array  #: (...) squared length of what the operator misses of the newest step
    moved: Array  #: (...) squared length of the newest step

    @classmethod
    def fit(cls, D: Array, rank: int) -> Operator:
        """The operator of a window (..., q, w >= 3), of at most this rank (local)."""
        first, second = D[..., :-1], D[..., 1:]
        mean, next_mean = first.mean(-1, keepdims=True), second.mean(-1, keepdims=True)
        U, s, Vt = np.linalg.svd(first - mean, full_matrices=False)
        r = min(rank, s.shape[-1])
        U, s, V = U[..., :r], s[..., None, :r], np.swapaxes(Vt, -1, -2)[..., :r]
        kept = s > RCOND * s[..., :1]
        U, V = U * kept, V * np.where(kept, 1 / np.where(kept, s, 1.0), 0.0)
        Ut = np.swapaxes(U, -1, -2)
        A = bounded(Ut @ (second - next_mean) @ V)
        drift = Ut @ (next_mean - mean)
        newest, before = -Ut @ mean, Ut @ (D[..., -2:-1] - mean)
        missed = D[..., -2:-1] + U @ (A @ before + drift - before)
        stack = D.shape[:-2]
        lift = np.concatenate([V - V.mean(-2, keepdims=True), np.zeros((*stack, 1, r))], axis=-2)
        end = np.zeros((*stack, 1, r + 1))
        end[..., r] = 1
        return cls(
            matrix=np.concatenate([np.concatenate([A, drift], axis=-1), end], axis=-2),
            start=np.concatenate([newest[..., 0], np.ones((*stack, 1))], axis=-1),
            lift=lift,
            missed=np.sum(missed**2, axis=(-2, -1)),
            moved=np.sum(D[..., -2] ** 2, axis=-1),
        )

    def ahead(self, steps: int) -> Array:
        """(..., w) coefficients of the snapshots that make up the change in so many steps from the newest (local)."""
        end = np.linalg.matrix_power(self.matrix, steps) @ self.start[..., None]
        return np.asarray((self.lift @ (end - self.start[..., None])[..., :-1, :])[..., 0])


def bounded(A: Array) -> Array:
    """Square matrices (..., r, r) with every eigenvalue larger than 1 shrunk to modulus 1 (local)."""
    large = (np.abs(np.linalg.eigvals(A)) > 1 + GROWTH).any(-1)
    if not large.any():
        return A
    values, vectors = np.linalg.eig(A[large])
    values = values / np.maximum(np.abs(values), 1.0)
    A = A.copy()
    A[large] = np.real((vectors * values[..., None, :]) @ np.linalg.pinv(vectors))
    return A


def window(snapshots: list[Array]) -> Array:
    """D (n, w) of a list of snapshots (n,), oldest first (local)."""
    return np.stack([x - snapshots[-1] for x in snapshots], axis=1)


def linear(D: Array, steps: int) -> Array:
    """(..., q) change in so many steps if each is the newest one again; what an operator has to beat (local)."""
    return np.asarray(-steps * D[..., -2])


def compressed(comm: MPI.Comm, D: Array) -> Array:
    """(at most w, w) with the inner products of the columns of D (n, w) over all ranks, equal on all (collective)."""
    parts = comm.allgather(np.linalg.qr(D, mode="r"))
    return np.asarray(np.linalg.qr(np.concatenate(parts), mode="r"))


@dataclass(frozen=True)
class Extrapolation:
    """Predicts how rows go on: by one operator for all rows of all ranks, or by one for each patch of rows.

    A patch is `patch` rows with consecutive keys, as far as they lie on one rank; 0 is one operator for everything.
    """

    comm: MPI.Comm
    keys: NDArray[np.int64]  #: (n,)
    rank: int
    patch: int = 0

    def __call__(self, D: Array, steps: int, weight: Array | None = None) -> tuple[Array, float]:
        """The change (n,) in so many steps from the newest snapshot, and the relative error at the newest step.

        Collective. The error is infinite where nothing can be fitted.

        Args:
            D: (n, w).
            weight: (n,) of the rows in the fit.
        """
        weighted = D if weight is None else D * weight[:, None]
        if not np.isfinite(self.comm.allreduce(float(np.sum(weighted)))):
            return np.zeros(len(D)), np.inf
        if self.patch:
            rows, place = np.unique(self.keys // self.patch, return_inverse=True)
            at = place, self.keys % self.patch
            stack = np.zeros((len(rows), self.patch, D.shape[1]))
            stack[at] = weighted
            operator = Operator.fit(stack, self.rank)
            change = np.einsum("ij,ij->i", D, operator.ahead(steps)[place])
            missed, moved = self.comm.allreduce(np.array([operator.missed.sum(), operator.moved.sum()]))
        else:
            operator = Operator.fit(compressed(self.comm, weighted), self.rank)
            change, missed, moved = D @ operator.ahead(steps), operator.missed, operator.moved
        return change, float(np.sqrt(missed / moved)) if moved > 0 else np.inf
