"""The smoothed Heaviside function and its slope, compiled so that other passes over cells can take them in."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

LOG2_E = 1 / math.log(2)
LN2_HIGH, LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10  #: the sum is ln 2, the first has few bits
TERMS = tuple(1 / math.factorial(k) for k in range(13, -1, -1))  #: of the exponential, up to half a logarithm of 2
LEAST = -700.0  #: exponent below which the exponential is as good as zero

compiled = njit(cache=True, fastmath={"contract", "nsz"}, error_model="numpy")


@compiled
def _decay(v):
    """exp(v) for v <= 0 to two units in the last place, in operations that fill vectors."""
    v = LEAST if v < LEAST else v  # so that what is not a number stays so
    k = math.floor(v * LOG2_E + 0.5)
    r = (v - k * LN2_HIGH) - k * LN2_LOW
    p = TERMS[0]
    for term in TERMS[1:]:
        p = p * r + term
    return p * np.int64((np.int64(k) + 1023) << 52).view(np.float64)


@compiled
def tanh(z):
    """Odd to the last bit."""
    e = _decay(-2.0 * abs(z))
    return math.copysign((1.0 - e) / (1.0 + e), z)


@compiled
def scale(beta, eta):
    """tanh(beta eta), and that plus tanh(beta (1 - eta))."""
    low = tanh(beta * eta)
    return low, low + tanh(beta * (1.0 - eta))


@compiled
def step(x, low, share, beta, eta):
    """Within [0, 1] to the last bit: a power of what rounding leaves below zero is not a number."""
    y = (tanh(beta * (x - eta)) + low) / share
    y = 0.0 if y < 0.0 else y
    return 1.0 if y > 1.0 else y


@compiled
def project(x, beta, eta):
    """x becomes (tanh(beta eta) + tanh(beta (x - eta))) / (tanh(beta eta) + tanh(beta (1 - eta)))."""
    low, share = scale(beta, eta)
    for i in range(len(x)):
        x[i] = step(x[i], low, share, beta, eta)


@compiled
def slope(rho, low, share, beta):
    """d rho / d x = beta (1 - t^2) / share with t = tanh(beta (x - eta)), which follows from rho."""
    t = rho * share - low
    return (1.0 - t * t) * (beta / share)


@compiled
def pull(out, d, rho, beta, eta):
    """out = d slope; `d` of one entry stands for all."""
    low, share = scale(beta, eta)
    if len(d) == 1:
        for i in range(len(rho)):
            out[i] = d[0] * slope(rho[i], low, share, beta)
    else:
        for i in range(len(rho)):
            out[i] = d[i] * slope(rho[i], low, share, beta)
