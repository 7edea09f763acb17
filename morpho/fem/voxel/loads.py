"""Load vectors of a box of equal cells: each force spread over what its region really touches."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from mpi4py import MPI

import numpy as np
from numpy.typing import NDArray

from morpho.fem.loads import Acting, AppliedForce, Resultant, Target, apply_forces
from morpho.fem.statics import moment_of, nodal_forces
from morpho.fem.voxel.halo import AXES, SharedPlanes
from morpho.fem.voxel.supports import Dofs, Held, places
from morpho.fem.voxel.vectors import Runs, clear, whole_rows
from morpho.interfaces import Array
from morpho.mesh.voxels import Mask, VoxelMesh
from morpho.pages import zeros
from morpho.parallel import any_rank, global_sum
from morpho.problem.acting import Force, LoadCase
from morpho.problem.regions import Region

ENDS = (slice(None, -1), slice(1, None))


@dataclass(frozen=True)
class NodalForces:
    """A load vector where it is not zero, complete on every rank that has the node."""

    dofs: Dofs  #: sorted, into the flat nodal array (z, y, component, x) of this rank
    values: Array

    @classmethod
    def of(cls, load: Array) -> NodalForces:
        """Those of a nodal array (local)."""
        dofs = np.flatnonzero(load)
        return cls(dofs, load.reshape(-1)[dofs])

    def put(self, load: Array, runs: Runs | None = None) -> None:
        """Make a nodal array (z, y, component, x) this load, in given runs of its rows or all (local)."""
        clear(load, whole_rows(load.shape) if runs is None else runs)
        load.reshape(-1)[self.dofs] = self.values

    def work(self, u: Array) -> float:
        """Work of these forces in a nodal displacement (local)."""
        return float(self.values @ u.reshape(-1)[self.dofs])

    def owned(self, planes: SharedPlanes, shape: tuple[int, ...]) -> NodalForces:
        """Those at nodes that this rank owns (local)."""
        place = np.unravel_index(self.dofs, shape)
        owned = np.ones(len(self.dofs), dtype=bool)
        for axis in planes.low:
            owned &= place[axis] > 0
        return NodalForces(self.dofs[owned], self.values[owned])


def joined(several: list[NodalForces]) -> tuple[Dofs, Array]:
    """The sum of nodal vectors, as dofs and values (local)."""
    dofs = np.concatenate([np.zeros(0, np.int64), *(forces.dofs for forces in several)])
    values = np.concatenate([np.zeros(0), *(forces.values for forces in several)])
    unique, at = np.unique(dofs, return_inverse=True)
    return unique, np.asarray(np.bincount(at, values, len(unique)), np.float64)


@dataclass(frozen=True)
class Patch:
    """Entities of one direction on this rank, none of them on another rank too."""

    nodes: tuple[slice, ...]  #: all their corners, axes z, y, x
    spans: tuple[int, ...]  #: the axes along which each extends
    measure: float  #: of each; 1 for vertices
    outward: Array  #: (dim,) unit normal on the boundary, else zero
    there: Callable[[], Mask] | None = None  #: makes which of them exist, None for all

    def corners(self, nodal: NDArray) -> list[NDArray]:
        """Views of a nodal array (z, y, x, ...) at each corner of the entities, one value per entity."""
        ends = [ENDS if axis in self.spans else (slice(None),) for axis in range(3)]
        return [nodal[self.nodes][at] for at in itertools.product(*ends)]

    def sum_of_places(self, mesh: VoxelMesh, mask: Mask) -> Array:
        """(3,) sum of the centres of the entities that are marked (local)."""
        found = mesh.origin * np.count_nonzero(mask)
        for axis in range(3 - mesh.dim, 3):
            d = 2 - axis
            first = range(mesh.node_shape[axis])[self.nodes[axis]]
            middle = np.array(first, dtype=float)[: mask.shape[axis]] + (0.5 if axis in self.spans else 0.0)
            others = tuple(other for other in range(3) if other != axis)
            found[d] += mesh.spacing[d] * (mask.sum(axis=others) @ (mesh.low[d] + middle))
        return np.asarray(found)


Marked = list[tuple[Patch, Mask]]


def assemble_case(
    mesh: VoxelMesh, planes: SharedPlanes, case: LoadCase, place: str, components: int
) -> tuple[NodalForces, list[AppliedForce]]:
    """Load vector of a case, without self weight, and what each force came to (collective).

    Args:
        components: of the state at a node.
    """
    nz, ny, nx = mesh.node_shape
    vector = zeros((nz, ny, components, nx), sparse=True)

    def entities(region: Region, dim: int) -> tuple[Marked, float, bool]:
        for inside in (False, True) if region.is_surface and dim == mesh.dim - 1 else (False,):
            patches = patches_of(mesh, planes, dim, inside)
            masks = zip(patches, _masks(mesh, region, dim, patches), strict=True)
            found = [(patch, mask) for patch, mask in masks if mask.any()]
            measure = global_sum(mesh.comm, np.array([patch.measure * np.count_nonzero(mask) for patch, mask in found]))
            if measure > 0:
                break
        return found, measure, inside

    def add(to: Array, push: Array | float, patch: Patch, mask: Mask) -> None:
        """To the corners (..., components) of the entities that are marked."""
        corners = patch.corners(to)
        for nodes in corners:
            np.add(nodes, push / len(corners), out=nodes, where=mask[..., None])

    def spread(force: Acting, target: Target[Marked] | None) -> Resultant:
        if target is None:
            everywhere = np.ones(mesh.shape, dtype=bool) if mesh.filled is None else mesh.filled
            whole: Marked = [(patch, everywhere) for patch in patches_of(mesh, planes, mesh.dim)]
            target = Target(mesh.dim, whole, mesh.total_volume)
        if isinstance(force, Force) and force.is_equivalent:
            return equivalent(force, target)
        density, total, moment = target.density(force), np.zeros(components), np.zeros(3)
        for patch, mask in target.entities:
            push = patch.measure * (-density * patch.outward if force.kind == "pressure" else density)
            add(np.moveaxis(vector, 2, 3), push, patch, mask)
            total += push * np.count_nonzero(mask)
            moment += np.cross(patch.sum_of_places(mesh, mask), np.pad(push, (0, 3 - len(push))))
        return Resultant(np.asarray(mesh.comm.allreduce(total)), np.asarray(mesh.comm.allreduce(moment)))

    def equivalent(force: Force, target: Target[Marked]) -> Resultant:
        unit = zeros((nz, ny, 1 + components, nx), sparse=True)  # a traction of one, a pressure of one
        for patch, mask in target.entities:
            add(np.moveaxis(unit, 2, 3), patch.measure * np.append(1.0, -patch.outward), patch, mask)
        planes.sum(unit, sparse=True)
        planes.keep_owned(unit)
        z, y, column = np.nonzero(unit[:, :, 0])
        x, values = places(mesh, (z * ny + y) * nx + column), unit[z, y, :, column]
        found = nodal_forces(mesh.comm, force, x, values[:, 0], values[:, 1:])
        if isinstance(found, str):
            return Resultant(np.zeros(components), np.zeros(3), found)
        vector[z, y, :, column] += found
        total = np.asarray(mesh.comm.allreduce(found.sum(axis=0)))
        rounding = 1e-12 * mesh.comm.allreduce(float(np.abs(found).sum()))
        return Resultant(np.where(np.abs(total) <= rounding, 0.0, total), moment_of(mesh.comm, x, found))

    applied = apply_forces(mesh, case, place, entities, spread)
    planes.sum(vector, sparse=True)
    dofs = np.flatnonzero(vector)
    return NodalForces(dofs, vector.reshape(-1)[dofs]), applied


def acts(comm: MPI.Comm, forces: NodalForces, held: Held) -> bool:
    """Whether a force acts on a component that is not held (collective)."""
    return any_rank(comm, not np.isin(forces.dofs, held.dofs, assume_unique=True).all())


def patches_of(mesh: VoxelMesh, planes: SharedPlanes, dim: int, inside: bool = False) -> list[Patch]:
    """All entities of a dimension, each on one rank; facets are those of the boundary, or those `inside` (local)."""
    axes = range(3 - mesh.dim, 3)
    owned = [slice(1 if axis in planes.low else 0, None) for axis in AXES]
    found = []
    for spans in itertools.combinations(axes, dim):
        measure = float(math.prod(mesh.spacing[2 - axis] for axis in spans))
        nodes = [slice(None) if axis in spans else owned[axis] for axis in range(3)]
        outward = np.zeros(mesh.dim)
        if dim != mesh.dim - 1:
            found.append(Patch(tuple(nodes), spans, measure, outward))
            continue
        (normal,) = set(axes) - set(spans)
        if mesh.around is not None:
            nodes[normal] = owned[normal]
            for sign in (0.0,) if inside else (-1.0, 1.0):
                there = functools.partial(_between, mesh.around, normal, sign, owned[normal])
                found.append(Patch(tuple(nodes), spans, measure, sign * np.eye(mesh.dim)[2 - normal], there))
            continue
        if inside:
            nodes[normal] = slice(1, None if AXES[normal] in planes.high else -1)
            found.append(Patch(tuple(nodes), spans, measure, outward))
            continue
        for neighbours, end, sign in ((planes.low, slice(0, 1), -1.0), (planes.high, slice(-1, None), 1.0)):
            if AXES[normal] not in neighbours:
                nodes[normal] = end
                found.append(Patch(tuple(nodes), spans, measure, sign * np.eye(mesh.dim)[2 - normal]))
    return found


def _between(around: Mask, normal: int, sign: float, planes: slice) -> Mask:
    """The facets in planes across an axis that are inside the part, sign 0, or on its boundary with the side of the
    normal (local)."""
    own = [slice(1, -1)] * 3
    below, above = (around[tuple(end if axis == normal else own[axis] for axis in range(3))] for end in ENDS)
    at = tuple(planes if axis == normal else slice(None) for axis in range(3))
    below, above = below[at], above[at]
    return np.asarray(below & above if sign == 0 else above > below if sign < 0 else below > above)


def _masks(mesh: VoxelMesh, region: Region, dim: int, patches: list[Patch]) -> Iterator[Mask]:
    """Which entities of a dimension belong to a region: of cells those whose centre does, see `marked` (local)."""
    if dim < mesh.dim:
        yield from marked(mesh, region, patches)
        return
    inside = np.zeros(mesh.n, dtype=bool)
    inside[mesh.cells_in(region)] = True
    yield mesh.grid(inside)


def marked(mesh: VoxelMesh, region: Region, patches: list[Patch]) -> Iterator[Mask]:
    """Which entities of each patch belong to a region: those whose vertices all do; of points only vertices (local).

    One is made after the other, as together they take several times the memory of the part.
    """
    if region.parts:
        join = np.logical_and if region.all_of else np.logical_or
        for masks in zip(*(marked(mesh, part, patches) for part in region.parts), strict=True):
            yield functools.reduce(join, masks)
        return
    inside = mesh.nodes_in(region)
    for patch in patches:
        mask, *others = patch.corners(inside)
        mask = mask & (region.points is None or not patch.spans)
        for other in (*others, *([] if patch.there is None else [patch.there()])):
            mask &= other
        yield mask
