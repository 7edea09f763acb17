"""What the benchmark of the voxel operator compares with: the dense element matrix on rows, and the core's limits."""

from __future__ import annotations

import time

import numpy as np
from numba import njit

TERMS = 32  #: multiply-adds per entry in `_horner`


@njit(fastmath=True)
def add_dense_rows(y, u, E, K):
    """y += A u with all 576 entries of the element matrix, vectorised along x; arrays (component, z, y, x)."""
    nz, ny, nx = E.shape
    U, F = np.empty((24, nx), u.dtype), np.empty((24, nx), u.dtype)
    for k in range(nz):
        for j in range(ny):
            Er = E[k, j]
            m = 0
            for dk in range(2):
                for dj in range(2):
                    for di in range(2):
                        for c in range(3):
                            row, scaled = u[c, k + dk, j + dj], U[m]
                            for i in range(nx):
                                scaled[i] = row[i + di] * Er[i]
                            m += 1
            for r in range(24):
                f = F[r]
                for i in range(nx):
                    low = K[r, 0] * U[0, i] + K[r, 1] * U[1, i] + K[r, 2] * U[2, i] + K[r, 3] * U[3, i]
                    low += K[r, 4] * U[4, i] + K[r, 5] * U[5, i] + K[r, 6] * U[6, i] + K[r, 7] * U[7, i]
                    middle = K[r, 8] * U[8, i] + K[r, 9] * U[9, i] + K[r, 10] * U[10, i] + K[r, 11] * U[11, i]
                    middle += K[r, 12] * U[12, i] + K[r, 13] * U[13, i] + K[r, 14] * U[14, i] + K[r, 15] * U[15, i]
                    high = K[r, 16] * U[16, i] + K[r, 17] * U[17, i] + K[r, 18] * U[18, i] + K[r, 19] * U[19, i]
                    high += K[r, 20] * U[20, i] + K[r, 21] * U[21, i] + K[r, 22] * U[22, i] + K[r, 23] * U[23, i]
                    f[i] = low + middle + high
            m = 0
            for dk in range(2):
                for dj in range(2):
                    for di in range(2):
                        for c in range(3):
                            target, f = y[c, k + dk, j + dj], F[m]
                            for i in range(nx):
                                target[i + di] += f[i]
                            m += 1


@njit(fastmath={"contract"})
def _horner(a, x, repeat):
    for _ in range(repeat):
        for i in range(len(a)):
            s = a[i]
            for _ in range(TERMS):
                s = s * x + a[i]
            a[i] = s * x


def fma_rate(kind: type) -> float:
    """Floating-point operations per second of multiply-adds on data in the first cache."""
    a, x = np.full(1024, 1e-3, kind), kind(0.5)
    _horner(a, x, 1)
    return 2 * TERMS * len(a) * 2000 / _best(lambda: _horner(a, x, 2000))


def copy_rate(kind: type) -> float:
    """Bytes per second, read and written, of copying an array far larger than the caches."""
    a = np.ones(2**28 // np.dtype(kind).itemsize, kind)
    b = np.zeros_like(a)
    return 2 * a.nbytes / _best(lambda: np.copyto(b, a))


def _best(call, repeat: int = 5) -> float:
    seconds = []
    for _ in range(repeat):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return min(seconds)
