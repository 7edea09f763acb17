"""Fields at the centres of the cells of any mesh, and the transpose: what functionals see and say."""

from __future__ import annotations

import numpy as np

from morpho.fem.forms import Form
from morpho.fem.law import Law
from morpho.interfaces import Array
from morpho.late import fem, la, ufl
from morpho.mesh import Mesh


class Centre:
    """From local nodal vectors to (n, ...) values at the centres and back, by the quadrature with one point."""

    def __init__(self, mesh: Mesh, V: fem.FunctionSpace, law: Law) -> None:
        dx = ufl.Measure("dx", domain=mesh.domain, metadata={"quadrature_degree": 1})
        self._n, self._u = mesh.n, fem.Function(V)
        spaces = [fem.functionspace(mesh.domain, ("DG", 0, (m,))) for m in (law.components, len(law.strains))]
        self._cells = [Q.dofmap.list[: mesh.n, 0] for Q in spaces]
        self._given = [fem.Function(Q) for Q in spaces]
        v = ufl.TestFunction(V)

        def strain(u: Form) -> Form:
            grad = ufl.grad(u)
            return ufl.as_vector([sum(grad[c, axis] for c, axis in terms) for terms in law.strains])

        seen = [(self._u, v), (strain(self._u), strain(v))]
        tests = [ufl.TestFunction(Q) for Q in spaces]
        self._forms = [fem.form(ufl.inner(of_u, w) * dx) for w, (of_u, _) in zip(tests, seen, strict=True)]
        given = zip(self._given, seen, strict=True)
        self._transposed = [fem.form(ufl.inner(w, of_v) * dx) for w, (_, of_v) in given]
        Q = fem.functionspace(mesh.domain, ("DG", 0))
        sizes = fem.assemble_vector(fem.form(ufl.TestFunction(Q) * dx)).array
        self._sizes = sizes[Q.dofmap.list[: mesh.n, 0]][:, None]

    def value(self, u: Array) -> Array:
        """(n, components) of a local vector with ghosts (local)."""
        return self._seen(0, u)

    def gradient(self, u: Array) -> Array:
        """(n, m) strain or gradient of a local vector with ghosts (local)."""
        return self._seen(1, u)

    def transposed(self, d_value: Array | None, d_gradient: Array | None) -> Array:
        """Local vector with what derivatives in `value` and `gradient` come to; owned entries are complete
        (collective)."""
        total = la.vector(self._u.function_space.dofmap.index_map, self._u.function_space.dofmap.index_map_bs)
        for d, w, cells, form in zip((d_value, d_gradient), self._given, self._cells, self._transposed, strict=True):
            if d is not None:
                w.x.array.reshape(-1, d.shape[1])[cells] = d / self._sizes
                w.x.scatter_forward()
                fem.assemble_vector(total.array, form)
        total.scatter_reverse(la.InsertMode.add)
        return np.array(total.array)

    def _seen(self, which: int, u: Array) -> Array:
        self._u.x.array[:] = u
        found = fem.assemble_vector(self._forms[which]).array
        cells = self._cells[which]
        return np.asarray(found.reshape(-1, self._given[which].function_space.dofmap.index_map_bs)[cells] / self._sizes)
