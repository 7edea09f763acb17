"""Parts that can be drawn out of their mould: whatever stands behind material is filled."""

from __future__ import annotations

from mpi4py import MPI

import numpy as np
from numba import njit

from morpho.interfaces import Array, Pullback
from morpho.mesh import VoxelMesh

compiled = njit(cache=True, error_model="numpy")


class Cast:
    """rho_i = 1 - prod (1 - x_j) over the cells j from i on in the direction of draw.

    Never rises in that direction, so no column has an undercut or an enclosed void, whatever x is; within [0, 1], and
    black where x is. Langelaar (2019, multi-axis machining) takes sums along the tool and projects them; the product
    does without a sharpness to choose.

    With two halves of the mould a cell is solid if there is material before and behind it:
    rho = (1 - prod_up) (1 - prod_down). With a flat parting plane each half is drawn off from there.
    """

    def __init__(
        self, mesh: VoxelMesh, line: MPI.Comm, d: int, upward: bool, two: bool = False, parting: int | None = None
    ) -> None:
        """Of a mesh with the ranks beside this one along a direction.

        Args:
            d: direction, 0 is x.
            upward: whether the (first half of the) mould is drawn off towards larger coordinates.
            two: whether there are two halves.
            parting: first cell above the parting plane; None where each column has its own.
        """
        self.mesh, self._axis = mesh, 2 - d
        self._up, self._down = (Behind(mesh, line, d, ahead) for ahead in (upward, not upward))
        self._two, self._above = two, None
        if parting is not None:
            above = mesh.low[d] + np.arange(mesh.shape[self._axis]) >= parting
            shape = [1, 1, 1]
            shape[self._axis] = -1
            self._above = (above if upward else ~above).reshape(shape)

    def apply(self, x: Array) -> tuple[Array, Pullback]:
        """The filled density and its pullback (collective)."""
        grid = np.ascontiguousarray(self.mesh.grid(x))
        empty_up, pull_up = self._up.empty(grid)
        if not self._two:
            return self.mesh.listed(1 - empty_up), lambda d: self.mesh.listed(pull_up(-self.mesh.grid(d)))
        empty_down, pull_down = self._down.empty(grid)
        above = self._above

        def pull(d: Array) -> Array:
            spread = self.mesh.grid(d)
            if above is None:
                up, down = spread * (empty_down - 1), spread * (empty_up - 1)
            else:
                up, down = np.where(above, -spread, 0.0), np.where(above, 0.0, -spread)
            return self.mesh.listed(pull_up(up) + pull_down(down))

        rho = (1 - empty_up) * (1 - empty_down) if above is None else 1 - np.where(above, empty_up, empty_down)
        return self.mesh.listed(rho), pull


class Behind:
    """How empty it is from each cell on: t_i = prod (1 - x_j), j from i to the end of its column."""

    def __init__(self, mesh: VoxelMesh, line: MPI.Comm, d: int, upward: bool) -> None:
        self._line, self._upward = line, upward
        nz, ny, nx = mesh.shape
        self._shape = [(nz * ny, nx, 1), (nz, ny, nx), (1, nz, ny * nx)][d]  #: columns are along the middle axis
        before, after = range(line.rank), range(line.rank + 1, line.size)
        self._ahead = after if upward else before
        self._behind = before if upward else after[::-1]  #: the farthest first

    def empty(self, x: Array) -> tuple[Array, Pullback]:
        """t of a field (z, y, x) and the pullback of it (collective)."""
        columns = x.reshape(self._shape)
        t = np.empty_like(columns)
        _sweep(columns, self._upward, t)
        ends, ahead = None, np.ones((self._shape[0], self._shape[2]))
        if self._line.size > 1:
            ends = self._gathered(t[:, 0 if self._upward else -1])
            for rank in self._ahead:
                ahead *= ends[rank]
            t *= ahead[:, None]

        def pull(d: Array) -> Array:
            slopes = np.ascontiguousarray(d).reshape(self._shape)
            arriving = np.zeros_like(ahead)
            if ends is not None:
                leaving = np.zeros_like(ahead)
                _gather(columns, slopes, self._upward, leaving)
                all_leaving = self._gathered(leaving)
                for rank in self._behind:
                    arriving = all_leaving[rank] + ends[rank] * arriving
            back = np.empty_like(columns)
            _pull(columns, t, ahead, slopes, arriving, self._upward, back)
            return back.reshape(x.shape)

        return t.reshape(x.shape), pull

    def _gathered(self, plane: Array) -> Array:
        planes = np.empty((self._line.size, *plane.shape))
        self._line.Allgather(np.ascontiguousarray(plane), planes)
        return planes


@compiled
def _sweep(x: Array, upward: bool, t: Array) -> None:
    """t of columns along the middle axis, as if nothing were ahead of them."""
    many, count, wide = x.shape
    for o in range(many):
        for k in range(count):
            i = count - 1 - k if upward else k
            for v in range(wide):
                ahead = 1.0
                if k > 0:
                    ahead = t[o, i + 1, v] if upward else t[o, i - 1, v]
                t[o, i, v] = ahead * (1.0 - x[o, i, v])


@compiled
def _gather(x: Array, d: Array, upward: bool, leaving: Array) -> None:
    """What the slopes d of t leave to the ranks ahead, beginning with what comes from behind."""
    many, count, wide = x.shape
    for o in range(many):
        for k in range(count):
            i = k if upward else count - 1 - k
            for v in range(wide):
                leaving[o, v] = (leaving[o, v] + d[o, i, v]) * (1.0 - x[o, i, v])


@compiled
def _pull(x: Array, t: Array, ahead: Array, d: Array, arriving: Array, upward: bool, back: Array) -> None:
    """Slopes of x from those of t, and from what arrives from the ranks behind."""
    many, count, wide = x.shape
    for o in range(many):
        for k in range(count):
            i = k if upward else count - 1 - k
            for v in range(wide):
                total = arriving[o, v] + d[o, i, v]
                before = ahead[o, v]
                if k < count - 1:
                    before = t[o, i + 1, v] if upward else t[o, i - 1, v]
                back[o, i, v] = -total * before
                arriving[o, v] = total * (1.0 - x[o, i, v])
