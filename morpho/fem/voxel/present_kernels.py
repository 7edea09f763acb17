"""Compiled loops that find what takes part in a design; see `present`."""

from __future__ import annotations

import numpy as np

from morpho.fem.voxel.kernels_3d import STRETCH, compiled

BLOCK = 16  #: cells along x that are taken or left together
GAP = 64  #: nodes along x from which on a gap is worth a run of its own


@compiled
def mark_blocks(taken, E):
    """Which blocks (z, y, block) have a cell (z, y, x) with stiffness."""
    nz, ny, _ = E.shape
    for k in range(nz):
        for j in range(ny):
            for b in range(taken.shape[2]):
                row, stiff = E[k, j, b * BLOCK : (b + 1) * BLOCK], False
                for i in range(len(row)):
                    stiff |= row[i] > 0
                taken[k, j, b] = stiff


@compiled
def join(taken, nx, pieces):
    """The number of pieces that blocks make, see `present.find_pieces`, which are also written if there is room."""
    nz, ny, blocks = taken.shape
    follows, ends = np.empty(blocks, np.int64), np.empty(blocks, np.int64)  # the piece that begins at a block
    count = 0
    for k in range(nz):
        follows[:] = -1
        for j in range(ny):
            b = 0
            while b < blocks:
                if not taken[k, j, b]:
                    follows[b] = -1
                    b += 1
                    continue
                end = b + 1
                while end < blocks and taken[k, j, end] and end - b < STRETCH // BLOCK:
                    end += 1
                if follows[b] < 0 or ends[b] != end:
                    follows[b], ends[b] = count, end
                    if len(pieces):
                        piece = pieces[count]
                        piece[0], piece[1], piece[3] = k, b * BLOCK, j
                        piece[2] = min(end * BLOCK, nx) - b * BLOCK
                    count += 1
                if len(pieces):
                    pieces[follows[b], 4] = j + 1
                follows[b + 1 : end] = -1
                b = end
    return count


@compiled
def mark_nodes(nodes, E, pieces):
    """The corners (z, y, 1, x) of the cells (z, y, x) with stiffness; in 2-D there is one layer."""
    for k, start, n, first, last in pieces:
        for z in range(k, min(k + 2, nodes.shape[0])):
            for j in range(first, last):
                cells = E[k, j, start : start + n]
                for dj in range(2):
                    row = nodes[z, j + dj, 0, start : start + n + 1]
                    for i in range(n):
                        row[i] |= cells[i] > 0
                    for i in range(n):
                        row[i + 1] |= cells[i] > 0


@compiled
def mark_pairs(pairs, nodes):
    """Nodes (z, y, 1, x), and those at even places before one of them."""
    flat, nx = pairs.reshape(-1, nodes.shape[3]), nodes.shape[3]
    given = nodes.reshape(-1, nx)
    for row in range(len(given)):
        for i in range(nx):
            if given[row, i]:
                flat[row, i] = True
                flat[row, i - i % 2] = True


@compiled
def rows(nodes, runs):
    """The number of runs, which are also written if there is room; short gaps are no gaps."""
    nz, ny, _, nx = nodes.shape
    count = 0
    for k in range(nz):
        for j in range(ny):
            row = nodes[k, j, 0]
            after = -1  # the end of the last run in this row
            for i in range(0, nx, 2):
                if not (row[i] or (i + 1 < nx and row[i + 1])):
                    continue
                if after < 0 or i - after >= GAP:
                    if len(runs):
                        runs[count] = k, j, i, i
                    count += 1
                after = min(i + 2, nx)
                if len(runs):
                    runs[count - 1, 3] = after
    return count
