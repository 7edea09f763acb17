"""What holds the bodies that cells of a box make, and what acts on them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from morpho.fem.mechanisms import WEAK, Mechanism, Points, find_mechanisms, in_void, judge
from morpho.fem.voxel.bodies import find_bodies
from morpho.fem.voxel.coarsening import Dofs, Mask
from morpho.fem.voxel.loads import NodalForces
from morpho.fem.voxel.supports import Held, by_node, held_nodes
from morpho.mesh.bodies import Bodies
from morpho.mesh.mesh import Indices
from morpho.mesh.voxels import VoxelMesh
from morpho.parallel import any_rank


@dataclass(frozen=True)
class Bearing:
    """Supports and loads of this rank."""

    mesh: VoxelMesh
    components: int  #: of the state at a node
    supports: Held
    anchors: Dofs  #: held by what the temperature is exchanged with
    springs: list[NodalForces]  #: and convection
    forces: list[NodalForces]  #: of the load cases and the dummy loads, those this rank owns
    weighs: bool  #: whether material has weight

    def cut_off(self, void: Indices, E_min_ratio: float) -> list[str]:
        """Complaints about loads that only passive void cells carry, or lead to the supports (collective)."""
        if self.mesh.filled is not None:
            bodies, found, _ = self._mechanisms(self.mesh.filled)
            if said := judge(self.mesh, bodies, found)[0]:
                return said
        if not any_rank(self.mesh.comm, len(void) > 0) or E_min_ratio >= WEAK:
            return []
        solid = np.ones(self.mesh.n, dtype=bool)
        solid[void] = False
        return in_void(self.mesh, *self._mechanisms(self.mesh.grid(solid)))

    def loaded(self) -> Dofs:
        """Flat numbers (z, y, x) of the nodes with loads that do work, or springs (local)."""
        dofs, nx = [given.dofs[given.values != 0] for given in (*self.forces, *self.springs)], self.mesh.node_shape[2]
        row, x = np.divmod(np.setdiff1d(np.concatenate(dofs), self.supports.dofs), nx)
        return np.asarray(row // self.components * nx + x)

    def _mechanisms(self, solid: Mask) -> tuple[Bodies, list[Mechanism], list[Points]]:
        """The bodies that cells (z, y, x) make, how they can move, and the loads (collective)."""
        given = [held_nodes(self.mesh, self.supports, self.components, self.anchors)]
        for force in self.forces:
            free = np.isin(force.dofs, self.supports.dofs, invert=True)
            at, x, values = by_node(self.mesh, force.dofs[free], force.values[free], self.components)
            # A force does work or not, whatever its size.
            given.append((at, x, (~np.isnan(values)).astype(float)))
        bodies = find_bodies(self.mesh, solid, np.concatenate([nodes for nodes, _, _ in given]))
        ends = np.cumsum([len(nodes) for nodes, _, _ in given])[:-1]
        of_node = np.split(bodies.of_node, ends)
        supports, *forces = (Points(x, of, which) for (_, x, which), of in zip(given, of_node, strict=True))
        found = find_mechanisms(self.mesh.comm, self.components, bodies, supports, forces, self.weighs)
        return bodies, found, forces
