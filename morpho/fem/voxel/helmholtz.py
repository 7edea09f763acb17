"""The scalar PDE behind the Helmholtz filter on a box of equal cells: no matrix, a fixed number of steps."""

from __future__ import annotations

import itertools
import math

import numpy as np
from numba import njit

from morpho.fem.helmholtz import FLOOR, RTOL
from morpho.fem.voxel.halo import AXES, SharedPlanes
from morpho.interfaces import Array
from morpho.mesh.voxels import VoxelMesh
from morpho.parallel import global_sum

compiled = njit(cache=True, fastmath={"reassoc", "contract", "arcp", "nsz"})


class VoxelHelmholtz:
    """Solves -R^2 lap(p) + p = s like `HelmholtzPde`, with the same discretisation.

    Relative to the lumped mass the operator of a box is one stencil S for all nodes, with the field mirrored at the
    faces of the box. A rank applies it to its own box; on shared nodes the whole operator is the mean over the ranks.
    The ends of its spectrum are known, so the Chebyshev iteration (Saad 2003, 12.3.2) needs no dot products and its
    number of steps is known as well: `apply` is a polynomial in S, symmetric to rounding. The mean passes through as it
    is; of the other waves the longest is as long as the box, so the steps grow with R up to the size of the box only.
    """

    def __init__(self, mesh: VoxelMesh, length: float) -> None:
        self.mesh = mesh
        self.volumes = mesh.volumes
        self._planes = SharedPlanes(mesh.comm, mesh.partition)
        spacing = mesh.spacing[: mesh.dim]
        ratios = [max(length**2 - h**2 / 4, FLOOR * length**2) / h**2 for h in spacing]
        self.too_coarse = float(any(length**2 * (1 - FLOOR) < h**2 / 4 for h in spacing))  #: share of the volume
        ends = [(0.0, math.sin(math.pi / (2 * n)) ** 2, 1.0) for n in mesh.cells]
        waves = [_eigenvalue(ratios, corner) for corner in itertools.product(*ends) if any(corner)]
        self._middle = 1 + (max(waves) + min(waves)) / 2
        self._contraction = max((max(waves) - min(waves)) / 2, 1e-9) / self._middle
        self._stencil = _stencil(*ratios)
        self.iterations = math.ceil(math.acosh(1 / RTOL) / math.acosh(1 / self._contraction))

    def apply(self, s: Array) -> Array:
        """(n,) integrals of p over the owned cells for the source s (n,) (collective)."""
        source, mean = np.empty(self.mesh.node_shape), global_sum(self.mesh.comm, s) / self.mesh.n_global
        _mean_of_cells((s - mean).reshape(self.mesh.shape), source)
        self._join(source)
        p = self._solve(source)
        out = np.empty(self.mesh.shape)
        _integrals(p, self.mesh.cell_volume, out)
        out += mean * self.mesh.cell_volume
        return out.ravel()

    def close(self) -> None:
        """There is nothing to free (local)."""

    def _solve(self, source: Array) -> Array:
        """S^-1 source (collective)."""
        before, p = np.zeros_like(source), np.asarray(source / self._middle)
        factor = self._contraction
        for _ in range(self.iterations - 1):
            last, factor = factor, 1 / (2 / self._contraction - factor)
            gain = 2 * factor / (self._contraction * self._middle)
            _step(p, before, source, self._stencil, gain, factor * last)
            self._join(before)
            before, p = p, before
        return p

    def _join(self, v: Array) -> None:
        """Mean over the ranks that share a node, in place; it has equally many cells on each of them (collective)."""
        nodal = v[:, :, None]
        for axis in AXES:
            for side, at in ((self._planes.low, 0), (self._planes.high, -1)):
                if axis in side:
                    nodal[(slice(None),) * axis + (at,)] *= 0.5
        self._planes.sum(nodal)


def _eigenvalue(ratios: list[float], s: tuple[float, ...]) -> float:
    """Of S - 1, for a wave with the squared sines s of half its phase per cell; linear in each of them."""
    stiffness = [4 * ratio * a for ratio, a in zip(ratios, s, strict=True)]
    mass = [1 - 2 * a / 3 for a in s]
    return sum(k * math.prod(mass[:d] + mass[d + 1 :]) for d, k in enumerate(stiffness))


