"""Compiled passes of the network: features, inference, sampling. All in float32, one thread per rank."""

from __future__ import annotations

import numpy as np
from numba import njit

CHUNK = 512  #: cells whose features are held at a time; a multiple of the vector length

compiled = njit(cache=True, fastmath={"reassoc", "contract", "arcp", "nsz"}, error_model="numpy")


@compiled
def gather(X, cells, now, then, blocks_now, blocks_then, owner):
    """Features of the given cells, one row each; see `features.NAMES` for what they are.

    Args:
        X: (features, at least len(cells)), overwritten.
        now, then: (cell fields, n) of the present design and of the anchor; the anchor's last row is log(e / eH).
        blocks_now, blocks_then: (block fields, n_blocks).
        owner: (n,) block of each cell.
    """
    m = len(cells)
    at = 0
    for field in range(len(now)):
        row, source = X[at], now[field]
        for i in range(m):
            row[i] = source[cells[i]]
        at += 1
    for field in range(len(blocks_now)):
        row, source = X[at], blocks_now[field]
        for i in range(m):
            row[i] = source[owner[cells[i]]]
        at += 1
    row, source = X[at], then[len(now)]
    for i in range(m):
        row[i] = source[cells[i]]
    at += 1
    for field in range(len(now)):
        row, value, source = X[at], X[field], then[field]
        for i in range(m):
            row[i] = value[i] - source[cells[i]]
        at += 1
    for field in range(len(X) - at):
        row, value, source = X[at + field], X[len(now) + field], blocks_then[field]
        for i in range(m):
            row[i] = value[i] - source[owner[cells[i]]]


@compiled
def perceptron(out, X, m, W, b, w):
    """out[:m] = w . a(W X + b) of the columns of X (features, at least m), a as in `network.activation`.

    W is (hidden, features).
    """
    hidden, features = W.shape
    total = np.zeros(CHUNK, np.float32)
    z = np.empty(CHUNK, np.float32)
    one, half = np.float32(1), np.float32(0.5)
    for h in range(hidden):
        z[:] = b[h]
        f = 0
        while f + 3 < features:
            p, q, r, s = X[f], X[f + 1], X[f + 2], X[f + 3]
            c, d, e, g = W[h, f], W[h, f + 1], W[h, f + 2], W[h, f + 3]
            for i in range(m):
                z[i] += c * p[i] + d * q[i] + e * r[i] + g * s[i]
            f += 4
        while f < features:
            p, c = X[f], W[h, f]
            for i in range(m):
                z[i] += c * p[i]
            f += 1
        weight = w[h]
        for i in range(m):
            total[i] += weight * half * (z[i] + z[i] * z[i] / (one + abs(z[i])))
    for i in range(m):
        out[i] = total[i]


@compiled
def infer(out, cells, now, then, blocks_now, blocks_then, owner, W, b, w):
    """out (len(cells),) = output of the network at the given cells; other arguments as in `gather`, `perceptron`."""
    X = np.empty((W.shape[1], CHUNK), np.float32)
    for start in range(0, len(cells), CHUNK):
        chunk = cells[start : start + CHUNK]
        gather(X, chunk, now, then, blocks_now, blocks_then, owner)
        perceptron(out[start : start + CHUNK], X, len(chunk), W, b, w)


@compiled
def signs(d):
    """Sum, sum of absolute values, sum of the positive values."""
    total, size, positive = 0.0, 0.0, 0.0
    for i in range(len(d)):
        total += d[i]
        size += abs(d[i])
        positive += max(d[i], 0.0)
    return total, size, positive


@compiled
def distance(a, shares, unit):
    """Sum of |a - unit shares|, sum of a."""
    off, total = 0.0, 0.0
    for i in range(len(a)):
        off += abs(a[i] - unit * shares[i])
        total += a[i]
    return off, total


@compiled
def sample(importance, draws, share, uniform):
    """Cells whose draw is below share * importance + uniform, where the importance is not zero."""
    found = np.empty(len(draws), np.int64)
    count = 0
    for i in range(len(draws)):
        if importance[i] > 0 and draws[i] < share * importance[i] + uniform:
            found[count] = i
            count += 1
    return found[:count].copy()
