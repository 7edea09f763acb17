"""Compiled loops of a sparse Cholesky factor by nested dissection (George 1973), a dense matrix to each part."""

from __future__ import annotations

import numpy as np

from morpho.fem.voxel.kernels_3d import compiled

LEAF = 30  #: nodes that are not divided any more


@compiled
def dissect(at, inside):
    """Order nodes so that planes of them come after what they part.

    Args:
        at: (n, 3) coordinates of nodes.
        inside: how many of them, the first ones, are divided; the others come last.

    Returns:
        The order (n,), and parts (part, 2) of it, first and after the last, unsorted.
    """
    order, spare = np.arange(len(at)), np.empty(len(at), np.int64)
    parts, stack, largest = [(0, 0)], [(0, inside)], 0
    for i in range(inside):
        largest = max(largest, at[i].max())
    counts = np.zeros(largest + 1, np.int64)
    while len(stack):
        a, b = stack.pop()
        axis, plane = _separator(at, order[a:b], counts) if b - a > LEAF else (-1, 0)
        if axis < 0:
            if b > a:
                parts.append((a, b))
            continue
        low, high = a, b - a
        n = 0
        for side in range(3):
            if side == 1:
                low = a + n
            if side == 2:
                high = a + n
            for i in range(a, b):
                p = at[order[i], axis]
                if (side == 0 and p < plane) or (side == 1 and p > plane) or (side == 2 and p == plane):
                    spare[n] = order[i]
                    n += 1
        order[a:b] = spare[:n]
        if high < b:
            parts.append((high, b))
        stack.append((a, low))
        stack.append((low, high))
    return order, np.array(parts)[1:]


@compiled
def _separator(at, nodes, counts):
    """Axis and coordinate of a plane of few nodes that parts others about equally; -1 where none does."""
    least, axis, plane = np.inf, -1, 0
    for d in range(3):
        counts[:] = 0
        for i in nodes:
            counts[at[i, d]] += 1
        below = 0
        for p in range(len(counts)):
            above = len(nodes) - below - counts[p]
            if below and above:
                merit = (counts[p] + 1.0) / min(below, above)
                if merit < least:
                    least, axis, plane = merit, d, p
            below += counts[p]
    return axis, plane


@compiled
def outline(place, at, parts):
    """What each part touches of later ones.

    Args:
        place: (z, y, x) place of each node in the order, -1 where none is, with a margin of one.
        at: (n, 3) coordinates z, y, x in the order.
        parts: (part, 2) sorted, one after the other.

    Returns:
        Starts (part + 1,) of the entries of each part, the entries, which are places and ascend in each part, and the
        first child (part + 1,) and next sibling (part,) of each part, -1 for none. What belongs to no part is the last.
    """
    count = len(parts)
    seen, part_of = np.full(len(at), -1, np.int64), np.full(len(at), count, np.int64)
    for t in range(count):
        part_of[parts[t, 0] : parts[t, 1]] = t
    child, sibling = np.full(count + 1, -1, np.int64), np.full(count, -1, np.int64)
    starts, edges = np.zeros(count + 1, np.int64), np.empty(8 * len(at) + 1000, np.int64)
    found = np.empty(len(at), np.int64)
    for t in range(count):
        a, b = parts[t]
        n = 0
        for i in range(a, b):
            z, y, x = at[i]
            for k in range(3):
                for j in range(3):
                    for h in range(3):
                        p = place[z + k, y + j, x + h]
                        if p >= b and seen[p] != t:
                            seen[p] = t
                            found[n] = p
                            n += 1
        c = child[t]
        while c >= 0:
            for e in range(starts[c], starts[c + 1]):
                p = edges[e]
                if p >= b and seen[p] != t:
                    seen[p] = t
                    found[n] = p
                    n += 1
            c = sibling[c]
        while starts[t] + n > len(edges):
            edges = np.append(edges, np.empty_like(edges))
        starts[t + 1] = starts[t] + n
        if n:
            edges[starts[t] : starts[t + 1]] = np.sort(found[:n])
            parent = part_of[edges[starts[t]]]
            sibling[t], child[parent] = child[parent], t
    return starts, edges[: starts[count]].copy(), child, sibling


