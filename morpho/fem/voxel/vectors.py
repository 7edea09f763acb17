"""Compiled passes over nodal arrays (z, y, component, x) and cell arrays (z, y, x).

`Runs` say what takes part in each row of nodes; see `present`.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from morpho.fem.voxel.kernels_3d import compiled

#: (runs, 4) layer, row, first node, and the one after the last of each run; loops over nodes are faster unsigned
Runs = NDArray[np.int64]

PAGE = 512  #: entries that are looked at together: what is in a page of memory


@compiled
def reset(v):
    """v = 0, written only where it is not: pages that nobody wrote are not taken."""
    flat = v.ravel()
    for start in range(0, len(flat), PAGE):
        part = flat[start : start + PAGE]
        size = abs(part[0])
        for i in range(1, len(part)):
            size += abs(part[i])
        if size != 0:  # or not a number
            part[:] = 0


@compiled
def coarsen_moduli(coarse, fine, layers):
    """Moduli of cells twice as large: the sum of their children, divided by four; missing children count as void.

    That is their mean times 2^(dim-2), the factor between the element matrices, so that all grids share one matrix.
    `layers` is 2, in 2-D 1.
    """
    nz, ny, _ = fine.shape
    quarter = fine.dtype.type(0.25)
    reset(coarse)
    for k in range(nz):
        for j in range(ny):
            source = fine[k, j]
            first, last = _extent(source)
            first -= first % 2
            row, source = coarse[k // layers, j // 2, first // 2 :], source[first:last]
            for i in range(len(source) // 2):
                row[i] += quarter * (source[2 * i] + source[2 * i + 1])
            if len(source) % 2:
                row[len(source) // 2] += quarter * source[len(source) - 1]


@compiled
def _extent(row):
    """The first entry that is not zero, and the one after the last."""
    first, last = 0, len(row)
    while last > 0 and row[last - 1] == 0:
        last -= 1
    while first < last and row[first] == 0:
        first += 1
    return first, last


@compiled
def sum_in_blocks(blocks, cells, block):
    """Sum over the cells of each block of block^3 cells, in 2-D block^2: (z, y, x) from (z, y, x)."""
    nz, ny, nx = cells.shape
    blocks[:] = 0
    for k in range(nz):
        for j in range(ny):
            row, source = blocks[k // block, j // block], cells[k, j]
            full = nx // block
            for s in range(block):
                shifted = source[s:]
                for i in range(full):
                    row[i] += shifted[block * i]
            for i in range(full * block, nx):
                row[full] += source[i]


@compiled
def sum_at_nodes(nodes, cells, layers):
    """Sum of the adjacent cells at each node: (z, y, 1, x) from (z, y, x); `layers` is 2, in 2-D 1."""
    nz, ny, _ = cells.shape
    reset(nodes)
    for k in range(nz):
        for j in range(ny):
            first, last = _extent(cells[k, j])
            _share_out(nodes, k, j, cells[k, j, first:last], first, layers)


@compiled
def sum_squares_at_nodes(nodes, cells, layers):
    """The same of the squares of the cells."""
    nz, ny, nx = cells.shape
    line = np.empty(nx, cells.dtype)
    reset(nodes)
    for k in range(nz):
        for j in range(ny):
            first, last = _extent(cells[k, j])
            source, squares = cells[k, j, first:last], line[: last - first]
            for i in range(len(source)):
                squares[i] = source[i] * source[i]
            _share_out(nodes, k, j, squares, first, layers)


@compiled
def _share_out(nodes, k, j, source, first, layers):
    """Add cells from the one `first` on in a row (z, y) to the nodes around them."""
    for dk in range(layers):
        for dj in range(2):
            row = nodes[k + dk, j + dj, 0, first : first + len(source) + 1]
            for i in range(len(source)):
                row[i] += source[i]
            for i in range(len(source)):
                row[i + 1] += source[i]


@njit(cache=True)
def assemble(A, dofs, E, K):
    """A += the element matrix K times the modulus E (cell,) at the dofs (cell, entry) of each cell."""
    for cell in range(len(E)):
        own, e = dofs[cell], np.float64(E[cell])
        for i in range(len(own)):
            row, entries = A[own[i]], K[i]
            for j in range(len(own)):
                row[own[j]] += e * entries[j]


@compiled
def smoothing_weights(total, squares, cells, unevenness):
    """total = 1 / (total (1 + unevenness (cells / effective cells - 1))), from sums of moduli and of their squares.

    Zero where no cell is around.
    """
    total, squares = total.ravel(), squares.ravel()
    for i in range(len(total)):
        if total[i] > 0:
            raised = total[i] + unevenness * (cells * squares[i] / total[i] - total[i])
            total[i] = 1 / raised


@compiled
def mean_of_nodes(cells, nodes, c, layers):
    """Mean of a component over the nodes of each cell: the transpose of `sum_at_nodes`, scaled."""
    nz, ny, nx = cells.shape
    weight = 1.0 / (4 * layers)
    reset(cells)
    for k in range(nz):
        for j in range(ny):
            for dk in range(layers):
                for dj in range(2):
                    row = nodes[k + dk, j + dj, c]
                    first, last = _extent(row)
                    first, last = max(first - 1, 0), min(last, nx)
                    target, row = cells[k, j, first:last], row[first : last + 1]
                    for i in range(len(target)):
                        target[i] += weight * (row[i] + row[i + 1])


@compiled
def multiply_by(values, factors, numbers):
    """values *= factors[numbers], entry by entry."""
    values, numbers = values.ravel(), numbers.ravel()
    for i in range(len(values)):
        values[i] *= factors[numbers[i]]


@compiled
def add_differences(cells, nodes, c, axis, weight, layers):
    """cells += weight times the sum of a component over the nodes of each cell, those low along an axis negative.

    `axis` is 0 for x, 1 for y, 2 for z; `layers` is 2, in 2-D 1.
    """
    nz, ny, nx = cells.shape
    for k in range(nz):
        for j in range(ny):
            target = cells[k, j]
            for dk in range(layers):
                for dj in range(2):
                    row = nodes[k + dk, j + dj, c]
                    w = weight if axis == 0 or (dj == 1 if axis == 1 else dk == 1) else -weight
                    left = -w if axis == 0 else w
                    for i in range(nx):
                        target[i] += left * row[i] + w * row[i + 1]


@compiled
def add_differences_transposed(nodes, cells, c, axis, weight, layers):
    """The transpose of `add_differences`, added to the nodes of this rank's cells."""
    nz, ny, nx = cells.shape
    for k in range(nz):
        for j in range(ny):
            source = cells[k, j]
            for dk in range(layers):
                for dj in range(2):
                    row = nodes[k + dk, j + dj, c]
                    w = weight if axis == 0 or (dj == 1 if axis == 1 else dk == 1) else -weight
                    left = -w if axis == 0 else w
                    for i in range(nx):
                        row[i] += left * source[i]
                    for i in range(nx):
                        row[i + 1] += w * source[i]


