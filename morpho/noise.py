"""Random numbers that depend on a cell's global number and a seed alone, so on no number of ranks."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True)
def uniform(keys: NDArray[np.int64], seed: int) -> NDArray[np.float64]:
    """(n,) numbers in [0, 1), one per key (local). Source: splitmix64 (Steele, Lea, Flood 2014)."""
    numbers = np.empty(len(keys))
    shift = np.uint64(seed + 1) * np.uint64(0x9E3779B97F4A7C15)
    for i in range(len(keys)):
        z = (np.uint64(keys[i]) + np.uint64(1)) * np.uint64(0xD1342543DE82EF95) + shift
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
        numbers[i] = (z >> np.uint64(11)) * 2.0**-53
    return numbers
