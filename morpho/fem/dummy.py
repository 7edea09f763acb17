"""Dummy loads: a displacement or a mean temperature is the work of a unit load, and the difference of two compliances.

Let u be the displacement of a load case f and lam that of a unit load g, spread over the region and in the direction
of a probe. Then g.u is the mean displacement that the probe sees, and with u+- = u +- s lam, which the loads
f +- s g make,

    g.u = (c+ - c-) / 4 s,    c+- the compliances of these two,

so that its derivative is that of two compliances, whose energies are positive. This is what gradient sources see: two
load cases more. The error is quadratic in those of u and lam, as that of a compliance is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from mpi4py import MPI

import numpy as np

from morpho.fem.loads import AppliedForce
from morpho.interfaces import Array
from morpho.problem.acting import Force, HeatSource, LoadCase
from morpho.problem.check import probed
from morpho.problem.spec import Problem

SIGNS = (1.0, -1.0)
Applied = list[list[AppliedForce]]
SHARE = 0.5  #: of |u| that s lam has; with all of it u- is nothing where g is a multiple of f
SAME = 1e-14  #: relative difference of two load vectors that is rounding


def grounded(problem: Problem) -> list[LoadCase]:
    """Loads whose entries are the stiffness of each spring, or the coefficient of each convection, at the nodes."""
    if problem.physics == "heat":
        return [LoadCase(sources=(HeatSource(region=c.region, flux=c.coefficient),)) for c in problem.convection]
    return [LoadCase(forces=(Force(region=s.region, total=s.stiffness),)) for s in problem.springs]


def touched(problem: Problem, seen: Applied, ground: Applied) -> list[AppliedForce]:
    """What probes, springs and convection came to, or why they came to nothing, each with its place (local)."""
    places = [(place, seen[problem.probes.index(given)]) for place, given in probed(problem)]
    key = "convection" if problem.physics == "heat" else "springs"
    places += [(f"{key}[{i}]", applied) for i, applied in enumerate(ground)]
    return [
        replace(force, place=place, complaint=force.complaint.replace(f"{force.place}.region", f"{place}.region"))
        for place, applied in places
        for force in applied
    ]


def still(problem: Problem, moves: list[bool]) -> list[str]:
    """Complaints about states that are held, from whether each unit load acts on what is free (local)."""
    how = "at a temperature" if problem.physics == "heat" else "in this direction, so that it moves as the supports do"
    return [
        f"{place}.region: it is held {how}; look somewhere else"
        for place, given in probed(problem)
        if not moves[problem.probes.index(given)]
    ]


@dataclass
class Pairs:
    """The load cases that stand for displacements, two each, behind those of the problem."""

    cases: list[int]  #: load case of each probe
    scale: Array | None = None  #: s of each; fixed by the first solve, so that estimates and anchors are comparable

    def fix(self, norm: Callable[[Array], float], u: list[Array], lam: list[Array]) -> Array:
        """The scales, from displacements of the load cases and the dummy loads if they are not there yet (collective).

        Args:
            norm: of a displacement, collective.
        """
        if self.scale is None:
            sizes = [(norm(u[i]), norm(own)) for i, own in zip(self.cases, lam, strict=True)]
            self.scale = np.array([SHARE * a / b if a > 0 and b > 0 else 1.0 for a, b in sizes])
        return self.scale

    @property
    def known(self) -> Array:
        """(p,) the scales, none before the first solve (local)."""
        return np.zeros(0) if self.scale is None else self.scale

    def weights(self, given: Array) -> Array:
        """Of all load cases, those of the problem first (local)."""
        return np.concatenate([given, np.ones(2 * len(self.cases))])


def multiple(comm: MPI.Comm, g: Array, f: Array) -> float | None:
    """c with g = c f to rounding, None if there is none; owned entries of two load vectors (collective)."""
    gf, ff = comm.allreduce(np.array([np.vdot(g, f), np.vdot(f, f)]))
    if ff == 0:
        return None
    c = float(gf / ff)
    off, size = (float(np.abs(a).max(initial=0)) for a in (g - c * f, g))
    return c if comm.allreduce(off, MPI.MAX) <= SAME * comm.allreduce(size, MPI.MAX) else None