def _stencil(x: float, y: float, z: float = 0.0) -> Array:
    """(2, 4) weights in S, at the x of a node and at the x on either side.

    They belong to its row, the sum of its two neighbours in y, of those in z, of the four in both. Along a direction
    the mass is (4 a + neighbours) / 6 and the stiffness ratio (2 a - neighbours); ratios are R^2 / h^2, 0 for z in 2-D.
    """
    mass = np.array([16, 4, 4, 1]) / 36
    stiffness = (y * np.array([8, -4, 2, -1]) + z * np.array([8, 2, -4, -1])) / 6
    own = 4 * stiffness / 6 + 2 * x * mass + np.array([1, 0, 0, 0])
    beside = stiffness / 6 - x * mass
    return np.stack([own, beside])


@compiled
def _step(p: Array, before: Array, source: Array, stencil: Array, gain: float, momentum: float) -> None:
    """before = p + momentum (p - before) + gain (source - S p)."""
    nz, ny, nx = p.shape
    a, b, c, d = stencil[0, 0], stencil[0, 1], stencil[0, 2], stencil[0, 3]
    e, f, g, h = stencil[1, 0], stencil[1, 1], stencil[1, 2], stencil[1, 3]
    padded = np.empty(nx + 2)
    left, beside, right = padded[:nx], padded[1 : nx + 1], padded[2:]
    for k in range(nz):
        below, above = p[_mirrored(k - 1, nz)], p[_mirrored(k + 1, nz)]
        for j in range(ny):
            front, back = _mirrored(j - 1, ny), _mirrored(j + 1, ny)
            own, result, given = p[k, j], before[k, j], source[k, j]
            p0, p1, p2, p3 = p[k, front], p[k, back], below[j], above[j]
            q0, q1, q2, q3 = below[front], below[back], above[front], above[back]
            for i in range(nx):
                in_y, in_z, in_both = p0[i] + p1[i], p2[i] + p3[i], (q0[i] + q1[i]) + (q2[i] + q3[i])
                beside[i] = e * own[i] + f * in_y + g * in_z + h * in_both
                here = a * own[i] + b * in_y + c * in_z + d * in_both
                result[i] = own[i] + momentum * (own[i] - result[i]) + gain * (given[i] - here)
            padded[0], padded[nx + 1] = padded[2], padded[nx - 1]
            for i in range(nx):
                result[i] -= gain * (left[i] + right[i])


@compiled
def _mirrored(i: int, n: int) -> int:
    """Index of a node or of its mirror image, one node beyond the ends at most; the only node is its own."""
    return max(0, n - 1 - abs(n - 1 - abs(i)))


@compiled
def _mean_of_cells(cells: Array, nodes: Array) -> None:
    """Mean over the adjacent cells, at each node."""
    cz, cy, cx = cells.shape
    nz, ny, _ = nodes.shape
    padded = np.empty(cx + 2)
    total = padded[1 : cx + 1]
    for k in range(nz):
        below, above = cells[max(k - 1, 0)], cells[min(k, cz - 1)]
        for j in range(ny):
            front, back = max(j - 1, 0), min(j, cy - 1)
            p, q, r, s, result = below[front], below[back], above[front], above[back], nodes[k, j]
            for i in range(cx):
                total[i] = p[i] + q[i] + r[i] + s[i]
            padded[0], padded[cx + 1] = padded[1], padded[cx]
            for i in range(cx + 1):
                result[i] = (padded[i] + padded[i + 1]) / 8


@compiled
def _integrals(nodes: Array, volume: float, cells: Array) -> None:
    """Mean over the nodes of each cell, times its volume."""
    cz, cy, cx = cells.shape
    nz = len(nodes)
    total = np.empty(cx + 1)
    for k in range(cz):
        below, above = nodes[k], nodes[min(k + 1, nz - 1)]
        for j in range(cy):
            p, q, r, s, result = below[j], below[j + 1], above[j], above[j + 1], cells[k, j]
            for i in range(cx + 1):
                total[i] = p[i] + q[i] + r[i] + s[i]
            for i in range(cx):
                result[i] = volume / 8 * (total[i] + total[i + 1])
