"""What has to be the same on any number of ranks about the filters on boxes of equal cells."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

from mpi4py import MPI

import numpy as np
from helpers import box, by_key, main, random_cells

from morpho.design.voxel_cone import VoxelNeighbourhood
from morpho.fem.voxel.helmholtz import VoxelHelmholtz
from morpho.mesh.partition import Partition
from morpho.mesh.voxels import VoxelMesh, voxel_mesh
from morpho.mesh.window import Window
from morpho.parallel import global_dot
from morpho.problem import spec

#: Odd numbers of cells, cells that are not cubes, single layers, coordinates far from 1.
BOXES: dict[str, dict[str, Any]] = {
    "square": box([8, 8]),
    "flat": box([9, 5], [3000.0, 1000.0]),
    "row": box([7, 1], [7.0, 0.5]),
    "cube": box([6, 6, 6]),
    "brick": box([11, 5, 7], [2.2, 1.5, 0.7]),
    "needles": box([4, 9, 5], [4.0, 0.9, 1.0]),
    "plate": box([5, 7, 1], [0.5, 0.7, 0.2]),
}
RADII = [0.4, 1.5, 2.56, 4.0, 50.0]  #: in edges of a cube with the volume of a cell


def voxels(name: str, comm: MPI.Comm = MPI.COMM_SELF) -> VoxelMesh:
    """The voxel mesh of a box by name."""
    return voxel_mesh(spec.BoxMesh.model_validate(BOXES[name]["box"]), 0, comm)


def lopsided(cells: tuple[int, ...], ranks: int) -> Iterator[Partition]:
    """Every process grid, with boxes as thin as a cell on the lower side."""
    for grid in itertools.product(range(1, ranks + 1), repeat=len(cells)):
        if math.prod(grid) == ranks and all(p <= n for p, n in zip(grid, cells, strict=True)):
            yield Partition(cells, tuple((*range(p), n) for p, n in zip(grid, cells, strict=True)), 0)


def window_is_right(comm: MPI.Comm, partition: Partition, width: tuple[int, ...], dtype: str) -> bool:
    """Whether every rank's window is what its neighbourhood is in the whole field (collective)."""
    whole = (np.arange(math.prod(partition.cells)) * 7 % 251).astype(dtype).reshape(partition.cells[::-1])
    low, high = partition.box(comm.rank)
    own = tuple(slice(a, b) for a, b in zip(low, high, strict=True))[::-1]
    wide = tuple(slice(max(0, a - w), b + w) for a, b, w in zip(low, high, width, strict=True))[::-1]
    window = Window(comm, partition, width)
    found = window.extend(whole[own].ravel())
    expected = whole[wide].reshape(window.shape)
    same = found.dtype == expected.dtype and np.array_equal(found, expected)
    middle = np.array_equal(found[window.inner].ravel(), whole[own].ravel())
    return bool(comm.allreduce(same and middle, MPI.LAND))


def facts(comm: MPI.Comm) -> dict[str, Any]:
    """Windows, and images and pullbacks by both filters, flat by name (collective)."""
    found: dict[str, Any] = {}
    for cells, width in itertools.product([(9, 4), (5, 4, 7)], [0, 1, 2, 3, 9]):
        widths = (width, max(width - 1, 0), width)[: len(cells)]
        for dtype in ("float64", "float32", "int16", "bool"):
            right = all(window_is_right(comm, partition, widths, dtype) for partition in lopsided(cells, comm.size))
            found[f"windows of {cells}, {width}, {dtype}"] = "right" if right else "wrong"
    for name, radius in itertools.product(BOXES, RADII):
        mesh = voxels(name, comm)
        x, y = random_cells(mesh), random_cells(mesh, -1.0, 1.0, seed=1)
        length = radius * mesh.cell_size
        neighbourhood, pde = VoxelNeighbourhood(mesh, length), VoxelHelmholtz(mesh, length / 3)
        image, pullback = neighbourhood.average(x), neighbourhood.average_transposed(y)
        found[f"cone {radius} on {name}"] = by_key(mesh, image)
        found[f"cone transposed {radius} on {name}"] = by_key(mesh, pullback)
        gap = global_dot(comm, y, image) - global_dot(comm, pullback, x)
        found[f"transposes {radius} on {name}"] = "yes" if abs(gap) < 1e-13 * mesh.n_global else "no"
        found[f"helmholtz {radius} on {name}"] = by_key(mesh, pde.apply(x))
        pde.close()
    return found


if __name__ == "__main__":
    main(facts)
