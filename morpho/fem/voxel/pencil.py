"""Stiffness and mass of a box of equal cells for eigenpairs, and what follows from these for the cells."""

from __future__ import annotations

import numpy as np

from morpho.fem.eigen import GUARDS, Modes, lowest, waves
from morpho.fem.mass import Mass
from morpho.fem.voxel.equation import VoxelEquation
from morpho.fem.voxel.vectors import mean_of_nodes, sum_at_nodes
from morpho.interfaces import Array


class VoxelPencil:
    """`eigen.Pencil` on flat nodal arrays (z, y, component, x), complete on shared nodes; a lumped mass."""

    def __init__(self, equation: VoxelEquation, count: int) -> None:
        self.equation, self.count = equation, count
        shape = equation.shape
        first = np.zeros(shape)
        equation.planes.owned(first)[:] = 1
        self._owned = first.reshape(-1)
        self._free = np.ones(self._owned.shape)
        self._free[equation.supports.dofs] = 0
        mesh = equation.box
        if mesh.filled_nodes is not None:
            self._free.reshape(shape)[:] *= mesh.filled_nodes[:, :, None]
        self._mass = np.zeros(self._owned.shape)
        nodes = np.stack(np.unravel_index(np.arange(int(np.prod(mesh.node_shape))), mesh.node_shape)[::-1], axis=1)
        x = (nodes[:, : mesh.dim] + mesh.low) / np.array(mesh.cells)
        vectors = waves(x, shape[2], count + GUARDS).reshape(-1, *mesh.node_shape, shape[2])
        self.vectors: Array = vectors.transpose(0, 1, 2, 4, 3).reshape(count + GUARDS, -1) * self._free

    def solve(self, rho: Array, mass: Mass, slope: Array, rtol: float, fading: float) -> Modes:
        """The eigenpairs at the density of the last solve, from the last ones (collective)."""
        own, mesh = self.equation, self.equation.box
        share = np.empty((own.shape[0], own.shape[1], 1, own.shape[3]))
        sum_at_nodes(share, mesh.grid(mass.of(rho)), own.element.layers)
        own.planes.sum(share)
        share *= mesh.cell_volume / 2**mesh.dim
        self._mass = np.broadcast_to(share, own.shape).reshape(-1)
        values, self.vectors, iterations = lowest(self, self.vectors, self.count, rtol, fading)
        d_mass, slopes = mass.slope(rho), np.empty((self.count, mesh.n))
        for k in range(self.count):
            u, energy = self.vectors[k].reshape(own.shape), np.empty(mesh.n)
            own.put_energy(energy, u)
            slopes[k] = slope * energy - values[k] * d_mass * self._kinetic(u)
        return Modes(values[: self.count], slopes, iterations * len(self.vectors))

    def _kinetic(self, u: Array) -> Array:
        """(n,) phi . M phi of each cell at density 1 (local)."""
        mesh, squares = self.equation.box, u * u
        total, mean = np.zeros(mesh.n), np.empty(mesh.shape)
        for c in range(u.shape[2]):
            mean_of_nodes(mean, squares, c, mesh.dim - 1)
            total += mesh.listed(mean)
        return total * mesh.cell_volume

    def stiffness(self, X: Array) -> Array:
        own, A = self.equation, self.equation.cg.operator
        out, E = np.zeros(X.shape), A.E
        for k in range(len(X)):
            x, y = X[k].reshape(own.shape), out[k].reshape(own.shape)
            own.planes.keep_owned(x)  # copies on several ranks drift apart by rounding
            own.planes.sum(x)
            A.add(y, x, E=E)
        return out

    def mass(self, X: Array) -> Array:
        return X * self._mass

    def precondition(self, R: Array) -> Array:
        M, out = self.equation.cg.preconditioner, np.empty(R.shape)
        for k in range(len(R)):
            M.b[:] = R[k].reshape(M.b.shape)
            M.cycle()
            out[k] = M.x.reshape(-1)
        return out * self._free

    def gram(self, X: Array, Y: Array) -> Array:
        return np.asarray(self.equation.comm.allreduce((X * self._owned) @ Y.T))
