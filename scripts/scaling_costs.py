"""What the grids of the cycle cost one core, in processor time; see bench_scaling.py."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from mpi4py import MPI

import numpy as np

from morpho.fem.elasticity import stiffness
from morpho.fem.voxel import vectors
from morpho.fem.voxel.cg import Operator
from morpho.fem.voxel.coarsening import cell_shape, coarsen_mask, node_shape
from morpho.fem.voxel.element import Element
from morpho.fem.voxel.halo import SharedPlanes
from morpho.fem.voxel.multigrid import Smoothed, build
from morpho.fem.voxel.present import Present
from morpho.mesh.partition import split

WHOLES = (4, 6, 8, 12, 16, 24, 32, 48)  #: cells along the edge of a grid that one rank has
BOXES = {0: 48, 1: 24, 2: 16}  #: and of a rank's box, by depth
LITTLE = 2  #: of a box that costs nothing but the calls
Record = dict[str, Any]


class Nothing:
    """A coarser grid that does nothing."""

    is_exact = False

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.x, self.b = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        self.E, self.runs = np.zeros(cell_shape(np.empty(shape, bool)), np.float32), vectors.whole_rows(shape)

    def refresh(self) -> None: ...

    def cycle(self) -> None: ...

    def close(self) -> None: ...


def seconds(call: Callable[[], Any], least: float = 0.2) -> float:
    """The least processor time of a call; short ones are repeated."""
    call()
    start = time.process_time()
    call()
    times = max(1, int(0.02 / max(time.process_time() - start, 1e-6)))
    found, end = [], time.process_time() + least
    while len(found) < 5 or time.process_time() < end:
        start = time.process_time()
        for _ in range(times):
            call()
        found.append((time.process_time() - start) / times)
    return min(found)


def measure() -> Record:
    """The numbers of `scaling_model.Costs`, and an iteration on one rank as it is."""
    element = Element.of(stiffness(np.ones(3), 0.3, "strain"), 3)
    calls = seconds(smoothed(element, LITTLE, 2).cycle)
    rates = {depth: seconds(smoothed(element, n, depth).cycle) / n**3 for depth, n in BOXES.items()}
    rates[0] += passes(element, BOXES[0])
    return {
        "finest": rates[0],
        "second": rates[1] - calls / BOXES[1] ** 3,
        "coarse": rates[2] - calls / BOXES[2] ** 3,
        "call": calls,
        "alone": [(n**3, seconds(alone(element, n).cycle)) for n in WHOLES],
        "iterations": {str(n): iteration(n) for n in (48, 96)},
    }


def _held(n: int) -> tuple[SharedPlanes, np.ndarray]:
    nz, ny, nx = node_shape((n, n, n))
    mask = np.zeros((nz, ny, 3, nx), dtype=bool)
    mask[..., 0] = True
    return SharedPlanes(MPI.COMM_SELF, split((n, n, n), 1)), mask


def smoothed(element: Element, n: int, depth: int) -> Smoothed:
    """A grid of n^3 cells with a smoother, and nothing below."""
    planes, mask = _held(n)
    coarse: Any = Nothing(coarsen_mask(mask, planes).shape)
    grid = Smoothed(element, planes, mask, depth, None, Present(planes, mask.shape), coarse, None)
    return _filled(grid)


def alone(element: Element, n: int) -> Any:
    """A grid of n^3 cells that one rank has the whole of."""
    planes, mask = _held(n)
    return _filled(build(element, planes, mask, 2, (n, n, n)))


def _filled(grid: Any) -> Any:
    rng = np.random.default_rng(0)
    grid.E[:] = rng.random(grid.E.shape)
    grid.refresh()
    grid.b[:] = rng.normal(size=grid.b.shape)
    return grid


def passes(element: Element, n: int) -> float:
    """Seconds per cell of what conjugate gradients do beside the cycle."""
    grid = smoothed(element, n, 0)
    none: Any = np.zeros(0, np.float32)
    held = grid.held
    A = Operator(element, grid.planes, lambda _: grid.E, held, none.astype(int), none, grid.present)
    p, q, u = np.ones_like(grid.x), np.ones_like(grid.x), np.ones(grid.x.shape)

    def all_of_them() -> None:
        A.dot(grid.b, grid.x)
        vectors.turn(p, grid.x, np.float32(0.5), grid.runs)
        vectors.clear(q, grid.runs)
        A.add(q, p)
        A.dot(p, q)
        vectors.advance(u, grid.b, p, q, 1e-9, np.float32(1e-9), (0, 0, 0), grid.runs)

    return seconds(all_of_them) / n**3


def iteration(n: int) -> float:
    """Seconds of an iteration on n^3 cells as it is."""
    from bench_engine import cantilever

    from morpho.parts import Parts

    taken = {}
    with Parts(cantilever((n, n, n), 2.0), MPI.COMM_SELF) as parts:
        parts.enter_iteration(1)
        rho = np.random.default_rng(0).random(parts.mesh.n)
        for count in (2, 2, 8, 2, 8):
            parts.physics.u[0][:] = 0
            start = time.process_time()
            parts.physics.solve(rho, 1e-12, count)
            taken[count] = min(taken.get(count, np.inf), time.process_time() - start)
    return (taken[8] - taken[2]) / 6


def message(repeat: int = 300) -> float:
    """Seconds of wall time that a message of a sum over a shared plane takes between two ranks (collective)."""
    comm = MPI.COMM_WORLD
    planes = SharedPlanes(comm, split((4, 4, 8), comm.size))
    v = np.zeros((9, 5, 3, 5), np.float32)
    found = []
    for _ in range(repeat):
        comm.Barrier()
        start = time.perf_counter()
        for _ in range(20):
            planes.sum(v)
        found.append((time.perf_counter() - start) / 20)
    return comm.allreduce(min(found), MPI.MIN)
