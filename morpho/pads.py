"""Cells beside loads and supports, where the highest stress grows with the mesh and says nothing of the part."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from morpho.fem.assembled import AssembledEquation
from morpho.fem.loads import assemble_case as assembled_load
from morpho.fem.supports import nodes_in
from morpho.fem.voxel.bodies import places
from morpho.fem.voxel.equation import VoxelEquation
from morpho.fem.voxel.halo import SharedPlanes
from morpho.fem.voxel.loads import assemble_case as voxel_load
from morpho.interfaces import Array
from morpho.late import spatial
from morpho.parts import Parts
from morpho.problem.acting import LoadCase, Support
from morpho.problem.regions import Region

EDGES = 2.0  #: of a cell, within which a cell counts as beside a node


def away_from_pads(parts: Parts, i: int) -> NDArray[np.bool_]:
    """Which of the owned cells (n,) have no node near that is held, or on which load case i acts (collective).

    Near is within two edges of the cell, from its middle. Planes of symmetry and forces on the whole volume do not
    count.
    """
    problem, mesh = parts.problem, parts.mesh
    regions = [support.region for support in problem.supports if not _is_symmetry(support)]
    regions += [spring.region for spring in problem.springs]
    case = problem.loads[i]
    case = case.model_copy(update={"forces": tuple(force for force in case.forces if force.region is not None)})
    nodes = np.concatenate(mesh.comm.allgather(_nodes(parts.physics, regions, case)))
    if not len(nodes):
        return np.ones(mesh.n, dtype=bool)
    edges = mesh.cell_size * (np.asarray(mesh.volumes) * (mesh.n_global / mesh.total_volume)) ** (1 / mesh.dim)
    reach, tree = EDGES * (1 + 1e-6) * edges, spatial.cKDTree(nodes)
    most = float(reach.max(initial=0.0))
    found = [tree.query(x, distance_upper_bound=most)[0] for x in mesh.places(cells=True)]
    return np.asarray(np.concatenate([np.zeros(0), *found]) > reach)


def _is_symmetry(support: Support) -> bool:
    """Whether it holds a plane across it only, where nothing is concentrated."""
    plane = support.region.plane
    return plane is not None and not support.moves and support.components == ("xyz".index(plane.axis),)


def _nodes(physics: AssembledEquation | VoxelEquation, regions: list[Region], case: LoadCase) -> Array:
    """(p, 3) places of this rank's nodes in some regions and of those that are loaded (collective)."""
    if isinstance(physics, VoxelEquation):
        return _nodes_voxel(physics, regions, case)
    return _nodes_assembled(physics, regions, case)


def _nodes_assembled(physics: AssembledEquation, regions: list[Region], case: LoadCase) -> Array:
    place = physics.V.tabulate_dof_coordinates()
    load, _ = assembled_load(physics.mesh, physics.V, case, "loads")
    loaded = np.flatnonzero(load.reshape(-1, physics.components).any(axis=1))
    nodes = [nodes_in(physics.mesh, physics.V, region) for region in regions]
    return np.asarray(place[np.concatenate([loaded, *nodes]).astype(np.int64)])


def _nodes_voxel(physics: VoxelEquation, regions: list[Region], case: LoadCase) -> Array:
    mesh = physics.mesh
    load, _ = voxel_load(mesh, SharedPlanes(mesh.comm, mesh.partition), case, "loads", physics.components)
    z, y, _, x = np.unravel_index(load.dofs, physics.turn.shape)
    loaded = np.ravel_multi_index((z, y, x), mesh.node_shape)
    nodes = [np.flatnonzero(mesh.nodes_in(region)) for region in regions]
    return places(mesh, np.unique(np.concatenate([loaded, *nodes])).astype(np.int64))
