"""Nodal fields as a file has them, made a portion at a time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from morpho.interfaces import Array


class NodalRows:
    """(count, components) of the first nodes (z, y, x) of a nodal array (z, y, component, x), x fastest.

    A slice of it is made when it is asked for, so that nothing is kept twice.

    Args:
        shape: nodes along z, y, x that count.
        there: (z, y, x) which of the array's nodes exist; the others are zero.
        order: where the array has each component; None as they are.
    """

    dtype = np.dtype(np.float64)

    def __init__(
        self,
        u: Array,
        shape: tuple[int, int, int],
        there: NDArray[np.bool_] | None = None,
        order: list[int] | None = None,
    ) -> None:
        self._u, self._shape, self._there, self._order = u, shape, there, order
        self.shape = math.prod(shape), u.shape[2]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, part: slice) -> NDArray[Any]:
        start, stop, _ = part.indices(len(self))
        _, ny, nx = self._shape
        first = start // nx
        rows = np.arange(first, -(-stop // nx))
        found = self._u[rows // ny, rows % ny][:, :, :nx]
        if self._there is not None:
            found = found * self._there[rows // ny, rows % ny][:, None, :nx]
        if self._order is not None:
            found = found[:, self._order]
        flat = found.transpose(0, 2, 1).reshape(-1, self.shape[1])
        return flat[start - first * nx : stop - first * nx]