def whole_rows(shape: tuple[int, ...]) -> Runs:
    """All nodes of an array (z, y, component, x) (local)."""
    nz, ny, _, nx = shape
    rows = np.arange(nz * ny)
    return np.column_stack([rows // ny, rows % ny, np.zeros_like(rows), np.full_like(rows, nx)])


@compiled
def clear(v, runs):
    """v = 0."""
    nc = v.shape[2]
    for k, j, low, high in runs:
        a, b = np.uint64(low), np.uint64(high)
        for c in range(nc):
            row = v[k, j, c]
            for i in range(a, b):
                row[i] = 0


@compiled
def copy(out, v, runs):
    """out = v."""
    nc = v.shape[2]
    for k, j, low, high in runs:
        a, b = np.uint64(low), np.uint64(high)
        for c in range(nc):
            row, source = out[k, j, c], v[k, j, c]
            for i in range(a, b):
                row[i] = source[i]


@compiled
def copy_scaled(out, v, scale, runs):
    """out = scale v, in its own precision."""
    nc = v.shape[2]
    for k, j, low, high in runs:
        a, b = np.uint64(low), np.uint64(high)
        for c in range(nc):
            row, source = out[k, j, c], v[k, j, c]
            for i in range(a, b):
                row[i] = scale * source[i]


@compiled
def add_prolonged(fine, coarse, runs):
    """fine += P coarse: linear interpolation from every other node; runs of the fine rows."""
    nc = fine.shape[2]
    quarter, half = fine.dtype.type(0.25), fine.dtype.type(0.5)
    for k, j, a, b in runs:
        first, last = a // 2, b // 2 + 1
        for c in range(nc):
            row = fine[k, j, c, a:b]
            p, q = coarse[k // 2, j // 2, c, first:last], coarse[k // 2, (j + 1) // 2, c, first:last]
            r = coarse[(k + 1) // 2, j // 2, c, first:last]
            s = coarse[(k + 1) // 2, (j + 1) // 2, c, first:last]
            for i in range(len(row) // 2):
                left = quarter * (p[i] + q[i] + r[i] + s[i])
                right = quarter * (p[i + 1] + q[i + 1] + r[i + 1] + s[i + 1])
                row[2 * i] += left
                row[2 * i + 1] += half * (left + right)
            if len(row) % 2:
                i = len(row) // 2
                row[2 * i] += quarter * (p[i] + q[i] + r[i] + s[i])


@compiled
def restrict(coarse, fine, runs):
    """coarse += P^t fine, the transpose of the interpolation; runs of the fine rows."""
    nc = fine.shape[2]
    line = np.empty(coarse.shape[3] + 1, fine.dtype)
    for k, j, a, b in runs:
        weight = fine.dtype.type(0.5 ** (k % 2 + j % 2))
        n = (b - a) // 2 + 1  # nodes of the coarse rows that lie below
        for c in range(nc):
            _restrict_row(line, fine[k, j, c, a:b], weight)
            for dk in range(1 + k % 2):
                for dj in range(1 + j % 2):
                    row = coarse[k // 2 + dk, j // 2 + dj, c, a // 2 : a // 2 + n]
                    for i in range(len(row)):
                        row[i] += line[i]


@compiled
def _restrict_row(line, source, weight):
    """The restriction along x of a row that begins at an even node."""
    n, half = len(source) // 2, source.dtype.type(0.5)
    before = source.dtype.type(0)
    for i in range(n):
        even, odd = weight * source[2 * i], weight * half * source[2 * i + 1]
        line[i] = even + odd + before
        before = odd
    line[n] = before
    if len(source) % 2:
        line[n] += weight * source[2 * n]


@compiled
def scale_by_nodes(x, r, s, d, runs):
    """x = d s r, with s (z, y, 1, x) at nodes and d (component,)."""
    nc = x.shape[2]
    for k, j, low, high in runs:
        a, b = np.uint64(low), np.uint64(high)
        for c in range(nc):
            target, source, weight, factor = x[k, j, c], r[k, j, c], s[k, j, 0], d[c]
            for i in range(a, b):
                target[i] = factor * weight[i] * source[i]


@compiled
def add_scaled_by_nodes(x, r, s, d, runs):
    """x += d s r, with s (z, y, 1, x) at nodes and d (component,)."""
    nc = x.shape[2]
    for k, j, low, high in runs:
        a, b = np.uint64(low), np.uint64(high)
        for c in range(nc):
            target, source, weight, factor = x[k, j, c], r[k, j, c], s[k, j, 0], d[c]
            for i in range(a, b):
                target[i] += factor * weight[i] * source[i]


@compiled
def chebyshev_step(x, z, r, s, d, momentum, beta, runs):
    """z = momentum z + d s r; x += beta z."""
    nc = x.shape[2]
    for k, j, low, high in runs:
        a, b = np.uint64(low), np.uint64(high)
        for c in range(nc):
            target, step, source = x[k, j, c], z[k, j, c], r[k, j, c]
            weight, factor = s[k, j, 0], d[c]
            for i in range(a, b):
                step[i] = momentum * step[i] + factor * weight[i] * source[i]
                target[i] += beta * step[i]


@compiled
def diffusion_step(before, p, source, flow, inverse, scale, gain, momentum, runs):
    """before = p + momentum (p - before) + gain (source - S p), where S p = p + scale inverse flow."""
    for k, j, low, high in runs:
        a, b = np.uint64(low), np.uint64(high)
        result, own, given = before[k, j, 0], p[k, j, 0], source[k, j, 0]
        through, share = flow[k, j, 0], inverse[k, j, 0]
        for i in range(a, b):
            here = own[i] + scale * share[i] * through[i]
            result[i] = own[i] + momentum * (own[i] - result[i]) + gain * (given[i] - here)


@compiled
def advance(u, r, p, q, step, alpha, start, runs):
    """One step of conjugate gradients: u += step p; r -= alpha q; the sum of r r from the node `start` (z, y, x) on."""
    nc = u.shape[2]
    total = 0.0
    for k, j, low, high in runs:
        first, after = np.uint64(low), np.uint64(high)
        for c in range(nc):
            u_row, r_row, p_row, q_row = u[k, j, c], r[k, j, c], p[k, j, c], q[k, j, c]
            part = 0.0
            for i in range(first, after):
                u_row[i] += step * p_row[i]
                r_row[i] -= alpha * q_row[i]
                part += r_row[i] * r_row[i]
            for i in range(first, np.uint64(min(start[2], high))):
                part -= r_row[i] * r_row[i]
            if k >= start[0] and j >= start[1]:
                total += part
    return total


@compiled
def turn(p, z, beta, runs):
    """p = z + beta p."""
    nc = p.shape[2]
    for k, j, low, high in runs:
        a, b = np.uint64(low), np.uint64(high)
        for c in range(nc):
            row, source = p[k, j, c], z[k, j, c]
            for i in range(a, b):
                row[i] = source[i] + beta * row[i]


@compiled
def dot(a, b, start, runs):
    """Sum of the products of two arrays from the node `start` (z, y, x) on, in double precision."""
    nc = a.shape[2]
    total = 0.0
    for k, j, low, high in runs:
        if k < start[0] or j < start[1]:
            continue
        first, after = np.uint64(max(low, start[2])), np.uint64(high)
        for c in range(nc):
            one, other = a[k, j, c], b[k, j, c]
            part = 0.0
            for i in range(first, after):
                part += one[i] * other[i]
            total += part
    return total
