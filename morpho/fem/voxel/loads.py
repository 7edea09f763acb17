"""Load vectors of a box of equal cells: each force spread over what its region really touches."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

from mpi4py import MPI

import numpy as np
from numpy.typing import NDArray

from morpho.fem.loads import Acting, AppliedForce, Target, apply_forces
from morpho.fem.voxel.halo import AXES, SharedPlanes
from morpho.fem.voxel.supports import Dofs, Held
from morpho.interfaces import Array
from morpho.mesh.voxels import Mask, VoxelMesh
from morpho.parallel import any_rank, global_sum
from morpho.problem.acting import LoadCase
from morpho.problem.regions import Region

ENDS = (slice(None, -1), slice(1, None))


@dataclass(frozen=True)
class NodalForces:
    """A load vector where it is not zero, complete on every rank that has the node."""

    dofs: Dofs  #: sorted, into the flat nodal array (z, y, component, x) of this rank
    values: Array

    def put(self, load: Array) -> None:
        """Make a nodal array (z, y, component, x) this load (local)."""
        load[:] = 0
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
    outward: Array  #: (dim,) unit normal on a face of the box, else zero

    def corners(self, nodal: NDArray) -> list[NDArray]:
        """Views of a nodal array (z, y, x, ...) at each corner of the entities, one value per entity."""
        ends = [ENDS if axis in self.spans else (slice(None),) for axis in range(3)]
        return [nodal[self.nodes][at] for at in itertools.product(*ends)]


Marked = list[tuple[Patch, Mask]]


def assemble_case(
    mesh: VoxelMesh, planes: SharedPlanes, case: LoadCase, place: str, components: int
) -> tuple[NodalForces, list[AppliedForce]]:
    """Load vector of a case, without self weight, and what each force came to (collective).

    Args:
        components: of the state at a node.
    """
    nz, ny, nx = mesh.node_shape
    vector = np.zeros((nz, ny, components, nx))

    def entities(region: Region, dim: int) -> tuple[Marked, float, bool]:
        for inside in (False, True) if region.is_surface and dim == mesh.dim - 1 else (False,):
            patches = patches_of(mesh, planes, dim, inside)
            found = list(zip(patches, _masks(mesh, region, dim, patches), strict=True))
            measure = global_sum(mesh.comm, np.array([patch.measure * np.count_nonzero(mask) for patch, mask in found]))
            if measure > 0:
                break
        return found, measure, inside

    def spread(force: Acting, target: Target[Marked] | None) -> Array:
        if target is None:
            whole: Marked = [(patch, np.ones(mesh.shape, dtype=bool)) for patch in patches_of(mesh, planes, mesh.dim)]
            target = Target(mesh.dim, whole, mesh.total_volume)
        density, total = target.density(force), np.zeros(components)
        for patch, mask in target.entities:
            push = patch.measure * (-density * patch.outward if force.kind == "pressure" else density)
            corners = patch.corners(np.moveaxis(vector, 2, 3))
            for nodes in corners:
                np.add(nodes, push / len(corners), out=nodes, where=mask[..., None])
            total += push * np.count_nonzero(mask)
        return np.asarray(mesh.comm.allreduce(total))

    applied = apply_forces(mesh, case, place, entities, spread)
    planes.sum(vector)
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
        if inside:
            nodes[normal] = slice(1, None if AXES[normal] in planes.high else -1)
            found.append(Patch(tuple(nodes), spans, measure, outward))
            continue
        for neighbours, end, sign in ((planes.low, slice(0, 1), -1.0), (planes.high, slice(-1, None), 1.0)):
            if AXES[normal] not in neighbours:
                nodes[normal] = end
                found.append(Patch(tuple(nodes), spans, measure, sign * np.eye(mesh.dim)[2 - normal]))
    return found


def _masks(mesh: VoxelMesh, region: Region, dim: int, patches: list[Patch]) -> list[Mask]:
    """Which entities of a dimension belong to a region: of cells those whose centre does, see `marked` (local)."""
    if dim < mesh.dim:
        return marked(mesh, region, patches)
    inside = np.zeros(mesh.n, dtype=bool)
    inside[mesh.cells_in(region)] = True
    return [inside.reshape(mesh.shape)]


def marked(mesh: VoxelMesh, region: Region, patches: list[Patch]) -> list[Mask]:
    """Which entities of each patch belong to a region: those whose vertices all do; of points only vertices (local)."""
    if region.parts:
        parts = [marked(mesh, part, patches) for part in region.parts]
        join = np.logical_and if region.all_of else np.logical_or
        return [np.asarray(join.reduce(masks)) for masks in zip(*parts, strict=True)]
    inside = mesh.nodes_in(region)
    return [
        np.logical_and.reduce(patch.corners(inside)) & (region.points is None or not patch.spans) for patch in patches
    ]
