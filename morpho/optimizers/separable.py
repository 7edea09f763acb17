"""The minimiser of MMA's separable Lagrangian over all entries, in one compiled pass."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from morpho.interfaces import Array

CHUNK = 1024  #: entries handled at a time, so that temporaries stay in the first cache


@njit(cache=True, fastmath={"reassoc", "contract", "arcp", "nsz"}, error_model="numpy")
def minimise(
    x_new: Array,
    x: Array,
    low: Array,
    upp: Array,
    alpha: Array,
    beta: Array,
    p: Array,
    q: Array,
    multipliers: Array,
    increase: Array,
    curvature: Array,
) -> None:
    """Minimise sum over rows of multiplier (p / (upp - x) + q / (x - low)) within alpha, beta.

    Args:
        x_new: (n,) result.
        p, q: (m + 1, n), row 0 has the multiplier one.
        increase: (m,) result, of each constraint's approximation from x to x_new.
        curvature: (m, m) result, minus the Hessian of the dual function.
    """
    n, m = len(x), len(multipliers)
    increase[:] = 0.0
    curvature[:] = 0.0
    p_sum, q_sum, flexibility = np.empty(CHUNK), np.empty(CHUNK), np.empty(CHUNK)
    to_upp, to_low, rise, fall = np.empty(CHUNK), np.empty(CHUNK), np.empty(CHUNK), np.empty(CHUNK)
    slopes = np.empty((m, CHUNK))
    for start in range(0, n, CHUNK):
        end = min(n, start + CHUNK)
        count = end - start
        a, b, old, least, most = low[start:end], upp[start:end], x[start:end], alpha[start:end], beta[start:end]
        new = x_new[start:end]
        p_sum[:count] = p[0, start:end]
        q_sum[:count] = q[0, start:end]
        for k in range(m):
            p_row, q_row, weight = p[k + 1, start:end], q[k + 1, start:end], multipliers[k]
            for i in range(count):
                p_sum[i] += weight * p_row[i]
                q_sum[i] += weight * q_row[i]
        for i in range(count):
            root_p, root_q = math.sqrt(p_sum[i]), math.sqrt(q_sum[i])
            stationary = (root_p * a[i] + root_q * b[i]) / (root_p + root_q)
            value = min(max(stationary, least[i]), most[i])
            new[i] = value
            u, v, change = 1.0 / (b[i] - value), 1.0 / (value - a[i]), value - old[i]
            to_upp[i], to_low[i] = u * u, v * v
            free = 0.5 / (p_sum[i] * u * u * u + q_sum[i] * v * v * v)
            flexibility[i] = free if value == stationary else 0.0
            # Written so that the values at the old x need not be subtracted: nothing cancels.
            rise[i] = change * u / (b[i] - old[i])
            fall[i] = change * v / (old[i] - a[i])
        for k in range(m):
            p_row, q_row, row = p[k + 1, start:end], q[k + 1, start:end], slopes[k]
            total = 0.0
            for i in range(count):
                total += p_row[i] * rise[i] - q_row[i] * fall[i]
                row[i] = p_row[i] * to_upp[i] - q_row[i] * to_low[i]
            increase[k] += total
            for j in range(k + 1):
                other, product = slopes[j], 0.0
                for i in range(count):
                    product += row[i] * flexibility[i] * other[i]
                curvature[k, j] += product
    for k in range(m):
        for j in range(k):
            curvature[j, k] = curvature[k, j]
