"""Strain energies of fine cells from the displacement of the block they are in, without a fine displacement.

Inside a block the displacement is (bi-, tri-)linear, so the modes of a fine cell (see `element.mode_stiffness`) are
the block's modes, shifted to the fine cell's place and scaled by its size.
"""

from __future__ import annotations

import numpy as np

from morpho.fem.voxel import kernels_2d, kernels_3d
from morpho.fem.voxel.kernels_3d import STRETCH, compiled

forces_2d, forces_3d = kernels_2d._forces, kernels_3d._forces


@compiled
def block_energy_3d(energy, u, m, block):
    """energy = u . K u of every fine cell at unit modulus.

    Args:
        energy: (nz, ny, nx) of fine cells, float32.
        u: (z, y, 3, x) nodes of the blocks; the last blocks may reach beyond the fine cells.
        m: (33,) mode stiffness of a fine cell, float32.
        block: fine cells along the edge of a block.
    """
    nz, ny, nx = energy.shape
    lines, row = np.empty(24 * STRETCH, np.float32), np.empty(STRETCH, np.float32)
    for Z in range((nz + block - 1) // block):
        for Y in range((ny + block - 1) // block):
            for start in range(0, (nx + block - 1) // block, STRETCH):
                n = min(STRETCH, (nx + block - 1) // block - start)
                _analyse_blocks(lines, u[Z, Y], u[Z, Y + 1], u[Z + 1, Y], u[Z + 1, Y + 1], start, n)
                for k in range(Z * block, min(nz, (Z + 1) * block)):
                    for j in range(Y * block, min(ny, (Y + 1) * block)):
                        for s in range(block):
                            _work_in_blocks(
                                row[:n], lines, m, block, _place(s, block), _place(j, block), _place(k, block)
                            )
                            target = energy[k, j, start * block + s :: block]
                            for i in range(min(n, len(target))):
                                target[i] = row[i]


@compiled
def _place(at, block):
    """Middle of a fine cell along one direction of its block, which reaches from -1 to 1."""
    return np.float32((2 * (at % block) + 1) / block - 1)


@compiled
def _analyse_blocks(lines, a, b, c, d, start, n):
    """Modes of a row of blocks between four node rows: bit 0 linear along x, 1 along y, 2 along z, by component."""
    for q in range(len(a)):
        p, r = a[q, start : start + n + 1], b[q, start : start + n + 1]
        s, t = c[q, start : start + n + 1], d[q, start : start + n + 1]
        at = 8 * q * STRETCH
        for i in range(n):
            p0, p1, r0, r1 = p[i] + p[i + 1], p[i + 1] - p[i], r[i] + r[i + 1], r[i + 1] - r[i]
            s0, s1, t0, t1 = s[i] + s[i + 1], s[i + 1] - s[i], t[i] + t[i + 1], t[i + 1] - t[i]
            lines[at + STRETCH + i] = p1 + r1 + s1 + t1
            lines[at + 2 * STRETCH + i] = r0 - p0 + t0 - s0
            lines[at + 3 * STRETCH + i] = r1 - p1 + t1 - s1
            lines[at + 4 * STRETCH + i] = s0 + t0 - p0 - r0
            lines[at + 5 * STRETCH + i] = s1 + t1 - p1 - r1
            lines[at + 6 * STRETCH + i] = t0 - s0 - r0 + p0
            lines[at + 7 * STRETCH + i] = t1 - s1 - r1 + p1


@compiled
def _shifted(lines, at, h, x, y, z):
    """Modes of a fine cell at (x, y, z) in its block, for one component, in the order of `kernels_3d._modes`."""
    m1, m2, m3 = lines[at + STRETCH], lines[at + 2 * STRETCH], lines[at + 3 * STRETCH]
    m4, m5, m6, m7 = (
        lines[at + 4 * STRETCH],
        lines[at + 5 * STRETCH],
        lines[at + 6 * STRETCH],
        lines[at + 7 * STRETCH],
    )
    xy, xz, yz = m3 + z * m7, m5 + y * m7, m6 + x * m7
    return (
        h * (m2 + z * m6 + x * xy),
        h * (m1 + y * m3 + z * xz),
        h * h * xy,
        h * (m4 + y * m6 + x * xz),
        h * h * yz,
        h * h * xz,
        h * h * h * m7,
    )


@compiled
def _work_in_blocks(row, lines, m, block, x, y, z):
    h = np.float32(1) / np.float32(block)
    for i in range(len(row)):
        u = _shifted(lines, i, h, x, y, z)
        v = _shifted(lines, 8 * STRETCH + i, h, x, y, z)
        w = _shifted(lines, 16 * STRETCH + i, h, x, y, z)
        f, g, k = forces_3d(u, v, w, m)
        total = f[0] * u[0] + g[0] * v[0] + k[0] * w[0]
        for q in range(1, 7):
            total += f[q] * u[q] + g[q] * v[q] + k[q] * w[q]
        row[i] = total


@compiled
def block_energy_2d(energy, u, m, block):
    """As `block_energy_3d`: energy (1, ny, nx), u (1, y, 2, x), m (8,)."""
    _, ny, nx = energy.shape
    h = np.float32(1) / np.float32(block)
    for j in range(ny):
        a, b, y = u[0, j // block], u[0, j // block + 1], _place(j, block)
        for i in range(nx):
            at, x = i // block, _place(i, block)
            ux, uy, uxy = _modes_2d(a[0], b[0], at)
            vx, vy, vxy = _modes_2d(a[1], b[1], at)
            u01, u10, u11 = h * (uy + x * uxy), h * (ux + y * uxy), h * h * uxy
            v01, v10, v11 = h * (vy + x * vxy), h * (vx + y * vxy), h * h * vxy
            f = forces_2d((u01, u10, u11, v01, v10, v11), m)
            energy[0, j, i] = f[0] * u01 + f[1] * u10 + f[2] * u11 + f[3] * v01 + f[4] * v10 + f[5] * v11


@compiled
def _modes_2d(a, b, at):
    """Linear along x, along y, along both."""
    dx0, dx1 = a[at + 1] - a[at], b[at + 1] - b[at]
    return dx0 + dx1, b[at] + b[at + 1] - a[at] - a[at + 1], dx1 - dx0


@compiled
def block_energy_scalar_3d(energy, u, m, block):
    """As `block_energy_3d`: u (z, y, 1, x), m (7,)."""
    nz, ny, nx = energy.shape
    lines, h = np.empty(8 * STRETCH, np.float32), np.float32(1) / np.float32(block)
    for Z in range((nz + block - 1) // block):
        for Y in range((ny + block - 1) // block):
            for start in range(0, (nx + block - 1) // block, STRETCH):
                n = min(STRETCH, (nx + block - 1) // block - start)
                _analyse_blocks(lines, u[Z, Y], u[Z, Y + 1], u[Z + 1, Y], u[Z + 1, Y + 1], start, n)
                for k in range(Z * block, min(nz, (Z + 1) * block)):
                    for j in range(Y * block, min(ny, (Y + 1) * block)):
                        for s in range(block):
                            x, y, z = _place(s, block), _place(j, block), _place(k, block)
                            target = energy[k, j, start * block + s :: block]
                            for i in range(min(n, len(target))):
                                t010, t100, t110, t001, t011, t101, t111 = _shifted(lines, i, h, x, y, z)
                                target[i] = (
                                    m[0] * t100 * t100
                                    + m[1] * t010 * t010
                                    + m[2] * t110 * t110
                                    + m[3] * t001 * t001
                                    + m[4] * t101 * t101
                                    + m[5] * t011 * t011
                                    + m[6] * t111 * t111
                                )


@compiled
def block_energy_scalar_2d(energy, u, m, block):
    """As `block_energy_2d`: u (1, y, 1, x), m (3,)."""
    _, ny, nx = energy.shape
    h = np.float32(1) / np.float32(block)
    for j in range(ny):
        a, b, y = u[0, j // block], u[0, j // block + 1], _place(j, block)
        for i in range(nx):
            tx, ty, txy = _modes_2d(a[0], b[0], i // block)
            t10, t01, t11 = h * (tx + y * txy), h * (ty + _place(i, block) * txy), h * h * txy
            energy[0, j, i] = m[0] * t10 * t10 + m[1] * t01 * t01 + m[2] * t11 * t11
