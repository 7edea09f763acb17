"""Help for the multigrid cycle on designs that fill little of their box, once solves become slow.

Thin struts bend, and coarse grids are too stiff for that. A sparse factor knows them exactly; added to the cycle it
makes a few iterations of a hundred. Where it would cost too much the coarse grids are smoothed more.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np

from morpho.fem.voxel.coarsening import Floats, Mask
from morpho.fem.voxel.element import Element
from morpho.fem.voxel.factor import Factor, make_factor
from morpho.fem.voxel.grid import Grid
from morpho.fem.voxel.halo import SharedPlanes
from morpho.fem.voxel.present import Present
from morpho.fem.voxel.vectors import Runs
from morpho.parallel import any_rank

log = logging.getLogger("morpho")

SLOW = 40  #: iterations of a solve from which on help is worth it
DILUTE = 0.1  #: mean modulus of the box, relative to that of the solid, below which there is help


class Helped:
    """The finest grid, with the help that its last solves called for. 3-D elasticity; other equations get none.

    Args:
        grid: a whole preconditioner.
        held: makes which dofs (z, y, component, x) are held.
        present: what of the grid takes part.
    """

    def __init__(
        self, grid: Grid, element: Element, planes: SharedPlanes, held: Callable[[], Mask], present: Present
    ) -> None:
        self.grid, self.element, self.planes, self.present = grid, element, planes, present
        self._held = held
        self._is_slow, self._taken = False, 0  #: iterations of the last solve without a factor
        self._said: set[str] = set()
        self.factor: Factor | None = None

    @property
    def is_exact(self) -> bool:
        return self.grid.is_exact

    @property
    def E(self) -> Floats:
        return self.grid.E

    @property
    def runs(self) -> Runs:
        return self.grid.runs

    @property
    def x(self) -> Floats:
        return self.grid.x

    @property
    def b(self) -> Floats:
        return self.grid.b

    def deepen(self, deeper: bool) -> None:
        self.grid.deepen(deeper)

    @property
    def taken(self) -> dict[str, bool]:
        """Which help is there (local)."""
        return {"factor": self.factor is not None, "smoothing": self._is_slow and self.factor is None}

    def took(self, iterations: int) -> None:
        """Say how many the longest of the last solves took, the same on all ranks (local)."""
        if self.factor is None:
            self._taken = iterations
            self._is_slow |= iterations > SLOW and self.element.components == 3
        elif iterations > self._taken:
            self._taken = 0  # it was no help: the next solve goes without

    def refresh(self) -> None:
        self.grid.refresh()
        self.factor = None
        if not self._is_slow:
            return
        stiff, cells = self.planes.comm.allreduce(np.array([np.sum(self.E, dtype=float), self.E.size]))
        self._is_slow = bool(stiff < DILUTE * cells)
        own = self.present.nodes  # None where this rank has them all
        if self._is_slow and any_rank(self.planes.comm, own is not None):
            nodes = np.ones([n + 1 for n in self.E.shape], dtype=bool) if own is None else own[:, :, 0]
            # Springs are left out: they only add stiffness.
            self.factor = make_factor(self.element, self.planes, self._held(), self.E, nodes, self._taken)
        self.grid.deepen(self._is_slow and self.factor is None)
        how = "a sparse factor of the stiffness helps" if self.factor is not None else "coarse grids are smoothed more"
        if self._is_slow and how not in self._said:
            log.info("solves are slow on thin struts: %s from here on, where it pays", how)
            self._said.add(how)

    def cycle(self) -> None:
        self.grid.cycle()
        if self.factor is not None:
            self.factor.add(self.x, self.b)

    def close(self) -> None:
        self.grid.close()
