"""What the grids of the multigrid cycle have in common."""

from __future__ import annotations

from typing import Protocol

from morpho.fem.voxel.coarsening import Floats
from morpho.fem.voxel.vectors import Runs


class Grid(Protocol):
    """An approximate solver of A x = b on one grid; arrays (z, y, component, x) with shared nodes alike."""

    @property
    def is_exact(self) -> bool:
        """Whether a cycle solves the grid's equations."""

    @property
    def E(self) -> Floats:
        """(z, y, x) moduli, to be set in place."""

    @property
    def runs(self) -> Runs:
        """Of the nodes that take part; nothing else of x and b is read or written."""

    @property
    def x(self) -> Floats:
        """The solution."""

    @property
    def b(self) -> Floats:
        """The right-hand side, to be set in place; zero in held dofs after a cycle."""

    def refresh(self) -> None:
        """Take the moduli in E; cells without stiffness are left out (collective)."""

    def deepen(self, deeper: bool) -> None:
        """Smooth more on coarse grids, or as usual again (local)."""

    def cycle(self) -> None:
        """x from b, as a fixed symmetric operator (collective)."""

    def close(self) -> None:
        """Free the communicators of coarser grids (collective)."""
