"""A sparse Cholesky factor of the stiffness in float32, for designs of thin struts.

Struts are nearly one-dimensional, so that nested dissection factors them at the cost of a band. Each rank eliminates
the nodes that are its own alone. What is left is a dense matrix of the nodes between ranks, which all of them keep.
"""

from __future__ import annotations

from dataclasses import dataclass

from mpi4py import MPI

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from morpho.fem.voxel.dissection import backward, dissect, factorize, forward, outline
from morpho.fem.voxel.element import Element, node_offsets
from morpho.fem.voxel.halo import AXES, SharedPlanes
from morpho.parallel import any_rank

Dofs = NDArray[np.int64]
Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

WORTH = 5000  #: multiplications per node that take about as long as an iteration
DENSE = 2000  #: nodes between ranks at most, whose dense matrix takes 144 MB then
MOST = 1000  #: numbers per node that a factor may take
LARGEST = 20_000_000  #: nodes of a rank's box up to which an order is looked for, as that takes 4 bytes each
LIFT = np.float32(1e-6)  #: relative, of the diagonal: what hangs in the air has to have a factor, too


@dataclass
class Plan:
    """An order of this rank's nodes that take part, and what each part of it touches; see `dissection.outline`."""

    at: Dofs  #: (n, 3) along z, y, x; those between ranks come last
    parts: Dofs
    starts: Dofs
    edges: Dofs
    child: Dofs
    sibling: Dofs
    place: NDArray[np.int32]  #: (z, y, x) place of a node in the order, -1 for none, with a margin of one

    @classmethod
    def of(cls, planes: SharedPlanes, nodes: Mask) -> Plan:
        """That of nodes (z, y, x) (local)."""
        at = np.argwhere(nodes)
        shared = np.zeros(len(at), dtype=bool)
        for d, axis in enumerate(AXES):
            if axis in planes.low:
                shared |= at[:, d] == 0
            if axis in planes.high:
                shared |= at[:, d] == nodes.shape[d] - 1
        at = np.concatenate([at[~shared], at[shared]])
        order, parts = dissect(at, len(at) - np.count_nonzero(shared))
        at, parts = at[order], parts[np.argsort(parts[:, 1])]
        place = np.full([n + 2 for n in nodes.shape], -1, np.int32)
        place[tuple(at.T + 1)] = np.arange(len(at))
        starts, edges, child, sibling = outline(place, at, parts)
        return cls(at, parts, starts, edges, child, sibling, place)

    @property
    def inside(self) -> int:
        """Nodes that are not between ranks."""
        return int(self.parts[-1, 1]) if len(self.parts) else 0

    @property
    def own(self) -> Dofs:
        """(part,) nodes of each part."""
        return np.asarray(self.parts[:, 1] - self.parts[:, 0])

    @property
    def touched(self) -> Dofs:
        """(part,) nodes that each part touches."""
        return np.diff(self.starts)

    @property
    def work(self) -> float:
        """Multiplications that the factor takes."""
        return float(np.sum(27.0 * self.own * (self.own + self.touched) ** 2))

    @property
    def sizes(self) -> Dofs:
        """(part,) numbers in the factor of each part."""
        return np.asarray(9 * self.own * (self.own + self.touched))

    @property
    def entries(self) -> int:
        """Numbers in the factor."""
        return int(np.sum(self.sizes))


