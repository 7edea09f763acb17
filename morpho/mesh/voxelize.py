"""A part filled with voxels: each rank fills its own box from the surface."""

from __future__ import annotations

import math

from mpi4py import MPI

import numpy as np
from numpy.typing import NDArray

from morpho.errors import InputError
from morpho.interfaces import Array
from morpho.machine import physical_memory
from morpho.mesh.part import Part, read_part
from morpho.mesh.partition import Partition, split
from morpho.mesh.voxels import Mask, VoxelMesh, at_corners
from morpho.mesh.window import Box, Window
from morpho.parallel import on_root
from morpho.problem import spec
from morpho.triangles import poly_data

NEAR = 1e-6  #: edges of a voxel by which the part may be larger than a whole number of them
LEAST = 100  #: bytes that a cell of the box takes in the smallest of runs
OFF = 0.02  #: relative difference of volumes that is said


def voxelized(mesh: spec.Mesh, comm: MPI.Comm, block: int = 1) -> VoxelMesh:
    """The voxels in the part of a problem file, as the cells that exist in a box around it (collective).

    A voxel is inside when its centre is. The box has the middle of the part in its own middle.

    Args:
        block: no block of so many cells along an edge, a power of two, is cut between ranks.

    Raises:
        InputError: the surface cannot be read, is open or crosses itself, or the spacing does not suit it.
    """
    path, h = mesh.voxelize, (mesh.spacing or 1.0) / 2**mesh.refine
    assert path is not None
    part: Part = on_root(comm, lambda: read_part(path, h))
    low, high = part.bounds
    cells = _counted(path, h, low, high, physical_memory())
    spacing, n = np.full(3, h), np.array(cells)
    origin = (low + high) / 2 - h * n / 2
    # Where the part begins at a round place the box does, to the last bit.
    origin = np.where(np.abs(origin - low) < NEAR * h, low, origin)
    levels = block.bit_length() - 1
    partition = split(cells, comm.size, levels)
    masks = _inside(part, origin, spacing, partition.box(comm.rank))
    inside = _joined(part, masks)
    around = _with_neighbours(comm, partition, inside)
    turn = _turn(comm, around)
    if comm.size > 1:  # a second time, now that it is known where the part fills the box
        partition = split(cells, comm.size, levels, _layers(comm, partition, inside), turn)
        masks = _inside(part, origin, spacing, partition.box(comm.rank))
        inside = _joined(part, masks)
        around = _with_neighbours(comm, partition, inside)
    owned = at_corners(around)[tuple(slice(1 if at else None, None) for at in partition.place(comm.rank)[::-1])]
    sums = [np.count_nonzero(inside), np.count_nonzero(owned), *map(np.count_nonzero, masks)]
    count, nodes, *filled = comm.allreduce(np.array(sums, dtype=np.int64)).tolist()
    if count == 0:
        raise InputError(
            f"mesh.spacing: got {h:g}, and no voxel has its centre in the part, which reaches from {_vector(low)} to "
            f"{_vector(high)}; give a smaller one"
        )
    notes = (*part.notes, *_doubts(part, filled, h))
    keys = _first_keys(comm, partition, inside)
    return VoxelMesh(
        comm, cells, origin, spacing, partition, around, (count, nodes), keys, part.faces, part.triangles, notes, turn
    )


def _counted(path: str, h: float, low: Array, high: Array, memory: int) -> tuple[int, ...]:
    """Voxels along x, y, z."""
    extent = high - low
    said = f"mesh.spacing: got {h:g}; {path} reaches from {_vector(low)} to {_vector(high)}"
    if h > extent.max():
        raise InputError(f"{said}; give the edge of a voxel, such as {extent.max() / 50:.2g}")
    cells = tuple(max(1, math.ceil(length / h - NEAR)) for length in extent)
    if LEAST * math.prod(cells) > memory:
        shown = " x ".join(map(str, cells))
        raise InputError(f"{said}, a box of {shown} voxels, which this machine cannot hold; give a larger one")
    return cells


