"""What each support exerts on a mesh."""

from __future__ import annotations

import numpy as np

from morpho.fem import forms
from morpho.fem.assembled import AssembledEquation
from morpho.fem.supports import held_components, nodes_in
from morpho.interfaces import Array
from morpho.late import fem, la, ufl
from morpho.problem.acting import Support


def reactions(physics: AssembledEquation, supports: tuple[Support, ...], i: int) -> Array:
    """(supports, components) of load case i after a solve: K u - f summed over the held dofs of each (collective).

    Springs and convection are in K. A dof that several supports hold counts for the first. In heat it is the flow into
    the body.
    """
    V, count = physics.V, physics.components
    dx, v = forms.cell_measure(physics.mesh, V.ufl_element().degree), ufl.TestFunction(V)
    inner = fem.assemble_vector(fem.form(physics.coefficient * physics.law.integrand(physics.u[i], v) * dx))
    inner.scatter_reverse(la.InsertMode.add)
    residual = inner.array[: physics.owned] + physics.springs * physics.u[i].x.array[: physics.owned]
    residual -= physics.loads[i] + physics.self_weight(i)
    taken = np.zeros(physics.owned, dtype=bool)
    found = np.zeros((len(supports), count))
    for s, support in enumerate(supports):
        nodes = nodes_in(physics.mesh, V, support.region)
        for component, _ in held_components(support, count):
            dofs = nodes * count + component
            dofs = dofs[dofs < physics.owned]
            found[s, component] = residual[dofs[~taken[dofs]]].sum()
            taken[dofs] = True
    return np.asarray(physics.comm.allreduce(found))