class Factor:
    """Approximate solutions of A x = b on the nodes that take part, as a fixed symmetric operator.

    Raises:
        LinAlgError: the stiffness is not positive definite in float32.
    """

    def __init__(self, element: Element, planes: SharedPlanes, mask: Mask, E: Floats, plan: Plan) -> None:
        self.planes, at, parts = planes, plan.at, plan.parts
        low = planes.partition.box(planes.comm.rank)[0]
        _, ny, nx = (n + 1 for n in planes.partition.cells[::-1])
        between = at[plan.inside :] + np.array(low[::-1])
        numbers = (between[:, 0] * ny + between[:, 1]) * nx + between[:, 2]
        self.between = np.unique(np.concatenate(planes.comm.allgather(numbers)))
        self._local = 3 * plan.inside
        self._index = (3 * np.searchsorted(self.between, numbers)[:, None] + np.arange(3)).ravel()
        self.dofs = np.ravel_multi_index([at[:, :1], at[:, 1:2], np.arange(3), at[:, 2:]], mask.shape)
        self.held = mask.reshape(-1)[self.dofs]
        owned = np.all(at >= np.array(planes.first_owned), axis=1)
        self._skipped = self.held | ~owned[:, None]
        offsets = np.append(0, np.cumsum(plan.sizes))
        self.values = np.empty(offsets[-1], np.float32)
        self._tree = self.values, offsets, parts, plan.starts, plan.edges
        self.inverse = self._eliminate(element, E, plan, offsets)

    def _eliminate(self, element: Element, E: Floats, plan: Plan, offsets: Dofs) -> Floats:
        """Fill the factor in; the inverse of what is left between ranks (collective)."""
        cells = np.argwhere(E > 0)
        corners = plan.place[tuple(np.moveaxis(cells[:, None] + np.array(node_offsets(3)) + 1, -1, 0))]
        part_of = np.full(len(plan.at), len(plan.parts))
        part_of[: plan.inside] = np.repeat(np.arange(len(plan.parts)), plan.own)
        first = part_of[corners.min(axis=1)]
        order = np.argsort(first, kind="stable")
        starts = np.searchsorted(first[order], np.arange(len(plan.parts) + 2))
        rest = np.zeros((len(self._index), len(self._index)), np.float32)
        moduli, K = E[tuple(cells[order].T)], element.K.astype(np.float32)
        try:
            tree = plan.parts, plan.starts, plan.edges, plan.child, plan.sibling
            factorize(self.values, offsets, rest, *tree, starts, corners[order], moduli, self.held, K, LIFT)
            failure = not np.isfinite(self.values.sum())
        except np.linalg.LinAlgError:
            failure = True
        whole = np.zeros((3 * len(self.between), 3 * len(self.between)), np.float32)
        whole[np.ix_(self._index, self._index)] = rest
        self.planes.comm.Allreduce(MPI.IN_PLACE, whole, MPI.SUM)
        if any_rank(self.planes.comm, failure):
            raise np.linalg.LinAlgError("not positive definite")
        if not len(whole):
            return whole
        half, failure = scipy.linalg.lapack.spotrf(whole, lower=1)
        if failure:
            raise np.linalg.LinAlgError("not positive definite")
        inverse, _ = scipy.linalg.lapack.spotri(half, lower=1)
        return np.asarray(np.tril(inverse) + np.tril(inverse, -1).T)

    def add(self, x: Floats, b: Floats) -> None:
        """x += A^-1 b, nearly, for nodal arrays (z, y, component, x) with shared nodes alike (collective)."""
        v = b.reshape(-1)[self.dofs]
        v[self._skipped] = 0
        forward(v, *self._tree)
        if self.planes.comm.size > 1:
            between = np.zeros(len(self.inverse), np.float32)
            between[self._index] = v.reshape(-1)[self._local :]
            self.planes.comm.Allreduce(MPI.IN_PLACE, between, MPI.SUM)
            v.reshape(-1)[self._local :] = (self.inverse @ between)[self._index]
        backward(v, *self._tree)
        v[self.held] = 0
        x.reshape(-1)[self.dofs] += v


def make_factor(
    element: Element, planes: SharedPlanes, mask: Mask, E: Floats, nodes: Mask, iterations: int
) -> Factor | None:
    """The factor of the cells with stiffness; None where it would cost too much, or there is none (collective).

    Args:
        mask: held dofs (z, y, component, x).
        E: (z, y, x) moduli.
        nodes: (z, y, x) those of the cells with stiffness, on all ranks that share one.
        iterations: that a solve takes without it.
    """
    if any_rank(planes.comm, nodes.size > LARGEST):
        return None
    plan = Plan.of(planes, nodes)
    given = np.array([len(plan.at), plan.work, plan.entries, len(plan.at) - plan.inside])
    count, work, entries, shared = planes.comm.allreduce(given)
    between, ranks = shared / 2, planes.comm.size  # of these every rank has a dense matrix, which is fast
    work += 7.0 * ranks * between**3
    if work > WORTH * iterations * count or entries > MOST * count or between > DENSE:
        return None
    try:
        return Factor(element, planes, mask, E, plan)
    except np.linalg.LinAlgError:
        return None
