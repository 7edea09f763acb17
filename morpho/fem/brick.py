"""Exact integrals of (bi-, tri-)linear shape functions on a rectangle or brick."""

from __future__ import annotations

from functools import reduce

import numpy as np

from morpho.interfaces import Array


def integral(spacing: Array, row: int, column: int) -> Array:
    """(2**dim, 2**dim) integrals of d phi_a / d x_row * d phi_b / d x_column; nodes x fastest (local).

    Args:
        spacing: (dim,) edges.
    """
    factors = [h * np.array([[2, 1], [1, 2]]) / 6 for h in spacing]
    if row == column:
        factors[row] = np.array([[1, -1], [-1, 1]]) / spacing[row]
    else:
        mixed = np.array([[-1, -1], [1, 1]]) / 2  # derivative of the test function times the trial function
        factors[row], factors[column] = mixed, mixed.T
    return np.asarray(reduce(np.kron, factors[::-1]))
