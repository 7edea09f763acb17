"""Stop conjugate gradients when the derivatives that follow from the displacement no longer change."""

from __future__ import annotations

import math

from mpi4py import MPI

import numpy as np

from morpho.fem.voxel.cg import Operator
from morpho.fem.voxel.coarsening import Floats
from morpho.fem.voxel.present import whole_pieces
from morpho.interfaces import Array

EVERY = 4  #: iterations between looks


class SensitivityWatch:
    """Whether the strain energies of the cells changed by less than a tolerance since the last look.

    After Amir, Aage & Lazarov (2014): the design needs the sensitivities, which are there long before the residual
    is small. The change is measured in the 2-norm, over EVERY iterations.
    """

    def __init__(self, operator: Operator, moduli: Floats, rtol: float) -> None:
        """Watch solves with an operator whose moduli (z, y, x) are these, but for a factor (local)."""
        self.operator, self.moduli, self.rtol = operator, moduli, rtol
        self._before, self._energy = np.empty(moduli.shape), np.empty(moduli.shape)
        nz, ny, nx = moduli.shape
        self._pieces = whole_pieces((nz, ny, nx))

    def begin(self, u: Array) -> SensitivityWatch:
        """Watch a new solve that improves u (local)."""
        self.u, self._count = u, 0
        self._before[:] = 0
        return self

    def __call__(self) -> bool:
        """To be asked once per iteration (collective)."""
        self._count += 1
        if self._count % EVERY:
            return False
        element = self.operator.element
        element.kernels.strain_energy(self._energy, self.u, element.modes, self._pieces)
        self._energy *= self.moduli
        self._before -= self._energy
        sums = np.array([np.vdot(self._before, self._before), np.vdot(self._energy, self._energy)])
        change, size = self.operator.planes.comm.allreduce(sums, MPI.SUM)
        self._before, self._energy = self._energy, self._before
        return math.sqrt(change) <= self.rtol * math.sqrt(size)
