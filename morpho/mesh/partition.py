"""How a box of cells is dealt out to the ranks: one box each, cut where coarse cells end."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from morpho.errors import InputError

SURFACE = (8.0, 2.0, 1.0)  #: what a cell on a cut across x, y, z costs: strided memory, and shorter rows
SMALL = 1500  #: cells of a grid that every rank may keep whole


@dataclass(frozen=True)
class Partition:
    """A process grid over a box of cells, directions in the order x, y(, z).

    Every cut lies at a multiple of 2**levels cells, so that the boxes of the ranks stay nested over that many
    coarsenings of the grid.
    """

    cells: tuple[int, ...]  #: of the whole box
    cuts: tuple[tuple[int, ...], ...]  #: per direction 0, ..., cells[d]; one more than there are ranks along it
    levels: int

    @property
    def grid(self) -> tuple[int, ...]:
        """Ranks along each direction."""
        return tuple(len(cut) - 1 for cut in self.cuts)

    def place(self, rank: int) -> tuple[int, ...]:
        """Position of a rank in the process grid, x fastest."""
        position = []
        for count in self.grid:
            rank, at = divmod(rank, count)
            position.append(at)
        return tuple(position)

    def rank_at(self, place: tuple[int, ...]) -> int | None:
        """Rank at a position of the process grid, None outside."""
        if any(not 0 <= at < count for at, count in zip(place, self.grid, strict=True)):
            return None
        rank = 0
        for at, count in zip(reversed(place), reversed(self.grid), strict=True):
            rank = rank * count + at
        return rank

    def box(self, rank: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """First cell and last cell plus one of a rank, per direction."""
        place = self.place(rank)
        return tuple(c[p] for c, p in zip(self.cuts, place, strict=True)), tuple(
            c[p + 1] for c, p in zip(self.cuts, place, strict=True)
        )


def split(
    cells: tuple[int, ...], ranks: int, nested: int = 0, filled: tuple[NDArray[np.int64], ...] | None = None
) -> Partition:
    """The partition with the least work per rank, and among equals the one nested the deepest.

    Work is the largest box, its surface, and what is large of the coarse grid that every rank keeps whole because the
    cuts are not aligned with it: a W-cycle comes there 2**levels times.

    Args:
        nested: the least number of coarsenings over which the boxes have to stay nested.
        filled: along each direction, how many cells exist in each layer across it, which the cuts balance; None where
            all do.

    Raises:
        InputError: there are more ranks than the box can be cut into.
    """
    best: tuple[tuple[float, int], Partition] | None = None
    for grid in _grids(ranks, len(cells)):
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
            merit = _work(cuts, math.prod(blocks) if ranks > 1 else 0, levels), -levels
            if best is None or merit < best[0]:
                best = merit, Partition(cells, cuts, levels)
    if best is None:
        shape = " x ".join(map(str, cells))
        whole = f" of whole blocks of {2**nested}" if nested else ""
        raise InputError(f"mesh.box.cells: {shape} cells cannot be cut into {ranks} boxes{whole}; use fewer ranks")
    return best[1]


def _balanced(layers: NDArray[np.int64], step: int, parts: int) -> tuple[int, ...]:
    """Cuts at multiples of a step between which about equally many cells exist."""
    ends = np.append(0, np.cumsum(np.add.reduceat(layers, np.arange(0, len(layers), step))))
    blocks, cuts = len(ends) - 1, [0]
    for i in range(1, parts):
        best = int(np.argmin(np.abs(ends - ends[-1] * i / parts)))
        cuts.append(min(max(best, cuts[-1] + 1), blocks - (parts - i)))
    return tuple(min(len(layers), step * cut) for cut in [*cuts, blocks])


def _work(cuts: tuple[tuple[int, ...], ...], coarse: int, levels: int) -> float:
    edges = [max(b - a for a, b in itertools.pairwise(cut)) for cut in cuts]
    volume = math.prod(edges)
    surface = sum(cost * volume / e for e, cut, cost in zip(edges, cuts, SURFACE, strict=False) if len(cut) > 2)
    return volume + surface + max(0, coarse - SMALL) * 2.0**levels


def _grids(ranks: int, dim: int) -> list[tuple[int, ...]]:
    if dim == 1:
        return [(ranks,)]
    divisors = [d for d in range(1, ranks + 1) if ranks % d == 0]
    return [(d, *rest) for d in divisors for rest in _grids(ranks // d, dim - 1)]
