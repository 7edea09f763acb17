"""What tells one linear physics from another; everything else about a state equation is the same."""

from __future__ import annotations

from typing import Protocol

from morpho.fem.elasticity import Elasticity
from morpho.fem.forms import Form
from morpho.fem.heat import Heat
from morpho.interfaces import Array
from morpho.problem.spec import Problem


class Law(Protocol):
    """A linear law with one coefficient per cell: Young's modulus or conductivity. Methods are local."""

    @property
    def components(self) -> int:
        """Of the state at a node; rigid motions follow from them, see `fem.mechanisms`."""

    @property
    def field(self) -> str:
        """Name of the state."""

    @property
    def strains(self) -> tuple[tuple[tuple[int, int], ...], ...]:
        """The entries of the strain, or of the gradient, each as a sum of derivatives (component, axis)."""

    def matrix(self) -> Array:
        """(6, m) stress from these at coefficient 1, or (m, m) heat flow against the gradient."""

    def element(self, spacing: Array) -> Array:
        """Matrix of a brick with these edges (dim,) at coefficient 1, x fastest, components of a node together."""

    def integrand(self, u: Form, v: Form) -> Form:
        """The bilinear form at coefficient 1, in UFL."""


def law_of(problem: Problem, dim: int) -> Law:
    """The law of a problem (local)."""
    if problem.physics == "heat":
        return Heat(dim)
    return Elasticity(dim, problem.material.nu, problem.material.plane)
