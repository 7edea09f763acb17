"""The innermost loops: a constant element matrix on rows of equal cells.

A row of cells lies between node rows. In the basis of sums and differences over the nodes of a cell (see
`element.mode_stiffness`) the element matrix has 45 entries instead of 576. The sums and differences along x and z
are formed once for two rows of cells, those along y once per cell, for a stretch of cells at a time that stays in
the first cache; the loops over x are what the compiler turns into vector instructions. For that, rows are sliced
before they are indexed, and all lines of a scratch array lie at fixed distances.

Nodal arrays are (z, y, component, x), cell arrays (z, y, x), in float64 or float32 throughout.
"""

from __future__ import annotations

import numpy as np
from numba import njit

STRETCH = 128  #: cells of a row that are treated together
EDGE = 16  #: entries before and after a line; keeps lines aligned, and the one before is read as zero
LINE = STRETCH + 2 * EDGE  #: distance between lines of scratch memory

compiled = njit(cache=True, fastmath={"reassoc", "contract", "arcp", "nsz"}, error_model="numpy")


@compiled
def add_stiffness(y, u, E, m, pieces):
    """y += A u: the stiffness of cells of this rank, without supports.

    Args:
        y, u: (nz+1, ny+1, 3, nx+1).
        E: (nz, ny, nx) Young's moduli.
        m: (33,) mode stiffness; its negative subtracts.
        pieces: the cells, see `present.Pieces`.
    """
    lower, upper = np.zeros(12 * LINE, u.dtype), np.zeros(12 * LINE, u.dtype)
    done, carried = np.zeros(12 * LINE, u.dtype), np.zeros(12 * LINE, u.dtype)
    for k, start, n, first, last in pieces:
        carried[:] = 0
        _analyse_rows(lower, u[k, first], u[k + 1, first], start, n)
        for j in range(first, last):
            _analyse_rows(upper, u[k, j + 1], u[k + 1, j + 1], start, n)
            _stress(done, carried, lower, upper, E[k, j, start : start + n], m)
            _synthesise_rows(y[k, j], y[k + 1, j], done, start, n)
            lower, upper = upper, lower
        _synthesise_rows(y[k, last], y[k + 1, last], carried, start, n)


@compiled
def strain_energy(energy, u, m, pieces):
    """energy = u . K u of cells at unit modulus, shapes as in `add_stiffness`."""
    lower, upper = np.zeros(12 * LINE, u.dtype), np.zeros(12 * LINE, u.dtype)
    for k, start, n, first, last in pieces:
        _analyse_rows(lower, u[k, first], u[k + 1, first], start, n)
        for j in range(first, last):
            _analyse_rows(upper, u[k, j + 1], u[k + 1, j + 1], start, n)
            _work(energy[k, j, start : start + n], lower, upper, m)
            lower, upper = upper, lower


@compiled
def _analyse_rows(lines, below, above, start, n):
    """Sums and differences along x and z between two node rows: per component ss, dx, dz, dx dz."""
    for c in range(3):
        a, b = below[c, start : start + n + 1], above[c, start : start + n + 1]
        at = 4 * c * LINE + EDGE
        for i in range(n):
            s0, d0 = a[i + 1] + a[i], a[i + 1] - a[i]
            s1, d1 = b[i + 1] + b[i], b[i + 1] - b[i]
            lines[at + i] = s1 + s0
            lines[at + LINE + i] = d1 + d0
            lines[at + 2 * LINE + i] = s1 - s0
            lines[at + 3 * LINE + i] = d1 - d0


@compiled
def _synthesise_rows(below, above, lines, start, n):
    """The transpose of `_analyse_rows`, added to the two node rows."""
    for c in range(3):
        a, b = below[c, start : start + n + 1], above[c, start : start + n + 1]
        at = 4 * c * LINE + EDGE
        for part in range(4):
            lines[at + part * LINE + n] = 0
        for i in range(n + 1):
            s = lines[at + i] - lines[at + LINE + i] + lines[at + i - 1] + lines[at + LINE + i - 1]
            d = lines[at + 2 * LINE + i] - lines[at + 3 * LINE + i]
            d += lines[at + 2 * LINE + i - 1] + lines[at + 3 * LINE + i - 1]
            a[i] += s - d
            b[i] += s + d


