"""The contract of a functional: what it sees of the states, and what it says of itself.

Arrays hold this rank's owned cells; fields are those at the centre of each cell.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from mpi4py import MPI

import numpy as np

from morpho.interfaces import Array
from morpho.problem.functional_spec import FunctionalSpec
from morpho.problem.regions import Region


@dataclass(frozen=True)
class Setting:
    """What a functional is made from."""

    comm: MPI.Comm
    dim: int
    volumes: Array  #: (n,) of the cells
    centers: Callable[[], Array]  #: (n, dim) of the cells
    inside: Array  #: (n,) 1 in the region of the functional, else 0
    case: int  #: number of its load case
    n_cases: int  #: load cases of the problem
    solid: Array  #: (6, m) stress xx, yy, zz, yz, xz, xy of the solid from the strain; (m, m) heat flow, see `States`
    without: Callable[[Sequence[Region]], Array]  #: (n,) `inside`, 0 in other regions as well (collective)
    member: Callable[[FunctionalSpec, str], Functional]  #: makes one that it is made of, given its key (collective)


class Modes(Protocol):
    """The lowest eigenpairs of K x = lambda M x."""

    @property
    def values(self) -> Array:
        """(k,) eigenvalues, ascending."""

    @property
    def slopes(self) -> Array:
        """(k, n) their derivatives with respect to the density."""


class States(Protocol):
    """The states of all load cases at a design."""

    @property
    def rho(self) -> Array:
        """(n,) physical density."""

    def centre(self, case: int) -> Array:
        """(n, components) displacement or temperature (local)."""

    def gradient(self, case: int) -> Array:
        """(n, m) strain, as xx, yy, xy (3-D: xx, yy, zz, yz, xz, xy) with engineering shear strains, or the gradient
        of the temperature (local)."""

    def modes(self, count: int, fading: float = 0.0) -> Modes:
        """The lowest eigenpairs; the error of higher ones may grow by (lambda_k / lambda_1)^fading (collective)."""


@dataclass(frozen=True)
class Value:
    """A functional at a design, with its partial derivatives; those that are left out are zero."""

    value: float
    d_centre: Mapping[int, Array] = field(default_factory=dict)  #: load case -> (n, components)
    d_gradient: Mapping[int, Array] = field(default_factory=dict)  #: load case -> (n, m)
    d_rho: Array | None = None  #: (n,) at fixed states


class Functional(Protocol):
    """A number that follows from the states of a design; equal on all ranks."""

    cases: Sequence[int]  #: load cases that it depends on

    def at(self, states: States) -> Value:
        """Its value and partial derivatives (collective)."""


@runtime_checkable
class Evolving(Protocol):
    """A functional that remembers something from design to design."""

    def advance(self) -> None:
        """After a design iteration (collective)."""

    def limits(self) -> dict[str, tuple[float, float]]:
        """Limits of its own, by name: what the last design came to, and at most what (local)."""

    def save(self) -> tuple[dict[str, Array], dict[str, float]]:
        """(n, k) arrays and numbers for a checkpoint (local)."""

    def restore(self, arrays: dict[str, Array], values: dict[str, float]) -> None:
        """What `save` gave (local)."""


def power_mean(comm: MPI.Comm, values: Array, weights: Array, p: float) -> tuple[float, Array]:
    """(sum w v^p / sum w)^(1/p) of values (n,) >= 0 and its derivative with respect to them (collective).

    For large p the maximum; scaled by that, so that no power overflows.
    """
    counted = np.where(weights > 0, values, 0.0)
    top = float(comm.allreduce(float(counted.max(initial=0)), MPI.MAX))
    total = float(comm.allreduce(float(weights.sum())))
    if top == 0 or total == 0:
        return 0.0, np.zeros_like(values)
    share = counted / top
    mean = float(comm.allreduce(float(weights @ share**p))) / total
    value = top * mean ** (1 / p)
    return value, mean ** (1 / p - 1) / total * weights * share ** (p - 1)


#: von Mises stress squared is s . VON_MISES s, s as in `Setting.solid`
VON_MISES = np.diag([1.0, 1.0, 1.0, 3.0, 3.0, 3.0])
VON_MISES[:3, :3] -= 0.5 * (1 - np.eye(3))
TINY = 1e-30  #: stress squared, for the derivative of the root


def von_mises(strain: Array, solid: Array) -> tuple[Array, Array]:
    """(n,) von Mises stress of the solid from its strain (n, m), and its derivative (n, m) (local).

    Args:
        solid: see `Setting`.
    """
    pulled = strain @ (solid.T @ VON_MISES @ solid)
    stress = np.sqrt(np.einsum("nk,nk->n", pulled, strain) + TINY)
    return stress, pulled / stress[:, None]
