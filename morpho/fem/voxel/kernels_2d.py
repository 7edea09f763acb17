"""The innermost loops in 2-D; see `kernels_3d`. Arrays have a single layer in z."""

from __future__ import annotations

import numpy as np

from morpho.fem.voxel.kernels_3d import EDGE, LINE, compiled


@compiled
def add_stiffness(y, u, E, m, pieces):
    """y += A u: the stiffness of cells of this rank, without supports.

    Args:
        y, u: (1, ny+1, 2, nx+1).
        E: (1, ny, nx) Young's moduli.
        m: (8,) mode stiffness; its negative subtracts.
        pieces: the cells, see `present.Pieces`.
    """
    lower, upper = np.zeros(4 * LINE, u.dtype), np.zeros(4 * LINE, u.dtype)
    done, carried = np.zeros(4 * LINE, u.dtype), np.zeros(4 * LINE, u.dtype)
    for _, start, n, first, last in pieces:
        carried[:] = 0
        _analyse_row(lower, u[0, first], start, n)
        for j in range(first, last):
            _analyse_row(upper, u[0, j + 1], start, n)
            _stress(done, carried, lower, upper, E[0, j, start : start + n], m)
            _synthesise_row(y[0, j], done, start, n)
            lower, upper = upper, lower
        _synthesise_row(y[0, last], carried, start, n)


@compiled
def strain_energy(energy, u, m, pieces):
    """energy = u . K u of cells at unit modulus, shapes as in `add_stiffness`."""
    lower, upper = np.zeros(4 * LINE, u.dtype), np.zeros(4 * LINE, u.dtype)
    for _, start, n, first, last in pieces:
        _analyse_row(lower, u[0, first], start, n)
        for j in range(first, last):
            _analyse_row(upper, u[0, j + 1], start, n)
            _work(energy[0, j, start : start + n], lower, upper, m)
            lower, upper = upper, lower


@compiled
def _analyse_row(lines, nodes, start, n):
    """Sums and differences along x of a node row, per component."""
    for c in range(2):
        a = nodes[c, start : start + n + 1]
        at = 2 * c * LINE + EDGE
        for i in range(n):
            lines[at + i] = a[i + 1] + a[i]
            lines[at + LINE + i] = a[i + 1] - a[i]


@compiled
def _synthesise_row(nodes, lines, start, n):
    """The transpose of `_analyse_row`, added to the node row."""
    for c in range(2):
        a = nodes[c, start : start + n + 1]
        at = 2 * c * LINE + EDGE
        lines[at + n] = 0
        lines[at + LINE + n] = 0
        for i in range(n + 1):
            a[i] += lines[at + i] - lines[at + LINE + i] + lines[at + i - 1] + lines[at + LINE + i - 1]


@compiled
def _modes(lower, upper, i):
    """Modes of one cell: component u, v, then linear or constant along x, y."""
    p = EDGE + i
    u01 = upper[p] - lower[p]
    u10, u11 = upper[p + LINE] + lower[p + LINE], upper[p + LINE] - lower[p + LINE]
    v01 = upper[p + 2 * LINE] - lower[p + 2 * LINE]
    v10, v11 = upper[p + 3 * LINE] + lower[p + 3 * LINE], upper[p + 3 * LINE] - lower[p + 3 * LINE]
    return u01, u10, u11, v01, v10, v11


@compiled
def _forces(modes, m):
    """Mode forces at unit modulus, in the order of `_modes`."""
    u01, u10, u11, v01, v10, v11 = modes
    return (
        m[3] * u01 + m[4] * v10,
        m[0] * u10 + m[1] * v01,
        m[6] * u11,
        m[1] * u10 + m[2] * v01,
        m[4] * u01 + m[5] * v10,
        m[7] * v11,
    )


@compiled
def _stress(done, carried, lower, upper, E, m):
    """Mode forces of a row of cells: its lower side completes `done`, its upper side is carried to the next row."""
    for i in range(len(E)):
        p, e = EDGE + i, E[i]
        f01, f10, f11, g01, g10, g11 = _forces(_modes(lower, upper, i), m)
        f01, f10, f11, g01, g10, g11 = e * f01, e * f10, e * f11, e * g01, e * g10, e * g11
        done[p] = carried[p] - f01
        carried[p] = f01
        done[p + LINE] = carried[p + LINE] + f10 - f11
        carried[p + LINE] = f10 + f11
        done[p + 2 * LINE] = carried[p + 2 * LINE] - g01
        carried[p + 2 * LINE] = g01
        done[p + 3 * LINE] = carried[p + 3 * LINE] + g10 - g11
        carried[p + 3 * LINE] = g10 + g11


@compiled
def _work(energy, lower, upper, m):
    for i in range(len(energy)):
        modes = _modes(lower, upper, i)
        forces = _forces(modes, m)
        total = forces[0] * modes[0]
        for q in range(1, 6):
            total += forces[q] * modes[q]
        energy[i] = total
