"""Boxes of cells as Grids and ImageGrids, dealt out to the ranks of a communicator, and scripts run on many ranks."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mpi4py import MPI

import numpy as np
import pytest
import pyvista
from numpy.typing import ArrayLike, NDArray

from morpho.results import checkpoint
from morpho.results.grid import Grid, ImageGrid

_CORNERS = {
    2: [(0, 0), (1, 0), (1, 1), (0, 1)],
    3: [(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0), (0, 0, 1), (1, 0, 1), (1, 1, 1), (0, 1, 1)],
}
_CELL_TYPE = {2: 9, 3: 12}

ORIGIN, SPACING = np.array([-1.0, 2.1, 0.7]), np.array([0.3, 0.2, 1 / 3])  #: of the images of image_script.py


def box(shape: Sequence[int], comm: MPI.Comm, lengths: Sequence[float] | None = None) -> Grid:
    """Rank's share of a box of quadrilaterals or hexahedra, dealt out in runs of cells of uneven length."""
    dim = len(shape)
    lengths = shape if lengths is None else lengths
    axes = [np.linspace(0.0, length, n + 1) for length, n in zip(lengths, shape, strict=True)]
    points = np.zeros((np.prod([n + 1 for n in shape]), 3))
    points[:, :dim] = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, dim)
    number = np.arange(len(points)).reshape([n + 1 for n in shape])
    corners = [number[tuple(slice(c, c + n) for c, n in zip(corner, shape, strict=True))] for corner in _CORNERS[dim]]
    cells = np.stack(corners, axis=-1).reshape(-1, 2**dim)
    key = owned_keys(len(cells), comm)
    used, local = np.unique(cells[key], return_inverse=True)
    local = local.reshape(-1, 2**dim)
    users = np.full(len(points), comm.size)
    users[used] = comm.rank
    comm.Allreduce(MPI.IN_PLACE, users, MPI.MIN)
    number = np.empty(len(points), np.int64)
    number[np.argsort(users, kind="stable")] = np.arange(len(points))  # those of the first rank, of the second, ...
    order = np.lexsort((number[used], users[used] != comm.rank))
    place = np.argsort(order)
    own = int(np.count_nonzero(users[used] == comm.rank))
    return Grid(points[used[order]], place[local], _CELL_TYPE[dim], key, comm, number[used[order]], own)


def owned_keys(n_global: int, comm: MPI.Comm) -> NDArray[np.int64]:
    """Keys of this rank: the later ranks have more, and each has them in falling order."""
    edges = [n_global * r * r // comm.size**2 for r in range(comm.size + 1)]
    return np.arange(edges[comm.rank], edges[comm.rank + 1], dtype=np.int64)[::-1].copy()


def image_box(
    shape: Sequence[int], comm: MPI.Comm, lengths: ArrayLike | None = None, origin: ArrayLike = (0.0, 0.0, 0.0)
) -> ImageGrid:
    """Rank's share of a box of equal cells; the shares have different sizes, and their faces do not match."""
    low, high, first, last = [0] * len(shape), list(shape), 0, comm.size
    while last - first > 1:
        middle = (first + last) // 2
        axis = int(np.argmax(np.subtract(high, low)))
        cut = low[axis] + max(1, (high[axis] - low[axis]) * (middle - first) // (last - first))
        if comm.rank < middle:
            high[axis], last = cut, middle
        else:
            low[axis], first = cut, middle
    spacing = np.ones(3)
    spacing[: len(shape)] = 1.0 if lengths is None else np.divide(lengths, shape)
    return ImageGrid(tuple(shape), tuple(low), tuple(high), np.array(origin), spacing, comm)


def points(grid: Grid | ImageGrid) -> NDArray[np.float64]:
    """(p, 3) points."""
    return grid.points if isinstance(grid, Grid) else _lattice(grid, 1, 0.0)


def centres(grid: Grid | ImageGrid) -> NDArray[np.float64]:
    """(n, 3) cell centres."""
    if isinstance(grid, ImageGrid):
        return _lattice(grid, 0, 0.5)
    return grid.points[grid.cells].mean(axis=1) if len(grid.cells) else np.zeros((0, 3))


def read(folder: Path, step: int) -> pyvista.DataSet:
    """One step of a series, as ParaView sees it."""
    reader = pyvista.PVDReader(folder / "design.pvd")
    reader.set_active_time_value(float(step))
    return reader.read()[0]


def restored(folder: Path, comm: MPI.Comm, *arguments: Any, **names: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Arrays and meta of the newest usable restart set; damaged ones are set aside, as resuming does (collective)."""
    arrays, meta, damaged = checkpoint.read(folder, comm, *arguments, **names)
    checkpoint.set_aside(comm, damaged)
    return arrays, meta


def times(folder: Path) -> list[float]:
    """Steps of a series."""
    return pyvista.PVDReader(folder / "design.pvd").time_values


def _lattice(grid: ImageGrid, more: int, offset: float) -> NDArray[np.float64]:
    axes = [np.arange(a, b + more) + offset for a, b in zip(grid.low, grid.high, strict=True)]
    numbers = np.stack(np.meshgrid(*axes[::-1], indexing="ij")[::-1], axis=-1).reshape(-1, len(axes))
    return grid.origin + grid.spacing * np.pad(numbers, ((0, 0), (0, 3 - len(axes))))


def run_script(ranks: int, script: str, *arguments: object) -> list[str]:
    """Output lines of a script of this folder on so many ranks."""
    if MPI.COMM_WORLD.size > 1:
        pytest.skip("starts its own ranks")
    path = Path(__file__).with_name(script)
    command = ["mpirun", "-n", str(ranks), sys.executable, str(path), *map(str, arguments)]
    # A copy of the environment: MPI adds variables to that of this process, which would mislead mpirun.
    done = subprocess.run(command, env=dict(os.environ), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
