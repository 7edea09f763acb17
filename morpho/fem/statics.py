"""Forces of a given resultant and moment on a surface: couples, remote forces, and the pressure of a pin in its hole.

All of them are forces at nodes, made from what a uniform traction and a uniform pressure come to at each node, so
that resultant and moment are met exactly on any mesh.
"""

from __future__ import annotations

from mpi4py import MPI

import numpy as np

from morpho.interfaces import Array
from morpho.problem.acting import Force

LEVER = 1e-9  #: of the largest, below which a region has no extent to turn about


def nodal_forces(comm: MPI.Comm, force: Force, x: Array, shares: Array, inwards: Array) -> Array | str:
    """(nodes, dim) forces at nodes, or why the region cannot take them (collective).

    Args:
        x: (nodes, 3) places of nodes, each on one rank only.
        shares: (nodes,) of a uniform traction, their sum is the measure of the region.
        inwards: (nodes, dim) of a uniform pressure, the area vectors at the nodes; not needed but for a bearing load.
    """
    dim = inwards.shape[1]
    if force.kind == "bearing":
        return _bearing(comm, np.array(force.bearing), x, shares, inwards)
    total = np.zeros(3)
    total[:dim] = force.total or 0.0
    centre = _centre(comm, x, shares)
    moment = _padded(force.moment) if force.moment is not None else np.zeros(3)
    if force.at is not None:
        moment = moment + np.cross(_point(force.at) - centre, total)
    found = _equivalent(comm, x - centre, shares, total, moment)
    return found if isinstance(found, str) else found[:, :dim]


def moment_of(comm: MPI.Comm, x: Array, forces: Array) -> Array:
    """(3,) moment about the origin of forces (nodes, dim) at x (nodes, 3), each node on one rank only (collective)."""
    padded = np.pad(forces, ((0, 0), (0, 3 - forces.shape[1])))
    return np.asarray(comm.allreduce(np.cross(x, padded).sum(axis=0)))


def _bearing(comm: MPI.Comm, total: Array, x: Array, shares: Array, inwards: Array) -> Array | str:
    """A pressure p max(0, cos) on the side that the force pushes; what is left over across, evenly."""
    size = np.linalg.norm(total)
    area = np.linalg.norm(inwards, axis=1)
    cosine = np.maximum(inwards @ total, 0.0) / np.where(area > 0, area * size, 1.0)
    forces = cosine[:, None] * inwards
    sums = comm.allreduce(np.append(forces.sum(axis=0), shares.sum()))
    along = sums[:-1] @ total / size
    if not along > LEVER * sums[-1]:
        return "none of its facets faces the force; a bearing load presses on the facets of a hole from inside"
    forces = forces * size / along
    rest = total - sums[:-1] * size / along
    return np.asarray(forces + np.outer(shares, rest) / sums[-1])


def _equivalent(comm: MPI.Comm, r: Array, shares: Array, total: Array, moment: Array) -> Array | str:
    """Shares of a traction a + w x r with this total and moment about the centre, from where r (nodes, 3) is."""
    gram = comm.allreduce(np.einsum("n,ni,nj->ij", shares, r, r))
    inertia = np.trace(gram) * np.eye(3) - gram
    values, axes = np.linalg.eigh(inertia)
    about = axes.T @ moment
    stiff = values > LEVER * max(values[-1], 0.0)
    if np.any(np.abs(about[~stiff]) > LEVER * np.linalg.norm(moment)):
        return "a point, or nodes on the axis of the moment, take no moment; choose a larger region"
    turn = axes[:, stiff] @ (about[stiff] / values[stiff])
    measure = comm.allreduce(float(shares.sum()))
    return np.asarray(shares[:, None] * (total / measure + np.cross(turn, r)))


def _centre(comm: MPI.Comm, x: Array, shares: Array) -> Array:
    sums = comm.allreduce(np.append(shares @ x, shares.sum()))
    return np.asarray(sums[:3] / sums[3])


def _padded(moment: float | tuple[float, ...]) -> Array:
    """(3,) of a moment in 3-D, or of that about z in 2-D."""
    return np.array(moment) if isinstance(moment, tuple) else np.array([0.0, 0.0, moment])


def _point(at: tuple[float, ...]) -> Array:
    return np.pad(np.array(at), (0, 3 - len(at)))
