"""What the laws have in common in UFL, for any cell and degree."""

from __future__ import annotations

from typing import Any

from morpho.late import fem, ufl
from morpho.mesh import Mesh

Form = Any  # ufl is untyped


def epsilon(u: Form) -> Form:
    """Strain."""
    return ufl.sym(ufl.grad(u))


def sigma(u: Form, lam: float, mu: float) -> Form:
    """Stress of the material with the given Lame parameters."""
    return lam * ufl.tr(epsilon(u)) * ufl.Identity(len(u)) + 2 * mu * epsilon(u)


def cell_measure(mesh: Mesh, degree: int) -> Form:
    """Cell integral with the quadrature that is exact on rectangles and straight simplices."""
    simplex = mesh.domain.topology.cell_name() in ("triangle", "tetrahedron")
    order = 2 * (degree - 1) if simplex else 2 * degree
    return ufl.Measure("dx", domain=mesh.domain, metadata={"quadrature_degree": order})


def state_space(mesh: Mesh, degree: int, components: int) -> fem.FunctionSpace:
    """Continuous Lagrange vectors with so many components, one for a temperature."""
    return fem.functionspace(mesh.domain, ("Lagrange", degree, (components,)))


def cell_space(mesh: Mesh) -> fem.FunctionSpace:
    """One value per cell."""
    return fem.functionspace(mesh.domain, ("DG", 0))
