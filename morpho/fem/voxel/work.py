"""The work arrays of the finest grid, in one piece of memory: where each of them lies, and how long it lives.

    name     lies at    from                           until
    load     x and r    a residual begins, in float64  it has become b
    moduli   b          a residual begins, in float64  it is complete
    b        b          a residual is complete         the next one begins; what the cycle is given
    x, r     x and r    the cycle begins               the next residual begins; r holds A p after the cycle
    p        p          the first direction            the solve ends

So four arrays in float32 are all that conjugate gradients with a multigrid cycle take. The other arrays of the grids
follow from the moduli at each solve; `zeros` makes them. Between solves nothing of all this takes memory, unless it is
little.
"""

from __future__ import annotations

import math
import mmap
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from morpho.interfaces import Array
from morpho.machine import give_back_freed_memory
from morpho.pages import pages

Floats = NDArray[np.float32]

LITTLE = 1 << 16  #: bytes of an array that is not worth it
SPARED = 1 << 26  #: bytes that stay between solves, as taking pages anew takes longer than clearing them


class Work:
    """Nodal arrays (z, y, component, x), and the moduli (z, y, x) of the cells.

    Args:
        shape: of a nodal array.
        cells: (z, y, x).
        sparse: whether most entries are never written, see `pages.zeros`; what nobody writes is zero in all arrays.
    """

    def __init__(self, shape: tuple[int, ...], cells: tuple[int, ...], sparse: bool = False) -> None:
        self.sparse = sparse
        self._others: list[Work | mmap.mmap] = []
        nodal, moduli = 4 * math.prod(shape), 8 * math.prod(cells)
        self._b, self._p = _whole_pages(2 * nodal), _whole_pages(2 * nodal) + _whole_pages(max(nodal, moduli))
        self._pages = pages(self._p + _whole_pages(nodal), sparse)
        self._stay = not sparse and len(self._pages) <= SPARED

        def at(start: int, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
            return np.frombuffer(self._pages, dtype, math.prod(shape), start).reshape(shape)

        self.x, self.r = (at(start, shape, np.float32) for start in (0, nodal))
        self.b, self.p = at(self._b, shape, np.float32), at(self._p, shape, np.float32)
        self.load: Array = at(0, shape, np.float64)
        self.moduli: Array = at(self._b, cells, np.float64)

    def take(self) -> None:
        """Before a solve: where it takes much, the machine first gets what freed arrays had (local)."""
        if not self._stay:
            give_back_freed_memory()

    def begin_residual(self) -> None:
        """The load and the moduli take the place of x, r and b (local)."""
        if self.sparse:
            self._pages.madvise(mmap.MADV_DONTNEED, 0, self._p)
        else:
            self.load[:] = 0

    def drop_moduli(self) -> None:
        """b takes the place of the moduli (local)."""
        if self.sparse:
            self._pages.madvise(mmap.MADV_DONTNEED, self._b, self._p - self._b)

    def drop_load(self) -> None:
        """x and r take the place of the load (local).

        What lies between the runs is read, times a stiffness of zero, so that it must be a number.
        """
        if self.sparse:
            self._pages.madvise(mmap.MADV_DONTNEED, 0, self._b)
        else:
            self.x[:] = 0
            self.r[:] = 0

    def zeros(self, shape: tuple[int, ...]) -> Floats:
        """An array that is released with the others (local)."""
        size = 4 * math.prod(shape)
        if size < LITTLE:
            return np.zeros(shape, np.float32)
        self._others.append(own := pages(size, self.sparse))
        return np.frombuffer(own, np.float32).reshape(shape)

    def coarser(self, shape: tuple[int, ...], cells: tuple[int, ...]) -> Work:
        """The work arrays of the next grid, released with these (local)."""
        self._others.append(other := Work(shape, cells, self.sparse))
        other._stay = self._stay
        return other

    def release(self) -> None:
        """Give the memory back until the next solve, or clear it where it is little; all but small arrays are zero then
        (local)."""
        self._empty(self._pages)
        for other in self._others:
            if isinstance(other, Work):
                other.release()
            else:
                self._empty(other)

    def _empty(self, memory: mmap.mmap) -> None:
        if self._stay:
            np.frombuffer(memory, np.uint8)[:] = 0
        else:
            memory.madvise(mmap.MADV_DONTNEED)


def _whole_pages(size: int) -> int:
    return -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
