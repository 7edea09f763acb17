"""How a box of cells is dealt out to the ranks: one box each, cut where coarse cells end."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from morpho.errors import InputError

SURFACE = (8.0, 2.0, 1.0)  #: what a cell on a cut across x, y, z costs: strided memory, and shorter rows
BETWEEN = 2.0  #: and what it costs more between machines
SMALL = 1500  #: cells of a grid that every rank may keep whole
FEW = 8  #: ranks up to which a coarse grid is kept whole by all, rather than moved to fewer of them
EDGE = {1: 1500, 2: 40, 3: 12}  #: cells along the edge of a box that a rank gets of a grid that is moved, by dimension

T = TypeVar("T")


@dataclass(frozen=True)
class Partition:
    """A process grid over a box of cells, directions in the order x, y(, z).

    Every cut lies at a multiple of 2**levels cells, so that the boxes of the ranks stay nested over that many
    coarsenings of the grid. Ranks are numbered with x fastest, wherever x has come to when the axes are turned.
    """

    cells: tuple[int, ...]  #: of the whole box
    cuts: tuple[tuple[int, ...], ...]  #: per direction 0, ..., cells[d]; one more than there are ranks along it
    levels: int
    turn: int = 0  #: steps by which the axes have been turned, see `turned`

    @property
    def grid(self) -> tuple[int, ...]:
        """Ranks along each direction."""
        return tuple(len(cut) - 1 for cut in self.cuts)

    def place(self, rank: int) -> tuple[int, ...]:
        """Position of a rank in the process grid."""
        position = []
        for count in turned(self.grid, -self.turn):
            rank, at = divmod(rank, count)
            position.append(at)
        return turned(tuple(position), self.turn)

    def rank_at(self, place: tuple[int, ...]) -> int | None:
        """Rank at a position of the process grid, None outside."""
        if any(not 0 <= at < count for at, count in zip(place, self.grid, strict=True)):
            return None
        rank = 0
        for at, count in list(zip(*(turned(ends, -self.turn) for ends in (place, self.grid)), strict=True))[::-1]:
            rank = rank * count + at
        return rank

    def box(self, rank: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """First cell and last cell plus one of a rank, per direction."""
        place = self.place(rank)
        return tuple(c[p] for c, p in zip(self.cuts, place, strict=True)), tuple(
            c[p + 1] for c, p in zip(self.cuts, place, strict=True)
        )

    def turned(self, steps: int) -> Partition:
        """The same boxes with the axes turned (local)."""
        return Partition(turned(self.cells, steps), turned(self.cuts, steps), self.levels, self.turn + steps)


def turned(values: tuple[T, ...], steps: int) -> tuple[T, ...]:
    """What belongs to the directions of a box whose axes are turned: after one step y comes first, then z, then x."""
    at = steps % len(values)
    return values[at:] + values[:at]


def split(
    cells: tuple[int, ...],
    ranks: int,
    nested: int = 0,
    filled: tuple[NDArray[np.int64], ...] | None = None,
    turn: int = 0,
) -> Partition:
    """The partition with the least work per rank, and among equals the one nested the deepest.

    Work is the largest box, its surface, and what is large of a rank's share of the coarse grid that the cuts are not
    aligned with any more: a W-cycle comes there 2**levels times. Few ranks keep all of it, many have a part each.

    Args:
        nested: the least number of coarsenings over which the boxes have to stay nested.
        filled: along each direction, how many cells exist in each layer across it, which the cuts balance; None where
            all do.

    Raises:
        InputError: there are more ranks than the box can be cut into.
    """
    best = _best(cells, _grids(ranks, len(cells)), nested, filled, turn)
    if best is None:
        shape = " x ".join(map(str, cells))
        whole = f" of whole blocks of {2**nested}" if nested else ""
        raise InputError(f"mesh.box.cells: {shape} cells cannot be cut into {ranks} boxes{whole}; use fewer ranks")
    return best


def on_fewer(partition: Partition, depth: int) -> Partition:
    """The partition among fewer ranks for the grid of a depth and all coarser ones, nested over one more at least.

    Ranks get EDGE cells along a direction there: less would wait longer for the neighbours than compute.
    """
    cells = tuple(-(-n // 2**depth) for n in partition.cells)
    edge = EDGE[len(cells)]
    grid = tuple(min(p, -(-n // edge)) for p, n in zip(partition.grid, cells, strict=True))
    coarse = _best(cells, [grid], nested=1, filled=None)
    assert coarse is not None
    cuts = tuple(
        tuple(min(n, cut * 2**depth) for cut in along) for n, along in zip(partition.cells, coarse.cuts, strict=True)
    )
    return Partition(partition.cells, cuts, depth + coarse.levels)


def _best(
    cells: tuple[int, ...],
    grids: list[tuple[int, ...]],
    nested: int,
    filled: tuple[NDArray[np.int64], ...] | None,
    turn: int = 0,
) -> Partition | None:
    """See `split`; for the process grids that are given, None where there are more ranks than blocks."""
    best: tuple[tuple[float, int], Partition] | None = None
    for grid in grids:
        for levels in range(nested, max(nested + 1, max(cells).bit_length())):
            step = 2**levels
            blocks = [math.ceil(n / step) for n in cells]
            if any(b < p for b, p in zip(blocks, grid, strict=True)):
                break
            cuts = tuple(
                tuple(min(n, step * (b * i // p)) for i in range(p + 1))
                for n, b, p in zip(cells, blocks, grid, strict=True)
            )
            if filled is not None:
                cuts = tuple(_balanced(layers, step, p) for layers, p in zip(filled, grid, strict=True))
            shares = (1.0,) * len(cells) if filled is None else tuple(map(_fullness, filled, cuts))
            coarse = _share(math.prod(blocks), math.prod(grid))
            merit = _work(turned(cuts, turn), turned(shares, turn), coarse, levels), -levels
            if best is None or merit < best[0]:
                best = merit, Partition(cells, cuts, levels)
    return None if best is None else best[1]


def _balanced(layers: NDArray[np.int64], step: int, parts: int) -> tuple[int, ...]:
    """Cuts at multiples of a step between which about equally many cells exist."""
    ends = np.append(0, np.cumsum(np.add.reduceat(layers, np.arange(0, len(layers), step))))
    blocks, cuts = len(ends) - 1, [0]
    for i in range(1, parts):
        best = int(np.argmin(np.abs(ends - ends[-1] * i / parts)))
        cuts.append(min(max(best, cuts[-1] + 1), blocks - (parts - i)))
    return tuple(min(len(layers), step * cut) for cut in [*cuts, blocks])


def _fullness(layers: NDArray[np.int64], cut: tuple[int, ...]) -> float:
    """How full the fullest part between cuts is against a box in which all parts are as full as the largest one."""
    fullest = max(layers[a:b].sum() for a, b in itertools.pairwise(cut)) / max(layers.sum(), 1)
    return float(fullest * len(layers) / max(b - a for a, b in itertools.pairwise(cut)))


def _share(coarse: int, ranks: int) -> int:
    """Cells that a rank has of a coarse grid from which on boxes are not nested."""
    if ranks == 1:
        return 0
    return coarse if ranks <= FEW else min(coarse, max(SMALL, -(-coarse // ranks)))


def _work(cuts: tuple[tuple[int, ...], ...], shares: tuple[float, ...], coarse: int, levels: int) -> float:
    """`shares`: by which the cells of the largest box are multiplied, by direction."""
    edges = [max(b - a for a, b in itertools.pairwise(cut)) for cut in cuts]
    volume = math.prod(edges) * math.prod(shares)
    more = BETWEEN if math.prod(len(cut) - 1 for cut in cuts) > FEW else 0.0
    costs = [(cost + more) * volume / e for e, cost in zip(edges, SURFACE, strict=False)]
    surface = sum(cost for cost, cut in zip(costs, cuts, strict=True) if len(cut) > 2)
    return volume + surface + max(0, coarse - SMALL) * 2.0**levels


def _grids(ranks: int, dim: int) -> list[tuple[int, ...]]:
    if dim == 1:
        return [(ranks,)]
    divisors = [d for d in range(1, ranks + 1) if ranks % d == 0]
    return [(d, *rest) for d in divisors for rest in _grids(ranks // d, dim - 1)]
