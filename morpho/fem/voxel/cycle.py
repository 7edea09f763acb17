"""The W-cycle on grids that lie on one rank as a whole, in one compiled call: small grids would be over before Python
has called their kernels."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba.typed import List

from morpho.fem.voxel import kernels_2d, kernels_3d, kernels_scalar
from morpho.fem.voxel.kernels_3d import compiled
from morpho.fem.voxel.vectors import (
    add_prolonged,
    add_scaled_by_nodes,
    chebyshev_step,
    clear,
    copy,
    restrict,
    scale_by_nodes,
)

add_stiffness_2d, add_stiffness_3d = kernels_2d.add_stiffness, kernels_3d.add_stiffness
add_conductance = kernels_scalar.add_stiffness


class Level(NamedTuple):
    """A grid of the cycle; see `multigrid.Smoothed`. Numba takes it as it is."""

    E: Any
    x: Any
    b: Any
    r: Any
    step: Any
    flexibility: Any
    held: Any
    sprung: Any  #: nodal entries with a spring
    springs: Any  #: stiffness of each
    weights: Any  #: of the smoothing steps
    visits: Any  #: to the next grid in a cycle
    pieces: Any  #: of the cells that take part
    runs: Any  #: of the nodes that take part


def as_list(levels: list[Level]) -> Any:
    """The list that `w_cycle` takes (local).

    Compiled here, as what Python does to such a list is compiled anew in each process.
    """
    found = _begun(levels[0])
    for level in levels[1:]:
        _append(found, level)
    return found


@compiled
def _begun(level):
    levels = List()
    levels.append(level)
    return levels


@compiled
def _append(levels, level):
    levels.append(level)


@compiled
def w_cycle(grids, modes, scale, inverse, coarsest_x, coarsest_b):
    """x from b on the first grid.

    Args:
        grids: `Level`s from fine to coarse.
        modes: the negative mode stiffness.
        scale: (component,) of the smoother's steps.
        inverse: of the matrix of the coarsest grid.
        coarsest_x, coarsest_b: arrays of the coarsest grid.
    """
    left = np.zeros(len(grids), np.int64)
    level = 0
    _hold(grids[0].b, grids[0].held)
    smooth(grids[0], modes, scale, True)
    left[0] = grids[0].visits
    while True:
        if left[level] > 0:
            left[level] -= 1
            residual(grids[level], grids[level].b, grids[level].x, modes)
            if level + 1 == len(grids):
                coarsest_b[:] = 0
                restrict(coarsest_b, grids[level].r, grids[level].runs)
                coarsest_x.ravel()[:] = (inverse @ coarsest_b.ravel().astype(np.float64)).astype(np.float32)
                _correct(grids[level], coarsest_x, modes, scale)
            else:
                clear(grids[level + 1].b, grids[level + 1].runs)
                restrict(grids[level + 1].b, grids[level].r, grids[level].runs)
                level += 1
                _hold(grids[level].b, grids[level].held)
                smooth(grids[level], modes, scale, True)
                left[level] = grids[level].visits
        elif level > 0:
            level -= 1
            _correct(grids[level], grids[level + 1].x, modes, scale)
        else:
            return


@compiled
def _correct(grid, coarse, modes, scale):
    add_prolonged(grid.x, coarse, grid.runs)
    _hold(grid.x, grid.held)
    smooth(grid, modes, scale, False)


@compiled
def _hold(v, held):
    flat = v.ravel()
    for i in held:
        flat[i] = 0


@compiled
def residual(grid, base, v, modes):
    """r = base - A v."""
    r, flat = grid.r, grid.r.ravel()
    copy(r, base, grid.runs)
    if r.shape[2] == 3:
        add_stiffness_3d(r, v, grid.E, modes, grid.pieces)
    elif r.shape[2] == 1:
        add_conductance(r, v, grid.E, modes, grid.pieces)
    else:
        add_stiffness_2d(r, v, grid.E, modes, grid.pieces)
    at, moved = grid.sprung, v.ravel()
    for i in range(len(at)):
        flat[at[i]] -= grid.springs[i] * moved[at[i]]
    _hold(r, grid.held)


@compiled
def smooth(grid, modes, scale, from_zero):
    """Chebyshev steps of the fourth kind on A x = b, diagonally scaled."""
    x, b, r, step, flexibility, weights = grid.x, grid.b, grid.r, grid.step, grid.flexibility, grid.weights
    if len(weights) == 1:
        factor = np.float32(4 / 3) * weights[0] * scale
        if from_zero:
            scale_by_nodes(x, b, flexibility, factor, grid.runs)
        else:
            residual(grid, b, x, modes)
            add_scaled_by_nodes(x, r, flexibility, factor, grid.runs)
        return
    if from_zero:
        clear(x, grid.runs)
        copy(r, b, grid.runs)
    else:
        residual(grid, b, x, modes)
    clear(step, grid.runs)
    for i in range(1, len(weights) + 1):
        momentum, factor = np.float32((2 * i - 3) / (2 * i + 1)), np.float32((8 * i - 4) / (2 * i + 1))
        chebyshev_step(x, step, r, flexibility, factor * scale, momentum, weights[i - 1], grid.runs)
        if i < len(weights):
            residual(grid, r, step, modes)
