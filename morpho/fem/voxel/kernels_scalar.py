"""The innermost loops of a scalar state, in 2-D and 3-D; see `kernels_3d`. Its modes are not coupled.

In 2-D arrays have a single layer in z.
"""

from __future__ import annotations

import numpy as np

from morpho.fem.voxel.kernels_3d import EDGE, LINE, compiled


@compiled
def add_stiffness(y, u, E, m, pieces):
    """y += A u: the conductance of cells of this rank, without supports.

    Args:
        y, u: (nz+1, ny+1, 1, nx+1); in 2-D (1, ny+1, 1, nx+1).
        E: (nz, ny, nx) conductivities.
        m: (7,) mode conductance, in 2-D (3,); its negative subtracts.
        pieces: the cells, see `present.Pieces`.
    """
    flat = len(m) == 3
    lower, upper = np.zeros(4 * LINE, u.dtype), np.zeros(4 * LINE, u.dtype)
    done, carried = np.zeros(4 * LINE, u.dtype), np.zeros(4 * LINE, u.dtype)
    for k, start, n, first, last in pieces:
        above = k if flat else k + 1
        carried[:] = 0
        _analyse(lower, u[k, first, 0], u[above, first, 0], start, n, flat)
        for j in range(first, last):
            _analyse(upper, u[k, j + 1, 0], u[above, j + 1, 0], start, n, flat)
            if flat:
                _flow_2d(done, carried, lower, upper, E[k, j, start : start + n], m)
            else:
                _flow_3d(done, carried, lower, upper, E[k, j, start : start + n], m)
            _synthesise(y[k, j, 0], y[above, j, 0], done, start, n, flat)
            lower, upper = upper, lower
        _synthesise(y[k, last, 0], y[above, last, 0], carried, start, n, flat)


@compiled
def strain_energy(energy, u, m, pieces):
    """energy = u . K u of cells at conductivity 1, shapes as in `add_stiffness`."""
    flat = len(m) == 3
    lower, upper = np.zeros(4 * LINE, u.dtype), np.zeros(4 * LINE, u.dtype)
    for k, start, n, first, last in pieces:
        above = k if flat else k + 1
        _analyse(lower, u[k, first, 0], u[above, first, 0], start, n, flat)
        for j in range(first, last):
            _analyse(upper, u[k, j + 1, 0], u[above, j + 1, 0], start, n, flat)
            if flat:
                _work_2d(energy[k, j, start : start + n], lower, upper, m)
            else:
                _work_3d(energy[k, j, start : start + n], lower, upper, m)
            lower, upper = upper, lower


@compiled
def _analyse(lines, below, above, start, n, flat):
    """Sums and differences along x, in 3-D also along z, of a node row or two: ss, dx(, dz, dx dz)."""
    a = below[start : start + n + 1]
    if flat:
        for i in range(n):
            lines[EDGE + i] = a[i + 1] + a[i]
            lines[EDGE + LINE + i] = a[i + 1] - a[i]
        return
    b = above[start : start + n + 1]
    for i in range(n):
        s0, d0 = a[i + 1] + a[i], a[i + 1] - a[i]
        s1, d1 = b[i + 1] + b[i], b[i + 1] - b[i]
        lines[EDGE + i] = s1 + s0
        lines[EDGE + LINE + i] = d1 + d0
        lines[EDGE + 2 * LINE + i] = s1 - s0
        lines[EDGE + 3 * LINE + i] = d1 - d0


@compiled
def _synthesise(below, above, lines, start, n, flat):
    """The transpose of `_analyse`, added to the node rows."""
    a = below[start : start + n + 1]
    lines[EDGE + n] = 0
    lines[EDGE + LINE + n] = 0
    if flat:
        for i in range(n + 1):
            p = EDGE + i
            a[i] += lines[p] - lines[p + LINE] + lines[p - 1] + lines[p + LINE - 1]
        return
    b = above[start : start + n + 1]
    lines[EDGE + 2 * LINE + n] = 0
    lines[EDGE + 3 * LINE + n] = 0
    for i in range(n + 1):
        p = EDGE + i
        s = lines[p] - lines[p + LINE] + lines[p - 1] + lines[p + LINE - 1]
        d = lines[p + 2 * LINE] - lines[p + 3 * LINE] + lines[p + 2 * LINE - 1] + lines[p + 3 * LINE - 1]
        a[i] += s - d
        b[i] += s + d


@compiled
def _modes_3d(lower, upper, i):
    """Linear along x; y; x, y; z; x, z; y, z; all three."""
    p = EDGE + i
    return (
        upper[p + LINE] + lower[p + LINE],
        upper[p] - lower[p],
        upper[p + LINE] - lower[p + LINE],
        upper[p + 2 * LINE] + lower[p + 2 * LINE],
        upper[p + 3 * LINE] + lower[p + 3 * LINE],
        upper[p + 2 * LINE] - lower[p + 2 * LINE],
        upper[p + 3 * LINE] - lower[p + 3 * LINE],
    )


@compiled
def _flow_3d(done, carried, lower, upper, E, m):
    """Mode flows of a row of cells: its lower side completes `done`, its upper side is carried to the next row."""
    for i in range(len(E)):
        p, e = EDGE + i, E[i]
        t100, t010, t110, t001, t101, t011, t111 = _modes_3d(lower, upper, i)
        f100, f010, f110 = e * m[0] * t100, e * m[1] * t010, e * m[2] * t110
        f001, f101, f011, f111 = e * m[3] * t001, e * m[4] * t101, e * m[5] * t011, e * m[6] * t111
        done[p] = carried[p] - f010
        carried[p] = f010
        done[p + LINE] = carried[p + LINE] + f100 - f110
        carried[p + LINE] = f100 + f110
        done[p + 2 * LINE] = carried[p + 2 * LINE] + f001 - f011
        carried[p + 2 * LINE] = f001 + f011
        done[p + 3 * LINE] = carried[p + 3 * LINE] + f101 - f111
        carried[p + 3 * LINE] = f101 + f111


@compiled
def _flow_2d(done, carried, lower, upper, E, m):
    for i in range(len(E)):
        p, e = EDGE + i, E[i]
        f10 = e * m[0] * (upper[p + LINE] + lower[p + LINE])
        f01 = e * m[1] * (upper[p] - lower[p])
        f11 = e * m[2] * (upper[p + LINE] - lower[p + LINE])
        done[p] = carried[p] - f01
        carried[p] = f01
        done[p + LINE] = carried[p + LINE] + f10 - f11
        carried[p + LINE] = f10 + f11


@compiled
def _work_3d(energy, lower, upper, m):
    for i in range(len(energy)):
        t = _modes_3d(lower, upper, i)
        total = m[0] * t[0] * t[0]
        for q in range(1, 7):
            total += m[q] * t[q] * t[q]
        energy[i] = total


@compiled
def _work_2d(energy, lower, upper, m):
    for i in range(len(energy)):
        p = EDGE + i
        t10, t01 = upper[p + LINE] + lower[p + LINE], upper[p] - lower[p]
        t11 = upper[p + LINE] - lower[p + LINE]
        energy[i] = m[0] * t10 * t10 + m[1] * t01 * t01 + m[2] * t11 * t11
