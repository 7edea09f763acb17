"""The sparse factor of a lattice on a box that is cut between ranks: run on any number of ranks."""

from __future__ import annotations

from typing import Any

from mpi4py import MPI

import numpy as np
from helpers import box, main, make_problem, plane

from morpho.fem.elasticity import stiffness
from morpho.fem.voxel.coarsening import node_shape
from morpho.fem.voxel.element import Element
from morpho.fem.voxel.factor import make_factor
from morpho.fem.voxel.halo import SharedPlanes
from morpho.fem.voxel.present import Present
from morpho.interfaces import Array
from morpho.mesh.partition import split
from morpho.parts import Parts

CELLS = 24, 17, 16
MANY = 10_000  #: iterations that a factor is always worth


def lattice() -> Array:
    """(z, y, x) moduli: struts one and two cells thick, and a piece that hangs in the air."""
    nx, ny, nz = CELLS
    E = np.zeros((nz, ny, nx))
    for along in range(3):
        bars = np.moveaxis(E, along, 0)
        bars[:, 2::7, 3::7] = 1
        bars[:, 3::7, 3::7] = 1
    E *= np.random.default_rng(0).uniform(0.3, 1, E.shape)
    E[5:7, 6:8, 13:15] = 1
    return E


def element() -> Element:
    return Element.of(stiffness(np.ones(3), 0.3, "stress"), 3)


def held() -> np.ndarray:
    """(z, y, component, x) the dofs at x = 0."""
    nz, ny, nx = node_shape(CELLS)
    mask = np.zeros((nz, ny, 3, nx), dtype=bool)
    mask[..., 0] = True
    return mask


def solved(comm: MPI.Comm, b: Array, iterations: int = MANY) -> Array | None:
    """What the factor makes of forces (z, y, component, x) on the whole box; None if there is none (collective)."""
    planes = SharedPlanes(comm, split(CELLS, comm.size))
    low, high = planes.partition.box(comm.rank)
    x, y, z = (slice(a, e) for a, e in zip(low, high, strict=True))
    E = np.ascontiguousarray(lattice()[z, y, x], dtype=np.float32)
    x, y, z = (slice(a, e + 1) for a, e in zip(low, high, strict=True))
    nodes = z, y, slice(None), x
    mask = held()[nodes]
    present = Present(planes, mask.shape)
    present.update(E)
    assert present.nodes is not None
    factor = make_factor(element(), planes, mask, E, present.nodes[:, :, 0], iterations)
    if factor is None:
        return None
    own = np.zeros(mask.shape, np.float32)
    factor.add(own, np.ascontiguousarray(b[nodes], dtype=np.float32))
    planes.keep_owned(own)
    found = np.zeros(b.shape)
    found[nodes] = own
    comm.Allreduce(MPI.IN_PLACE, found)
    return found


def compliance(comm: MPI.Comm) -> tuple[float, str]:
    """Of a plate on a slab of grey, which is all that the first of two ranks has; what its solve took (collective)."""
    problem = make_problem(
        mesh=box([16, 8, 8], [4.0, 2.0, 2.0]),
        supports=[{"region": plane("x", 0)}],
        loads=[{"forces": [{"region": {"points": [[4.0, 0.0, 0.0]]}, "total": [0.0, -1.0, 0.0]}]}],
        solver={"rtol": 1e-8},
        engine="voxel",
    )
    rho = np.zeros((8, 8, 16))
    rho[:4], rho[4:, :1] = 0.3, 1.0
    with Parts(problem, comm) as parts:
        equation = parts.physics
        low, high = parts.mesh.partition.box(comm.rank)
        x, y, z = (slice(a, e) for a, e in zip(low, high, strict=True))
        equation._helped._is_slow, equation._helped._taken = True, MANY
        found = equation.solve(rho[z, y, x].reshape(-1))
        return float(found.compliance[0]), equation.beside


def facts(comm: MPI.Comm) -> dict[str, Any]:
    """By how much a solution differs from the same on one rank, and whether a dear factor is left out."""
    b = np.where(held(), 0, np.random.default_rng(1).normal(size=held().shape))
    b[5:8, 6:9, :, 13:16] = 0  # nothing holds it
    alone, found = solved(MPI.COMM_SELF, b), solved(comm, b)
    assert alone is not None and found is not None
    whole, (other, beside) = compliance(MPI.COMM_SELF)[0], compliance(comm)
    return {
        "compliance": other / whole - 1,
        "beside": beside,
        "difference": float(np.abs(found - alone).max() / np.abs(alone).max()),
        "left out": solved(comm, b, iterations=0) is None,
    }


if __name__ == "__main__":
    main(facts)
