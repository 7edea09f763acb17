"""What several sources share: the solution on blocks at the present design."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

from mpi4py import MPI

import numpy as np

from morpho.gradients.decoupling import Solver
from morpho.gradients.physics import Floats, Physics
from morpho.interfaces import Array, Gradient
from morpho.problem.gradient_spec import GradientSpec
from morpho.problem.spec import AnyObjective, Objective

FEW = 2**22  #: cells on a rank up to which blocks are solved on once per design, for some memory


class TwoScale:
    """Solves on blocks once per design, however many sources ask."""

    def __init__(self, physics: Physics, block: int) -> None:
        self.physics, self.blocks = physics, physics.coarse(block)
        self.pairs = physics.coarse(2)  #: for averages; not solved on, unless blocks are of two
        self._rho: Array | None = None
        self._state: Any = None

    @cached_property
    def ratio(self) -> Floats:
        """(k, n) of exact and coarse energies at the last exact design, which the sources share (local)."""
        return np.ones((len(self.physics.weights), self.physics.mesh.n), np.float32)

    def at(self, rho: Array) -> Any:
        """The `CoarseState` at rho (n,) (collective)."""
        if rho is not self._rho:
            self._state, self._rho = self.blocks.solve(rho), rho
        return self._state

    def improve(self, rho: Array) -> None:
        """Let the fine displacement follow that of the blocks up to rho (n,), before a fine solve (collective)."""
        self.at(rho)
        self.blocks.improve()

    def forget(self) -> None:
        """Let go of the solution; the blocks keep their displacements, and soon have it again (local)."""
        self._rho = self._state = None

    def rest(self) -> None:
        """Leave the memory to a fine solve where there are many cells; `follow` has to come after it (local)."""
        mesh = self.physics.mesh
        if mesh.n_global > FEW * mesh.comm.size:
            self.forget()
            self.blocks.part()

    def follow(self, rho: Array) -> None:
        """Note that the fine displacement is that of rho (n,) (collective)."""
        self.at(rho)
        self.blocks.follow()


class Tools:
    """What a source is made from."""

    def __init__(
        self,
        physics: Physics,
        spec: GradientSpec,
        replica: Callable[[MPI.Comm], Physics] | None = None,
        objective: AnyObjective | None = None,
        solvers: Solver[Any, Gradient] | None = None,
    ) -> None:
        """Tools for a state equation.

        Args:
            replica: makes the same state equation on another communicator, collectively on that; who gave it keeps it
                to the penalty in force, and frees it and the communicator in the end.
            objective: what is minimised, for sources that need values of it.
            solvers: ranks that do nothing but solve, if there are any.
        """
        self.physics, self.spec, self.replica, self.objective = physics, spec, replica, objective or Objective()
        self.solvers = solvers

    @cached_property
    def two_scale(self) -> TwoScale:
        """Made at the first use, which is collective."""
        return TwoScale(self.physics, self.spec.block)
