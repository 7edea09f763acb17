"""What an iteration of conjugate gradients sends and takes on any number of ranks, on paper; see bench_scaling.py.

The grids are those that `morpho.fem.voxel.multigrid.build` makes, chosen by the same functions and constants.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise, product

from morpho.fem.voxel import multigrid
from morpho.mesh import partition as cutting
from morpho.mesh.partition import Partition, on_fewer, split

COMPONENTS, FLOAT = 3, 4  #: of a displacement; bytes of a number in the cycle
LATENCY = 2e-6  #: seconds until a message begins to arrive
RATE = 1e9  #: bytes per second and rank, when all ranks of a machine send at once
Cells = tuple[int, ...]


@contextmanager
def replicated() -> Iterator[None]:
    """Coarse grids are kept whole by any number of ranks, as they are by few."""
    before = multigrid.FEW, cutting.FEW
    multigrid.FEW = cutting.FEW = 1 << 60
    yield
    multigrid.FEW, cutting.FEW = before


@contextmanager
def replicated_once() -> Iterator[None]:
    """As `replicated`, but that deep grids are visited once."""
    before = multigrid.rule_of
    with replicated():
        multigrid.rule_of = lambda *given: before(*given)._replace(deep=multigrid.DEEP)
        yield
        multigrid.rule_of = before


@contextmanager
def visited_twice() -> Iterator[None]:
    """Many ranks run a W-cycle on all grids, as few do."""
    before, multigrid.DEEP = multigrid.DEEP, 1 << 60
    yield
    multigrid.DEEP = before


@dataclass
class Costs:
    """Seconds measured on one core."""

    finest: float  #: per cell, the finest grid and the passes of conjugate gradients
    second: float  #: per cell and cycle, the next grid
    coarse: float  #: per cell and cycle, any other
    call: float  #: a cycle of a grid with no cell to speak of
    message: float  #: that the code adds to a message
    alone: list[tuple[int, float]]  #: cells of a whole grid, a cycle of it and of all below

    def whole(self, cells: float) -> float:
        """A cycle of a grid that one rank has the whole of, and of all below (local)."""
        known = self.alone
        for (a, low), (b, high) in pairwise(known):
            if cells <= b or b == known[-1][0]:
                return max(low + (high - low) * (cells - a) / (b - a), known[0][1])
        raise ValueError("there are no costs of whole grids")


@dataclass
class Stage:
    """A grid of the cycle, and what its busiest rank does in an iteration."""

    name: str
    cycles: int
    ranks: int
    cells: float  #: of the largest box
    messages: int = 0
    sent: float = 0.0  #: bytes
    collectives: int = 0
    summed: float = 0.0  #: bytes
    seconds: float = 0.0
    waits: float = 0.0  #: seconds of them that are messages and collective calls
    memory: float = 0.0  #: bytes


@dataclass
class Iteration:
    """An iteration of conjugate gradients on a box of cells."""

    partition: Partition
    stages: list[Stage] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        return sum(stage.seconds for stage in self.stages)

    @property
    def coarse(self) -> float:
        """Seconds on grids that are kept whole."""
        return sum(stage.seconds for stage in self.stages if "whole" in stage.name or "alone" in stage.name)


def iteration(cells: Cells, ranks: int, costs: Costs) -> Iteration:
    """The grids of a box and what they take."""
    partition = split(cells, ranks)
    found = Iteration(partition)
    box = largest(partition, 0)
    if ranks == 1:
        n = math.prod(cells)
        fine = Stage("conjugate gradients and finest grid", 1, 1, n, seconds=costs.finest * n)
        rest = Stage("alone on 1", 1, 1, n / 8, seconds=costs.whole(n / 8))
        found.stages = [fine, rest]
        return found
    stage = Stage(f"conjugate gradients on {ranks}", 1, ranks, math.prod(box))
    exchange(stage, partition, 0, 1, costs)
    stage.collectives, stage.summed = 3, 24
    waiting = 3 * 2 * math.log2(ranks) * LATENCY
    stage.seconds += waiting
    stage.waits += waiting
    found.stages.append(stage)
    rule = multigrid.rule_of(COMPONENTS, partition, ranks)
    _descend(found, partition, 0, 1, rule, costs)
    return found


def _descend(
    found: Iteration, partition: Partition, depth: int, cycles: int, rule: multigrid.Rule, costs: Costs
) -> None:
    """Add the grids from a depth on, as `build` chooses them."""
    ranks = math.prod(partition.grid)
    cells = coarsened(partition.cells, depth)
    unknowns = COMPONENTS * math.prod(n + 1 for n in cells)
    if ranks == 1:
        seconds = cycles * costs.whole(math.prod(cells))
        own = Stage(f"{depth} alone on 1", cycles, 1, math.prod(cells), seconds=seconds, memory=bytes_of(cells))
        found.stages.append(own)
        return
    is_last = depth == partition.levels
    if unknowns <= rule.small or (is_last and ranks <= multigrid.FEW):
        whole = Stage(f"{depth} whole on {ranks}", cycles, ranks, math.prod(cells), memory=bytes_of(cells))
        whole.collectives, whole.summed = cycles, cycles * unknowns * FLOAT
        whole.waits = 2 * (cycles * math.log2(ranks) * LATENCY + whole.summed / RATE)
        whole.seconds = whole.waits + cycles * costs.whole(math.prod(cells))
        found.stages.append(whole)
        return
    if ranks > multigrid.FEW:
        fewer = on_fewer(partition, depth)
        if is_last or multigrid.WORTH * math.prod(fewer.grid) <= ranks:
            found.stages.append(_moved(partition, fewer, depth, cycles, costs))
            _descend(found, fewer, depth, cycles, rule, costs)
            return
    steps = multigrid.STEPS[min(depth, len(multigrid.STEPS) - 1)]
    visits = rule.visits(depth, _is_exact(partition, depth + 1, rule))
    box = largest(partition, depth)
    n = math.prod(box)
    stage = Stage(f"{depth} smoothed on {ranks}", cycles, ranks, n, memory=bytes_of(box))
    exchange(stage, partition, depth, cycles * (steps - 1 + visits * (steps + 1)), costs)
    exchange(stage, partition, depth + 1, cycles * visits, costs)
    rates = costs.finest, costs.second, costs.coarse
    # A cycle with one visit does a little over half of one with two, as which the costs of coarse grids are measured.
    stage.seconds += cycles * (costs.call + rates[min(depth, 2)] * n)
    found.stages.append(stage)
    _descend(found, partition, depth + 1, cycles * visits, rule, costs)


def _is_exact(partition: Partition, depth: int, rule: multigrid.Rule) -> bool:
    """Whether the grid of a depth is solved for directly: it is kept whole, and as small as the coarsest may be."""
    cells = coarsened(partition.cells, depth)
    unknowns = COMPONENTS * math.prod(n + 1 for n in cells)
    is_whole = unknowns <= rule.small or (depth == partition.levels and math.prod(partition.grid) <= multigrid.FEW)
    return is_whole and unknowns <= multigrid.COARSEST


def exchange(stage: Stage, partition: Partition, depth: int, times: int, costs: Costs) -> None:
    """Add so many sums over shared planes of the grid of a depth."""
    nodes = [n + 1 for n in largest(partition, depth)]
    for d, along in enumerate(partition.grid):
        sides = min(2, along - 1)
        plane = COMPONENTS * FLOAT * math.prod(nodes) / nodes[d]
        stage.messages += times * sides
        stage.sent += times * sides * plane
        waiting = times * (sides > 0) * (LATENCY + sides * (costs.message + plane / RATE))
        stage.seconds += waiting
        stage.waits += waiting


def _moved(partition: Partition, fewer: Partition, depth: int, cycles: int, costs: Costs) -> Stage:
    """A grid that goes to fewer ranks and back: what the rank sends that sends most."""
    ranks, count = math.prod(partition.grid), math.prod(fewer.grid)
    there = [_overlaps(partition, fewer, depth, d) for d in range(len(fewer.cells))]
    back = [_overlaps(fewer, partition, depth, d) for d in range(len(fewer.cells))]
    most = (0, 0.0)
    for i in range(count):
        place = partition.place(i * ranks // count)
        messages = math.prod(a[p][0] for a, p in zip(there, place, strict=True))
        sent = math.prod(a[p][1] for a, p in zip(there, place, strict=True))
        messages += math.prod(a[p][0] for a, p in zip(back, fewer.place(i), strict=True))
        sent += math.prod(a[p][1] for a, p in zip(back, fewer.place(i), strict=True))
        most = max(most, (messages, sent))
    sent = most[1] * COMPONENTS * FLOAT
    stage = Stage(f"{depth} merged on {ranks}", cycles, ranks, 0, cycles * most[0], cycles * sent)
    stage.waits = stage.seconds = cycles * (2 * LATENCY + 2 * most[0] * costs.message + 2 * sent / RATE)
    return stage


def _overlaps(one: Partition, other: Partition, depth: int, d: int) -> list[tuple[int, int]]:
    """Along a direction, for each box of one: boxes of the other that have some of its nodes, and how many in all."""
    found = []
    step = 2**depth
    for a, b in pairwise(one.cuts[d]):
        low, high = -(-a // step) + (a > 0), -(-b // step)
        shared = [min(high, -(-end // step)) - max(low, start // step) + 1 for start, end in pairwise(other.cuts[d])]
        found.append((sum(n > 0 for n in shared), sum(n for n in shared if n > 0)))
    return found


def coarsened(cells: Cells, depth: int) -> Cells:
    """Cells of the grid of a depth."""
    return tuple(-(-n // 2**depth) for n in cells)


def largest(partition: Partition, depth: int) -> list[int]:
    """Edges of the largest box on the grid of a depth."""
    return [max(-(-b // 2**depth) - a // 2**depth for a, b in pairwise(cut)) for cut in partition.cuts]


def bytes_of(box: Cells | list[int]) -> float:
    """Bytes of the arrays of a grid: x, b, r and step, flexibility, moduli."""
    return FLOAT * ((4 * COMPONENTS + 1) * math.prod(n + 1 for n in box) + math.prod(box))


def boxes(edge: int, most: int) -> list[tuple[int, Cells]]:
    """Numbers of ranks up to one, and cubes of cells with edge^3 cells for each."""
    found = []
    for p, extra in product(range(1, 30), (0, 1)):
        ranks = p * p * (p + extra)
        if ranks <= most:
            found.append((ranks, (edge * p, edge * p, edge * (p + extra))))
    return sorted(found)
