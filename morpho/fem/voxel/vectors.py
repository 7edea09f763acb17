"""Compiled passes over nodal arrays (z, y, component, x) and cell arrays (z, y, x)."""

from __future__ import annotations

from morpho.fem.voxel.kernels_3d import compiled


@compiled
def coarsen_moduli(coarse, fine, layers):
    """Moduli of cells twice as large: the sum of their children, divided by four; missing children count as void.

    That is their mean times 2^(dim-2), the factor between the element matrices, so that all grids share one matrix.
    `layers` is 2, in 2-D 1.
    """
    nz, ny, nx = fine.shape
    quarter = fine.dtype.type(0.25)
    coarse[:] = 0
    for k in range(nz):
        for j in range(ny):
            row, source = coarse[k // layers, j // 2], fine[k, j]
            for i in range(nx // 2):
                row[i] += quarter * (source[2 * i] + source[2 * i + 1])
            if nx % 2:
                row[nx // 2] += quarter * source[nx - 1]


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
    nz, ny, nx = cells.shape
    nodes[:] = 0
    for k in range(nz):
        for j in range(ny):
            source = cells[k, j]
            for dk in range(layers):
                for dj in range(2):
                    row = nodes[k + dk, j + dj, 0]
                    for i in range(nx):
                        row[i] += source[i]
                    for i in range(nx):
                        row[i + 1] += source[i]


@compiled
def smoothing_weights(total, squares, cells, unevenness):
    """total = 1 / (total (1 + unevenness (cells / effective cells - 1))), from sums of moduli and of their squares."""
    total, squares = total.ravel(), squares.ravel()
    for i in range(len(total)):
        raised = total[i] + unevenness * (cells * squares[i] / total[i] - total[i])
        total[i] = 1 / raised


@compiled
def mean_of_nodes(cells, nodes, c, layers):
    """Mean of a component over the nodes of each cell: the transpose of `sum_at_nodes`, scaled."""
    nz, ny, nx = cells.shape
    weight = 1.0 / (4 * layers)
    cells[:] = 0
    for k in range(nz):
        for j in range(ny):
            target = cells[k, j]
            for dk in range(layers):
                for dj in range(2):
                    row = nodes[k + dk, j + dj, c]
                    for i in range(nx):
                        target[i] += weight * (row[i] + row[i + 1])


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


@compiled
def add_prolonged(fine, coarse):
    """fine += P coarse: linear interpolation from every other node."""
    nz, ny, nc, nx = fine.shape
    quarter, half = fine.dtype.type(0.25), fine.dtype.type(0.5)
    for k in range(nz):
        for j in range(ny):
            for c in range(nc):
                row = fine[k, j, c]
                p, q = coarse[k // 2, j // 2, c], coarse[k // 2, (j + 1) // 2, c]
                r, s = coarse[(k + 1) // 2, j // 2, c], coarse[(k + 1) // 2, (j + 1) // 2, c]
                for i in range(nx // 2):
                    left = quarter * (p[i] + q[i] + r[i] + s[i])
                    right = quarter * (p[i + 1] + q[i + 1] + r[i + 1] + s[i + 1])
                    row[2 * i] += left
                    row[2 * i + 1] += half * (left + right)
                if nx % 2:
                    i = nx // 2
                    row[nx - 1] += quarter * (p[i] + q[i] + r[i] + s[i])


@compiled
def restrict(coarse, fine):
    """coarse = P^t fine, the transpose of the interpolation."""
    nz, ny, nc, _ = fine.shape
    coarse[:] = 0
    for k in range(nz):
        for j in range(ny):
            weight = fine.dtype.type(0.5 ** (k % 2 + j % 2))
            for dk in range(1 + k % 2):
                for dj in range(1 + j % 2):
                    for c in range(nc):
                        _restrict_row(coarse[k // 2 + dk, j // 2 + dj, c], fine[k, j, c], weight)


@compiled
def _restrict_row(row, source, weight):
    nx = len(source)
    half = source.dtype.type(0.5)
    for i in range(nx // 2):
        row[i] += weight * (source[2 * i] + half * source[2 * i + 1])
    for i in range(nx // 2):
        row[i + 1] += weight * half * source[2 * i + 1]
    if nx % 2:
        row[nx // 2] += weight * source[nx - 1]


@compiled
def scale_by_nodes(x, r, s, d):
    """x = d s r, with s (z, y, 1, x) at nodes and d (component,)."""
    nz, ny, nc, nx = x.shape
    for k in range(nz):
        for j in range(ny):
            for c in range(nc):
                target, source, weight, factor = x[k, j, c], r[k, j, c], s[k, j, 0], d[c]
                for i in range(nx):
                    target[i] = factor * weight[i] * source[i]


@compiled
def add_scaled_by_nodes(x, r, s, d):
    """x += d s r, with s (z, y, 1, x) at nodes and d (component,)."""
    nz, ny, nc, nx = x.shape
    for k in range(nz):
        for j in range(ny):
            for c in range(nc):
                target, source, weight, factor = x[k, j, c], r[k, j, c], s[k, j, 0], d[c]
                for i in range(nx):
                    target[i] += factor * weight[i] * source[i]


@compiled
def chebyshev_step(x, z, r, s, d, momentum, beta):
    """z = momentum z + d s r; x += beta z."""
    nz, ny, nc, nx = x.shape
    for k in range(nz):
        for j in range(ny):
            for c in range(nc):
                target, step, source, weight, factor = x[k, j, c], z[k, j, c], r[k, j, c], s[k, j, 0], d[c]
                for i in range(nx):
                    step[i] = momentum * step[i] + factor * weight[i] * source[i]
                    target[i] += beta * step[i]


@compiled
def advance(u, r, p, q, alpha, b, scale, start):
    """One step of conjugate gradients: u += alpha p; r -= alpha q; b = scale r in its own precision.

    The sum of r r from the node `start` (z, y, x) on.
    """
    nz, ny, nc, nx = u.shape
    total = 0.0
    for k in range(nz):
        for j in range(ny):
            for c in range(nc):
                u_row, r_row, p_row, q_row, b_row = u[k, j, c], r[k, j, c], p[k, j, c], q[k, j, c], b[k, j, c]
                part = 0.0
                for i in range(nx):
                    u_row[i] += alpha * p_row[i]
                    r_row[i] -= alpha * q_row[i]
                    b_row[i] = scale * r_row[i]
                    part += r_row[i] * r_row[i]
                for i in range(start[2]):
                    part -= r_row[i] * r_row[i]
                if k >= start[0] and j >= start[1]:
                    total += part
    return total


@compiled
def turn(p, z, beta):
    """p = z + beta p."""
    p, z = p.ravel(), z.ravel()
    for i in range(len(p)):
        p[i] = z[i] + beta * p[i]


@compiled
def dot(a, b, start):
    """Sum of the products of two arrays from the node `start` (z, y, x) on, in double precision."""
    nz, ny, nc, _ = a.shape
    total = 0.0
    for k in range(start[0], nz):
        for j in range(start[1], ny):
            for c in range(nc):
                first, second = a[k, j, c, start[2] :], b[k, j, c, start[2] :]
                part = 0.0
                for i in range(len(first)):
                    part += first[i] * second[i]
                total += part
    return total