@compiled
def factorize(values, offsets, rest, parts, starts, edges, child, sibling, cells, corners, E, held, K, lift):
    """The factor, part after part, and what is left of the stiffness of the nodes that belong to no part.

    Args:
        values: the factor; for each part the inverse of its own triangle, then the rows of what it touches.
        offsets: (part + 1,) of each part in values.
        rest: (3m, 3m) Schur complement of the last m nodes, to be written.
        parts, starts, edges, child, sibling: see `outline`.
        cells: (part + 2,) where the cells of each part begin, then those of the rest.
        corners: (cell, 8) places of the nodes.
        E: (cell,) moduli.
        held: (n, 3) which components are held.
        K: (24, 24).
        lift: relative, of the diagonal.

    Raises:
        LinAlgError: it is not positive definite.
    """
    count, last = len(parts), len(held) - len(rest) // 3
    waiting = [np.empty((0, 0), np.float32) for _ in range(count)]
    where = np.full(len(held), -1, np.int64)
    for t in range(count + 1):
        a, b = (parts[t, 0], parts[t, 1]) if t < count else (last, len(held))
        touched = edges[starts[t] : starts[t + 1]] if t < count else edges[:0]
        for i in range(a, b):
            where[i] = i - a
        for i in range(len(touched)):
            where[touched[i]] = b - a + i
        own, size = 3 * (b - a), 3 * (b - a + len(touched))
        F = np.zeros((size, size), np.float32)
        for e in range(cells[t], cells[t + 1]):
            for i in range(8):
                row = 3 * where[corners[e, i]]
                for j in range(8):
                    column = 3 * where[corners[e, j]]
                    for c in range(3):
                        for d in range(3):
                            if not (held[corners[e, i], c] or held[corners[e, j], d]):
                                F[row + c, column + d] += E[e] * K[3 * i + c, 3 * j + d]
        for i in range(a, b):
            for c in range(3):
                at = 3 * (i - a) + c
                if held[i, c]:
                    F[at, at] = 1
                else:
                    F[at, at] *= np.float32(1) + lift
        c = child[t]
        while c >= 0:
            S, into = waiting[c], edges[starts[c] : starts[c + 1]]
            for i in range(len(into)):
                row = 3 * where[into[i]]
                for j in range(len(into)):
                    column = 3 * where[into[j]]
                    for k in range(3):
                        for h in range(3):
                            F[row + k, column + h] += S[3 * i + k, 3 * j + h]
            waiting[c] = np.empty((0, 0), np.float32)
            c = sibling[c]
        if t == count:
            rest[:] = F
            break
        inverse = np.linalg.inv(np.linalg.cholesky(np.ascontiguousarray(F[:own, :own])))
        beside = np.dot(np.ascontiguousarray(F[own:, :own]), np.ascontiguousarray(inverse.T))
        if len(touched):
            waiting[t] = F[own:, own:] - np.dot(beside, np.ascontiguousarray(beside.T))
        at = offsets[t]
        values[at : at + own * own] = inverse.ravel()
        values[at + own * own : offsets[t + 1]] = beside.ravel()


@compiled
def forward(v, values, offsets, parts, starts, edges):
    """v (n, 3) = L^-1 v, but for the rest, which holds what is left to solve there."""
    own_v, flat = np.empty(len(v) * 3, np.float32), v.ravel()
    for t in range(len(parts)):
        a, b = 3 * parts[t, 0], 3 * parts[t, 1]
        n, at = b - a, offsets[t]
        own = own_v[:n]
        own[:] = flat[a:b]
        for i in range(n):
            row, total = values[at + i * n : at + i * n + i + 1], np.float32(0)
            for j in range(i + 1):
                total += row[j] * own[j]
            flat[a + i] = total
        own = flat[a:b]
        at += n * n
        for e in range(starts[t], starts[t + 1]):
            for c in range(3):
                row, total = values[at : at + n], np.float32(0)
                for j in range(n):
                    total += row[j] * own[j]
                flat[3 * edges[e] + c] -= total
                at += n


@compiled
def backward(v, values, offsets, parts, starts, edges):
    """v (n, 3) = L^-t v, with the rest solved."""
    spare, flat = np.empty(len(v) * 3, np.float32), v.ravel()
    for t in range(len(parts) - 1, -1, -1):
        a, b = 3 * parts[t, 0], 3 * parts[t, 1]
        n, at = b - a, offsets[t]
        own = flat[a:b]
        below = at + n * n
        for e in range(starts[t], starts[t + 1]):
            for c in range(3):
                row, factor = values[below : below + n], flat[3 * edges[e] + c]
                for j in range(n):
                    own[j] -= factor * row[j]
                below += n
        result = spare[:n]
        result[:] = 0
        for i in range(n):
            row, factor = values[at + i * n : at + i * n + i + 1], own[i]
            for j in range(i + 1):
                result[j] += factor * row[j]
        own[:] = result
