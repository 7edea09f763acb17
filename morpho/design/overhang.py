"""Parts that can be printed layer by layer without supports."""

from __future__ import annotations

import math

from mpi4py import MPI

import numpy as np
from numba import njit

from morpho.design.columns import Columns
from morpho.interfaces import Array, Pullback
from morpho.mesh import VoxelMesh
from morpho.mesh.window import Window

compiled = njit(cache=True, error_model="numpy")

P = 40  #: exponent of the smooth maximum; spelt out in `_power`
EPS = 1e-4  #: of the smooth minimum
XI0 = 0.5  #: density at which the smooth maximum of equal supports is exact
SHIFT = 100 * np.finfo(float).tiny ** (1 / P)  #: keeps powers of void from vanishing
TOP = 1 + 0.5 * math.sqrt(EPS)  #: beyond which the smooth minimum with 1 never is


class Printed:
    """xi_i = smin(x_i, smax of xi at the cells below i and beside that one), the layer on the plate as it is.

    Langelaar (2017), doi 10.1007/s00158-016-1522-2, with P 40, eps 1e-4, xi_0 0.5; five cells support one in 3-D, three
    in 2-D. What the smooth minimum has above 1 is scaled off: rho = xi / (1 + sqrt(eps) / 2). Sweeps over the layers,
    of which every rank has whole columns; a layer of cells around is exchanged before each.
    """

    def __init__(self, mesh: VoxelMesh, line: MPI.Comm, d: int, upward: bool, flat: int | None = None) -> None:
        """Of a mesh with the ranks beside this one along a direction.

        Args:
            d: direction of printing, 0 is x.
            upward: whether the plate is at the lower end.
            flat: direction in which the design does not change and needs no support.
        """
        self.mesh = mesh
        self._columns = Columns(mesh, line, d)
        self._window = Window(mesh.comm, self._columns, (1, 1))
        self._order = slice(None) if upward else slice(None, None, -1)
        others = [e for e in range(mesh.dim) if e not in (d, flat)]
        slow, fast = (e for e in (2, 1, 0) if e != d)
        self._beside = slow in others, fast in others
        supports = 1 + 2 * len(others)
        q = P + math.log(supports) / math.log(XI0)
        self._numbers = 1 / q, 0.95 * supports ** (1 / q) * SHIFT ** (P / q)
        self._there: Array | None = None
        if mesh.filled is not None:
            self._there = self._columns.gathered(mesh.filled.astype(np.float64))[self._order]

    def apply(self, x: Array) -> tuple[Array, Pullback]:
        """The printed density and its pullback (collective)."""
        wanted = self._columns.gathered(self.mesh.grid(np.asarray(x)))[self._order]
        printed, own, below = np.array(wanted), np.ones_like(wanted), np.zeros_like(wanted)
        start = tuple(part.start for part in self._window.inner[1:])
        there = self._there
        for i in range(1, len(wanted)):
            around = self._window.extend(printed[i - 1])[0]
            _print(wanted[i], around, start, self._beside, self._numbers, printed[i], own[i], below[i])
            if there is not None:
                for values in (printed[i], own[i], below[i]):
                    values *= there[i]

        def pull(d: Array) -> Array:
            slopes = self._columns.gathered(self.mesh.grid(np.asarray(d)))[self._order]
            slopes = np.divide(slopes, TOP, dtype=np.float64)
            for i in range(len(slopes) - 1, 0, -1):
                around = self._window.extend(slopes[i] * below[i])[0]
                _support(around, printed[i - 1], start, self._beside, slopes[i - 1])
            slopes *= own
            return self.mesh.listed(self._columns.dealt(slopes[self._order]))

        rho = self._columns.dealt(printed[self._order])
        rho /= TOP
        return self.mesh.listed(rho), pull


@njit(inline="always")
def _power(b: float) -> tuple[float, float]:
    """(b^P, b^(P - 1)) for P = 40."""
    b2 = b * b
    b4 = b2 * b2
    b7 = b4 * b2 * b
    b32 = (b4 * b4) * (b4 * b4)
    b32 *= b32
    return b32 * b4 * b4, b32 * b7


@compiled
def _print(
    x: Array,
    around: Array,
    start: tuple[int, int],
    beside: tuple[bool, bool],
    numbers: tuple[float, float],
    printed: Array,
    own: Array,
    below: Array,
) -> None:
    """A layer above another one, which has cells around it; slopes to x and to the sum of powers below."""
    slow, fast = x.shape
    many, wide = around.shape
    inverse, back = numbers
    powers = np.full((many + 2, wide + 2), _power(SHIFT)[0])
    for s in range(many):
        for f in range(wide):
            powers[s + 1, f + 1] = _power(around[s, f] + SHIFT)[0]
    root = math.sqrt(EPS)
    total, largest = np.empty(fast), np.empty(fast)
    for s in range(slow):
        here = powers[s + start[0] + 1]
        before, after = powers[s + start[0]], powers[s + start[0] + 2]
        first = start[1] + 1
        for f in range(fast):
            total[f] = here[first + f]
        if beside[0]:
            for f in range(fast):
                total[f] += before[first + f] + after[first + f]
        if beside[1]:
            for f in range(fast):
                total[f] += here[first + f - 1] + here[first + f + 1]
        for f in range(fast):
            largest[f] = math.exp(math.log(total[f]) * inverse)
        for f in range(fast):
            gap = x[s, f] - (largest[f] - back)
            size = math.sqrt(gap * gap + EPS)
            printed[s, f] = max(0.0, 0.5 * (x[s, f] + (largest[f] - back) - size + root))
            ratio = gap / size
            own[s, f] = 0.5 - 0.5 * ratio
            below[s, f] = (0.5 + 0.5 * ratio) * inverse * largest[f] / total[f]


@compiled
def _support(around: Array, printed: Array, start: tuple[int, int], beside: tuple[bool, bool], slopes: Array) -> None:
    """Add what a layer gets from the one above, whose slopes times `below` have cells around them."""
    slow, fast = printed.shape
    many, wide = around.shape
    for s in range(slow):
        at = s + start[0]
        for f in range(fast):
            to = f + start[1]
            total = around[at, to]
            if beside[0]:
                total += around[at - 1, to] if at > 0 else 0.0
                total += around[at + 1, to] if at < many - 1 else 0.0
            if beside[1]:
                total += around[at, to - 1] if to > 0 else 0.0
                total += around[at, to + 1] if to < wide - 1 else 0.0
            slopes[s, f] += P * _power(printed[s, f] + SHIFT)[1] * total
