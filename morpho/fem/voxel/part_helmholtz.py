"""The scalar PDE behind the Helmholtz filter on the voxels of a part: no matrix, a fixed number of steps."""

from __future__ import annotations

import itertools
import math

import numpy as np

from morpho.fem.helmholtz import FLOOR, RTOL
from morpho.fem.voxel.element import mode_stiffness, node_offsets
from morpho.fem.voxel.halo import SharedPlanes
from morpho.fem.voxel.kernels_scalar import add_stiffness
from morpho.fem.voxel.present import Present
from morpho.fem.voxel.vectors import clear, copy_scaled, diffusion_step, mean_of_nodes, scale_by_nodes, sum_at_nodes
from morpho.interfaces import Array
from morpho.mesh.voxels import VoxelMesh
from morpho.pages import zeros


class PartHelmholtz:
    """Solves -R^2 lap(p) + p = s like `VoxelHelmholtz`, with the same discretisation, in the cells that exist.

    Relative to the lumped mass no wave of a union of cells lies outside the ends of the spectrum of a single one, so
    the steps of the Chebyshev iteration (Saad 2003, 12.3.2) are known as well.
    """

    def __init__(self, mesh: VoxelMesh, length: float) -> None:
        assert mesh.filled is not None
        mesh = mesh.laid
        self.mesh, self._planes = mesh, SharedPlanes(mesh.comm, mesh.partition)
        self.volumes = mesh.volumes
        spacing = mesh.spacing[: mesh.dim]
        ratios = [max(length**2 - h**2 / 4, FLOOR * length**2) / h**2 for h in spacing]
        self.too_coarse = float(any(length**2 * (1 - FLOOR) < h**2 / 4 for h in spacing))  #: share of the volume
        K = _element(ratios)
        self._modes, self._filled = mode_stiffness(K, mesh.dim), mesh.grid(np.ones(mesh.n))
        waves = float(np.linalg.eigvalsh(K)[-1]) * 2**mesh.dim
        self._middle = 1 + waves / 2
        self._contraction = max(waves / 2, 1e-9) / self._middle
        self.iterations = math.ceil(math.acosh(1 / RTOL) / math.acosh(1 / self._contraction))
        self._inverse = self._zeros()  #: of the lumped mass
        sum_at_nodes(self._inverse, self._filled, mesh.dim - 1)
        self._planes.sum(self._inverse)
        self._present = Present(self._planes, self._inverse.shape, sparse=True)
        self._present.update(self._filled)
        np.divide(1.0, self._inverse, out=self._inverse, where=self._inverse > 0)

    def apply(self, s: Array) -> Array:
        """(n,) integrals of p over the owned cells for the source s (n,), where cells exist (collective)."""
        source = self._zeros()
        sum_at_nodes(source, self.mesh.grid(s), self.mesh.dim - 1)
        self._planes.sum(source)
        scale_by_nodes(source, source, self._inverse, np.ones(1), self._present.runs)
        out = zeros(self.mesh.shape, sparse=True)
        mean_of_nodes(out, self._solve(source), 0, self.mesh.dim - 1)
        return self.mesh.cell_volume * self.mesh.listed(out)

    def close(self) -> None:
        """There is nothing to free (local)."""

    def _zeros(self) -> Array:
        """A nodal field that takes no memory where no cell is."""
        nz, ny, nx = self.mesh.node_shape
        return zeros((nz, ny, 1, nx), sparse=True)

    def _solve(self, source: Array) -> Array:
        """S^-1 source (collective)."""
        before, p, flow = (self._zeros() for _ in range(3))
        factor, present = self._contraction, self._present
        copy_scaled(p, source, 1 / self._middle, present.runs)
        for _ in range(self.iterations - 1):
            last, factor = factor, 1 / (2 / self._contraction - factor)
            gain, momentum = 2 * factor / (self._contraction * self._middle), factor * last
            clear(flow, present.runs)
            add_stiffness(flow, p, self._filled, self._modes, present.pieces)
            self._planes.sum(flow)
            diffusion_step(before, p, source, flow, self._inverse, 2.0**self.mesh.dim, gain, momentum, present.runs)
            before, p = p, before
        return p


def _element(ratios: list[float]) -> Array:
    """Diffusion in a cell relative to the lumped mass of a whole one of a node, nodes in the order of the engine."""
    offsets = [offset[::-1][: len(ratios)] for offset in node_offsets(len(ratios))]  # x, y(, z)
    K = np.zeros((len(offsets), len(offsets)))
    for (a, one), (b, other) in itertools.product(enumerate(offsets), repeat=2):
        for d, ratio in enumerate(ratios):
            across = [1 / 3 if one[e] == other[e] else 1 / 6 for e in range(len(ratios)) if e != d]
            K[a, b] += ratio * (1 if one[d] == other[d] else -1) * math.prod(across)
    return K