def _inside(part: Part, origin: Array, spacing: Array, box: Box) -> list[Mask]:
    """Which cells of a box have their centre in each shell, axes z, y, x."""
    from vtkmodules.util.numpy_support import vtk_to_numpy
    from vtkmodules.vtkImagingStencil import vtkImageStencilToImage, vtkPolyDataToImageStencil

    first, beyond = (np.array(end) for end in box)
    masks = []
    for shell in part.shells:
        stencil, image = vtkPolyDataToImageStencil(), vtkImageStencilToImage()
        stencil.SetInputData(poly_data(shell.corners))
        stencil.SetOutputOrigin(*(origin + 0.5 * spacing))
        stencil.SetOutputSpacing(*spacing)
        stencil.SetOutputWholeExtent(*np.column_stack([first, beyond - 1]).ravel().tolist())
        stencil.SetTolerance(0.0)
        image.SetInputConnection(stencil.GetOutputPort())
        image.SetInsideValue(1)
        image.SetOutsideValue(0)
        image.SetOutputScalarTypeToUnsignedChar()
        image.Update()
        found = vtk_to_numpy(image.GetOutput().GetPointData().GetScalars()) > 0
        masks.append(np.asarray(found.reshape(tuple((beyond - first)[::-1]))))
    return masks


def _joined(part: Part, masks: list[Mask]) -> Mask:
    """What the solid shells enclose and no cavity does."""
    inside = np.zeros_like(masks[0])
    for mask, shell in zip(masks, part.shells, strict=True):
        if shell.solid:
            inside |= mask
    for mask, shell in zip(masks, part.shells, strict=True):
        if not shell.solid:
            inside &= ~mask
    return inside


def _layers(comm: MPI.Comm, partition: Partition, inside: Mask) -> tuple[NDArray[np.int64], ...]:
    """How many voxels exist in each layer of the whole box across x, y and z (collective)."""
    found = []
    for d, (low, high) in enumerate(zip(*partition.box(comm.rank), strict=True)):
        layers = np.zeros(partition.cells[d], dtype=np.int64)
        layers[low:high] = inside.sum(axis=tuple(axis for axis in range(3) if axis != 2 - d))
        comm.Allreduce(MPI.IN_PLACE, layers, MPI.SUM)
        found.append(layers)
    return tuple(found)


def _turn(comm: MPI.Comm, around: Mask) -> int:
    """Steps by which to turn the axes so that the voxels are the fewest rows without a gap (collective)."""
    own, counts = slice(1, -1), np.zeros(3, np.int64)
    for d in range(3):
        before = tuple(slice(0, -2) if axis == 2 - d else own for axis in range(3))
        counts[d] = np.count_nonzero(around[own, own, own] & ~around[before])
    comm.Allreduce(MPI.IN_PLACE, counts, MPI.SUM)
    return int(np.argmin(counts))


def _with_neighbours(comm: MPI.Comm, partition: Partition, inside: Mask) -> Mask:
    """With a layer around, of other ranks' cells and, beyond the box, of nothing (collective)."""
    window = Window(comm, partition, (1, 1, 1))
    wide = window.extend(inside)
    begin = [1 - part.start for part in window.inner]
    around = np.zeros(tuple(n + 2 for n in inside.shape), dtype=bool)
    around[tuple(slice(b, b + n) for b, n in zip(begin, wide.shape, strict=True))] = wide
    return around


def _first_keys(comm: MPI.Comm, partition: Partition, inside: Mask) -> NDArray[np.int64]:
    """(z, y) number, among all that exist, of the first voxel of each row of this rank (collective)."""
    (_, y0, z0), place = partition.box(comm.rank)[0], partition.place(comm.rank)[0]
    counts = np.zeros((partition.cells[2], partition.cells[1], partition.grid[0]), dtype=np.int64)
    here = (slice(z0, z0 + inside.shape[0]), slice(y0, y0 + inside.shape[1]), place)
    counts[here] = inside.sum(axis=2)
    comm.Allreduce(MPI.IN_PLACE, counts, MPI.SUM)
    return np.asarray((np.cumsum(counts).reshape(counts.shape) - counts)[here])


def _doubts(part: Part, filled: list[int], h: float) -> list[str]:
    """What the voxels do not show of the part."""
    said = []
    for shell, count in zip(part.shells, filled, strict=True):
        if abs(count * h**3 - shell.volume) > OFF * shell.volume:
            said.append(
                f"the voxels hold {count * h**3:.6g} of the volume {shell.volume:.6g} of the part: some of it is "
                "hardly thicker than a voxel; give a smaller spacing"
            )
    return said


def _vector(v: Array) -> str:
    return "(" + ", ".join(f"{c:.4g}" for c in np.where(np.abs(v) < NEAR * np.abs(v).max(), 0.0, v)) + ")"
