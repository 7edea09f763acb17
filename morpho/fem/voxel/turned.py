"""What supports and loads say about a mesh, for the nodal arrays of its cells as they are laid out.

Regions, bodies and forces are found on the mesh; its fields are worked on with turned axes, see `VoxelMesh.laid`. The
components of a vector turn with the axes, so that the kernels see the same element.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from morpho.fem.voxel.loads import NodalForces
from morpho.fem.voxel.supports import Dofs, Held
from morpho.interfaces import Array
from morpho.mesh.partition import turned
from morpho.mesh.voxels import VoxelMesh, portions


@dataclass(frozen=True)
class Turn:
    """From nodal arrays (z, y, component, x) of a mesh to those of `mesh.laid`."""

    mesh: VoxelMesh
    components: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the arrays of the mesh (local)."""
        nz, ny, nx = self.mesh.node_shape
        return nz, ny, self.components, nx

    @property
    def order(self) -> list[int]:
        """Component of the laid-out arrays that each component is there (local)."""
        steps = self.mesh.turn if self.components > 1 else 0
        return [(c - steps) % self.components for c in range(self.components)]

    def dofs(self, dofs: Dofs) -> Dofs:
        """Flat numbers of entries (local)."""
        if not self.mesh.turn:
            return dofs
        return self._moved(dofs, self.components, self.order)

    def nodes(self, nodes: Dofs) -> Dofs:
        """Flat numbers of nodes (z, y, x) (local)."""
        return self._moved(nodes, 1, [0]) if self.mesh.turn else nodes

    def forces(self, forces: NodalForces) -> NodalForces:
        """A load vector (local)."""
        return NodalForces(*self._sorted(forces.dofs, forces.values))

    def held(self, held: Held) -> Held:
        """Held components (local)."""
        return Held(*self._sorted(held.dofs, held.values))

    def seen(self, u: NDArray[Any]) -> NDArray[Any]:
        """View of a laid-out array (z, y, component, x) with the axes of the mesh; its components stay (local)."""
        z, y, x = turned((3, 1, 0), -self.mesh.turn)[::-1]
        return u.transpose(z, y, 2, x)

    def lowest(self, u: Array) -> Array:
        """(n, components) of a laid-out array at the lowest node of each cell (local)."""
        out = np.empty((self.mesh.n, self.components))
        for part, at in self._cells():
            out[part] = u[at]
        return out

    def set_lowest(self, u: Array, values: Array) -> None:
        """Make a laid-out array hold these (n, components) there (local)."""
        for part, at in self._cells():
            u[at] = values[part]

    def _cells(self) -> Iterator[tuple[slice, tuple[Any, ...]]]:
        """Cells, some at a time, and the entries of their lowest nodes, components in the order of the mesh."""
        box = self.mesh.laid
        for part in portions(box.n):
            slots = np.arange(part.start, part.stop) if box.slots is None else box.slots[part]
            z, y, x = np.unravel_index(slots[:, None], box.shape)
            yield part, (z, y, np.array(self.order), x)

    def _sorted(self, dofs: Dofs, values: Array) -> tuple[Dofs, Array]:
        moved = self.dofs(dofs)
        order = np.argsort(moved)
        return moved[order], values[order]

    def _moved(self, dofs: Dofs, components: int, order: list[int]) -> Dofs:
        nz, ny, nx = self.mesh.node_shape
        z, y, c, x = np.unravel_index(dofs, (nz, ny, components, nx))
        x, y, z = turned((x, y, z), self.mesh.turn)
        nz, ny, nx = self.mesh.laid.node_shape
        return np.asarray(np.ravel_multi_index((z, y, np.array(order)[c], x), (nz, ny, components, nx)))
