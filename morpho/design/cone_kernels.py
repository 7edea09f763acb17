"""Compiled passes of the cone filter on a box of equal cells: row by row, with all that is done to a row at once."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from morpho.design import smooth_step
from morpho.interfaces import Array

Indices = NDArray[np.int64]

BLOCK = 16  #: rows done in all planes before the next ones, so that their neighbours are still in the cache

project, scale, slope = smooth_step.project, smooth_step.scale, smooth_step.slope
compiled = njit(cache=True, fastmath={"reassoc", "contract", "arcp", "nsz"}, error_model="numpy")


class Stencil(NamedTuple):
    """Weights around a cell; rows of cells along x that are equally far from the middle one are a class."""

    rows: Indices  #: (m, 2) steps along z, y from the middle row, sorted by class
    first: Indices  #: (k + 1,) where each class starts
    weights: Array  #: (k, reach + 1) by class and steps along x, the same to either side
    lengths: Indices  #: (k,) how many of them are not zero


class Sums(NamedTuple):
    """Sums of the weights around each cell: rows (a, b, x), of which a row (z, y) of the box has that at `z`, `y`."""

    rows: Array
    z: Indices
    y: Indices


@compiled
def weighted(out, source, start, stencil, wanted):
    """Weighted sums around the cells of a box that begins at `start` in the source; beyond the source is nothing.

    Only in the rows (z, y) that are wanted; the others stay as they are, also below.
    """
    nz, ny, nx = out.shape
    lines = _lines(source, start, stencil, nx)
    for block in range(0, ny, BLOCK):
        for z in range(nz):
            for y in range(block, min(block + BLOCK, ny)):
                if wanted[z, y]:
                    _add_up(out, z, y, source, start, stencil, lines)


@compiled
def averaged(out, source, start, stencil, wanted, sums, beta, eta):
    """As `weighted`, but divided by the sums of the weights, and projected if beta is not zero."""
    nz, ny, nx = out.shape
    lines = _lines(source, start, stencil, nx)
    for block in range(0, ny, BLOCK):
        for z in range(nz):
            for y in range(block, min(block + BLOCK, ny)):
                if not wanted[z, y]:
                    continue
                _add_up(out, z, y, source, start, stencil, lines)
                i, j = sums.z[z], sums.y[y]
                for x in range(nx):
                    out[z, y, x] /= sums.rows[i, j, x]
                if beta > 0.0:
                    project(out[z, y], beta, eta)


@compiled
def divided(out, start, d, rho, wanted, sums, beta, eta):
    """The part of `out` that begins at `start` becomes d (z, y, x) over the sums of the weights.

    Times the slope of the projection at rho if beta is not zero; else rho is not read. One entry of `d` stands for all.
    """
    nz, ny, nx = len(sums.z), len(sums.y), sums.rows.shape[2]
    low, share = scale(beta, eta)
    repeated = np.full(nx, d[0, 0, 0])
    for z in range(nz):
        for y in range(ny):
            if not wanted[z, y]:
                continue
            row, divisor = out[start[0] + z, start[1] + y, start[2] : start[2] + nx], sums.rows[sums.z[z], sums.y[y]]
            given = repeated if d.size == 1 else d[z, y]
            if beta > 0.0:
                there = rho[z, y]
                for x in range(nx):
                    row[x] = given[x] * slope(there[x], low, share, beta) / divisor[x]
            else:
                for x in range(nx):
                    row[x] = given[x] / divisor[x]


@compiled
def _lines(source, start, stencil, nx):
    """A line with what lies beyond the source on both sides; of it what the source has, the box, the cells before those
    of the box, and the ones after them. Views that are made for each row take longer than the row."""
    reach = stencil.weights.shape[1] - 1
    line = np.zeros(nx + 2 * max(reach, 1))
    low = max(reach, 1)
    near = line[low - start[2] : low - start[2] + source.shape[2]]
    return line, near, line[low : low + nx], line[low - 1 : low - 1 + nx], line[low + 1 : low + 1 + nx]


@compiled
def _add_up(out, z, y, source, start, stencil, lines):
    """The weighted sums of a row."""
    line, near, middle, before, after = lines
    sz, sy, sx = source.shape
    nx = out.shape[2]
    for kind in range(len(stencil.lengths)):
        i, last, is_begun = stencil.first[kind], stencil.first[kind + 1], False
        while i < last:
            count, a, b, c, d, e, f, g, h = 0, 0, 0, 0, 0, 0, 0, 0, 0
            while i < last and count < 4:
                at_z, at_y = start[0] + z + stencil.rows[i, 0], start[1] + y + stencil.rows[i, 1]
                if 0 <= at_z < sz and 0 <= at_y < sy:
                    a, b, c, d, e, f, g, h = c, d, e, f, g, h, at_z, at_y
                    count += 1
                i += 1
            if count == 4 and not is_begun:
                for x in range(sx):
                    near[x] = (source[a, b, x] + source[c, d, x]) + (source[e, f, x] + source[g, h, x])
            elif count == 4:
                for x in range(sx):
                    near[x] += (source[a, b, x] + source[c, d, x]) + (source[e, f, x] + source[g, h, x])
            elif count > 0:
                if is_begun:
                    for x in range(sx):
                        near[x] += source[g, h, x]
                else:
                    for x in range(sx):
                        near[x] = source[g, h, x]
                if count > 1:
                    for x in range(sx):
                        near[x] += source[e, f, x]
                if count > 2:
                    for x in range(sx):
                        near[x] += source[c, d, x]
            is_begun = is_begun or count > 0
        if not is_begun:
            near[:] = 0.0
        weight, beside = stencil.weights[kind, 0], 0.0
        if stencil.lengths[kind] > 1:
            beside = stencil.weights[kind, 1]
        if kind == 0:
            for x in range(nx):
                out[z, y, x] = weight * middle[x] + beside * (before[x] + after[x])
        elif beside > 0.0:
            for x in range(nx):
                out[z, y, x] += weight * middle[x] + beside * (before[x] + after[x])
        else:
            for x in range(nx):
                out[z, y, x] += weight * middle[x]
        low = (len(line) - nx) // 2
        for step in range(2, stencil.lengths[kind]):
            left, right = line[low - step : low - step + nx], line[low + step : low + step + nx]
            weight = stencil.weights[kind, step]
            for x in range(nx):
                out[z, y, x] += weight * (left[x] + right[x])
