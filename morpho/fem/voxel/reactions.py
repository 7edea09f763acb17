"""What each support exerts on a box of equal cells."""

from __future__ import annotations

import numpy as np

from morpho.fem.supports import held_components
from morpho.fem.voxel.equation import VoxelEquation
from morpho.fem.voxel.loads import joined
from morpho.fem.voxel.supports import component_dofs
from morpho.interfaces import Array
from morpho.problem.acting import Support


def reactions(physics: VoxelEquation, supports: tuple[Support, ...], i: int, rho: Array) -> Array:
    """(supports, components) of load case i after a solve: K u - f summed over the held dofs of each (collective).

    Springs and convection are in K. A dof that several supports hold counts for the first. In heat it is the flow into
    the body.
    """
    mesh, planes, u = physics.mesh, physics.planes, physics.u[i]
    residual = np.zeros(physics.shape)
    A = physics.cg.operator
    A.element.kernels.add_stiffness(residual, u, A.E, A.element.modes, A.present.pieces)
    planes.sum(residual)
    dofs, springs = joined(physics.springs)
    residual.reshape(-1)[dofs] += springs * u.reshape(-1)[dofs]
    residual -= physics.load(i, rho)
    planes.keep_owned(residual)
    flat, taken = residual.reshape(-1), np.zeros(residual.size, dtype=bool)
    found = np.zeros((len(supports), physics.components))
    for s, support in enumerate(supports):
        nodes = np.flatnonzero(mesh.nodes_in(support.region))
        for component, _ in held_components(support, physics.components):
            dofs = physics.turn.dofs(component_dofs(mesh, nodes, component, physics.components))
            found[s, component] = flat[dofs[~taken[dofs]]].sum()
            taken[dofs] = True
    return np.asarray(mesh.comm.allreduce(found))