@compiled
def _modes(lower, upper, i):
    """Modes of one cell: component u, v, w, then linear or constant along x, y, z."""
    p = EDGE + i
    u010 = upper[p] - lower[p]
    u100, u110 = upper[p + LINE] + lower[p + LINE], upper[p + LINE] - lower[p + LINE]
    u001, u011 = upper[p + 2 * LINE] + lower[p + 2 * LINE], upper[p + 2 * LINE] - lower[p + 2 * LINE]
    u101, u111 = upper[p + 3 * LINE] + lower[p + 3 * LINE], upper[p + 3 * LINE] - lower[p + 3 * LINE]
    v010 = upper[p + 4 * LINE] - lower[p + 4 * LINE]
    v100, v110 = upper[p + 5 * LINE] + lower[p + 5 * LINE], upper[p + 5 * LINE] - lower[p + 5 * LINE]
    v001, v011 = upper[p + 6 * LINE] + lower[p + 6 * LINE], upper[p + 6 * LINE] - lower[p + 6 * LINE]
    v101, v111 = upper[p + 7 * LINE] + lower[p + 7 * LINE], upper[p + 7 * LINE] - lower[p + 7 * LINE]
    w010 = upper[p + 8 * LINE] - lower[p + 8 * LINE]
    w100, w110 = upper[p + 9 * LINE] + lower[p + 9 * LINE], upper[p + 9 * LINE] - lower[p + 9 * LINE]
    w001, w011 = upper[p + 10 * LINE] + lower[p + 10 * LINE], upper[p + 10 * LINE] - lower[p + 10 * LINE]
    w101, w111 = upper[p + 11 * LINE] + lower[p + 11 * LINE], upper[p + 11 * LINE] - lower[p + 11 * LINE]
    return (
        (u010, u100, u110, u001, u011, u101, u111),
        (v010, v100, v110, v001, v011, v101, v111),
        (w010, w100, w110, w001, w011, w101, w111),
    )


@compiled
def _forces(u, v, w, m):
    """Mode forces at unit modulus, in the order of `_modes`."""
    u010, u100, u110, u001, u011, u101, u111 = u
    v010, v100, v110, v001, v011, v101, v111 = v
    w010, w100, w110, w001, w011, w101, w111 = w
    return (
        (
            m[6] * u010 + m[7] * v100,
            m[0] * u100 + m[1] * v010 + m[2] * w001,
            m[15] * u110 + m[16] * w011,
            m[9] * u001 + m[10] * w100,
            m[24] * u011 + m[25] * v101 + m[26] * w110,
            m[18] * u101 + m[19] * v011,
            m[30] * u111,
        ),
        (
            m[1] * u100 + m[3] * v010 + m[4] * w001,
            m[7] * u010 + m[8] * v100,
            m[21] * v110 + m[22] * w101,
            m[12] * v001 + m[13] * w010,
            m[19] * u101 + m[20] * v011,
            m[25] * u011 + m[27] * v101 + m[28] * w110,
            m[31] * v111,
        ),
        (
            m[13] * v001 + m[14] * w010,
            m[10] * u001 + m[11] * w100,
            m[26] * u011 + m[28] * v101 + m[29] * w110,
            m[2] * u100 + m[4] * v010 + m[5] * w001,
            m[16] * u110 + m[17] * w011,
            m[22] * v110 + m[23] * w101,
            m[32] * w111,
        ),
    )


@compiled
def _stress(done, carried, lower, upper, E, m):
    """Mode forces of a row of cells: its lower side completes `done`, its upper side is carried to the next row."""
    for i in range(len(E)):
        u, v, w = _modes(lower, upper, i)
        f, g, h = _forces(u, v, w, m)
        for c, q in enumerate((f, g, h)):
            _share(done, carried, EDGE + i + 4 * c * LINE, E[i], q)


@compiled
def _share(done, carried, p, e, q):
    """The transpose of the sums and differences along y, for one component."""
    f010, f100, f110, f001, f011, f101, f111 = q
    f010, f100, f110, f001, f011, f101, f111 = e * f010, e * f100, e * f110, e * f001, e * f011, e * f101, e * f111
    done[p] = carried[p] - f010
    carried[p] = f010
    done[p + LINE] = carried[p + LINE] + f100 - f110
    carried[p + LINE] = f100 + f110
    done[p + 2 * LINE] = carried[p + 2 * LINE] + f001 - f011
    carried[p + 2 * LINE] = f001 + f011
    done[p + 3 * LINE] = carried[p + 3 * LINE] + f101 - f111
    carried[p + 3 * LINE] = f101 + f111


@compiled
def _work(energy, lower, upper, m):
    for i in range(len(energy)):
        u, v, w = _modes(lower, upper, i)
        f, g, h = _forces(u, v, w, m)
        total = f[0] * u[0] + g[0] * v[0] + h[0] * w[0]
        for mode in range(1, 7):
            total += f[mode] * u[mode] + g[mode] * v[mode] + h[mode] * w[mode]
        energy[i] = total
