"""Motions that strain nothing: parts that supports and neighbours leave free, and whether loads drive them.

Of a state with one component, the temperature, the only one is a constant.
"""

from __future__ import annotations

from dataclasses import dataclass

from mpi4py import MPI

import numpy as np
from scipy.linalg import qr
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from morpho.interfaces import Array
from morpho.mesh import Mesh, VoxelMesh
from morpho.mesh.bodies import Bodies, Labels

WEAK = 1e-3  #: E_min_ratio from which void is a soft material, which may carry a load
RIGID = 1e-9  #: of the prescribed displacements, what a rigid motion may leave of them
ZERO = 1e-10  #: of the largest eigenvalue
MOST_SAID = 4  #: parts that are described
MOST_HINGED = 500  #: bodies that hang together by hinges
MODES = {1: 1, 2: 3, 3: 6}  #: motions of a free body, by components of the state


@dataclass(frozen=True)
class Mechanism:
    """Bodies that hang together by hinges, and the motions they are free to make."""

    bodies: Labels  #: (b,)
    motions: Array  #: (b, modes, k) rigid modes of each body, about its middle and in units of its size
    loaded: bool = False  #: whether a load does work on one of them

    @property
    def components(self) -> int:
        """Of the state."""
        return next(c for c, modes in MODES.items() if modes == self.motions.shape[1])

    @property
    def moving(self) -> Labels:
        """The bodies that move, the one with most of the motion first."""
        size = np.linalg.norm(self.motions, axis=(1, 2))
        order = np.argsort(-np.round(size, 6), kind="stable")
        return self.bodies[order[size[order] > 1e-6]]


@dataclass(frozen=True)
class Points:
    """Some of this rank's nodes, each on one rank only: where they are, and of which body."""

    x: Array  #: (p, 3)
    body: Labels  #: (p,) -1 if none
    values: Array  #: (p, components) whether a component is held, or the force on it


def find_mechanisms(
    comm: MPI.Comm, components: int, bodies: Bodies, held: Points, forces: list[Points], weighs: bool
) -> list[Mechanism]:
    """All motions that supports and hinges leave free (collective); `weighs` if every body is loaded by its weight."""
    if bodies.count == 0:
        return []
    modes = MODES[components]
    grams = np.zeros((bodies.count, modes, modes))
    for body in np.unique(held.body[held.body >= 0]):
        at = held.body == body
        rows = _modes(bodies, int(body), held.x[at], components)[:, held.values[at] != 0]
        grams[body] = rows @ rows.T
    comm.Allreduce(MPI.IN_PLACE, grams, MPI.SUM)
    found = []
    for group, hinges in _groups(bodies):
        motions = _free_motions(bodies, group, hinges, grams, components)
        if motions.shape[2]:
            found.append(Mechanism(group, motions))
    drives = np.array([any(_drives(bodies, m, f) for f in forces) for m in found], dtype=float)
    if found:
        comm.Allreduce(MPI.IN_PLACE, drives, MPI.MAX)
    return [Mechanism(m.bodies, m.motions, weighs or bool(d)) for m, d in zip(found, drives, strict=True)]


def rigid_modes(x: Array, components: int) -> Array:
    """(modes, nodes, components) translations and infinitesimal rotations at points x (nodes, 3) (local)."""
    count = len(x)
    modes = np.zeros((MODES[components], count, components))
    for i in range(components):
        modes[i, :, i] = 1
    if components == 2:
        modes[2] = np.stack([-x[:, 1], x[:, 0]], axis=1)
    elif components == 3:
        for i in range(3):
            j, k = (i + 1) % 3, (i + 2) % 3
            modes[3 + i, :, j], modes[3 + i, :, k] = -x[:, k], x[:, j]
    return modes


def is_rigid_motion(mesh: Mesh | VoxelMesh, x: Array, values: Array) -> bool:
    """Whether prescribed displacements move a body as a whole, so that nothing is strained (collective).

    Args:
        x: (nodes, 3) this rank's held nodes; those of several ranks may be on each of them.
        values: (nodes, components) the displacement, nan where a component is free.
    """
    low, high = mesh.corners
    given = ~np.isnan(values)
    rows = rigid_modes((x - (low + high) / 2) / np.linalg.norm(high - low), values.shape[1])[:, given]
    v = values[given]
    gram, right = mesh.comm.allreduce(rows @ rows.T), mesh.comm.allreduce(rows @ v)
    rest = v - np.linalg.lstsq(gram, right, rcond=1e-10)[0] @ rows
    squares = mesh.comm.allreduce(np.array([rest @ rest, v @ v]))
    return bool(squares[0] <= RIGID**2 * squares[1])


def motion_names(motions: Array) -> str:
    """The named motions (modes, k) that span the free ones best: as many as there are, whatever the basis.

    Of equally good ones the first, whatever the rounding.
    """
    if len(motions) == 1:
        return "take any temperature"
    flat = len(motions) == 3
    turns = ["rotate"] if flat else [f"rotate about {axis}" for axis in "xyz"]
    names = [f"move along {axis}" for axis in ("xy" if flat else "xyz")] + turns
    basis, sizes, _ = np.linalg.svd(motions, full_matrices=False)
    loose = basis[:, sizes > 1e-6 * max(sizes[0], 1e-300)]
    span = loose @ loose.T * (1 - 1e-6 * np.arange(len(names)))
    best = qr(span, mode="r", pivoting=True)[1][: loose.shape[1]]
    return " and to ".join(names[i] for i in sorted(best))


def pins(comm: MPI.Comm, bodies: Bodies, mechanism: Mechanism, x: Array, numbers: Labels, of_node: Labels) -> Labels:
    """(k, 2) nodes, by number, and components that hold an unloaded mechanism without a force in any (collective).

    Args:
        x, numbers, of_node: the nodes this rank owns.
    """
    components, chosen = mechanism.components, []
    for body in mechanism.moving:
        own = np.flatnonzero(of_node == body)
        if len(own):
            ends = {int(own[pick(x[own] @ way)]) for way in WAYS for pick in (np.argmin, np.argmax)}
            chosen += [(int(numbers[i]), int(body), *x[i]) for i in sorted(ends)]
    everyone = sorted(entry for part in comm.allgather(chosen) for entry in part)
    rows = [_displacement(bodies, mechanism, b, np.array([place]))[0] for _, b, *place in everyone]
    order = qr(np.concatenate(rows).T, mode="r", pivoting=True)[1][: mechanism.motions.shape[2]]
    return np.array([[everyone[i // components][0], i % components] for i in order], dtype=np.int64).reshape(-1, 2)


WAYS = np.array([[1, 0.1, 0.01], [0.01, 1, 0.1], [0.1, 0.01, 1], [1, -1, 0.1], [0.1, 1, -1], [-1, 0.1, 1]])


def _groups(bodies: Bodies) -> list[tuple[Labels, list[tuple[Array, list[int]]]]]:
    """Bodies that hang together by hinges, and these."""
    pairs = np.array([(min(who), b) for _, who in bodies.hinges for b in sorted(who)[1:]], dtype=np.int64).reshape(
        -1, 2
    )
    graph = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(bodies.count, bodies.count))
    count, group = connected_components(graph, directed=False)
    hinges: list[list[tuple[Array, list[int]]]] = [[] for _ in range(count)]
    for x, who in bodies.hinges:
        hinges[group[min(who)]].append((np.array([x]), sorted(who)))
    order = np.argsort(group, kind="stable")
    return list(zip(np.split(order, np.cumsum(np.bincount(group, minlength=count))[:-1]), hinges, strict=True))


def _free_motions(
    bodies: Bodies, group: Labels, hinges: list[tuple[Array, list[int]]], grams: Array, components: int
) -> Array:
    """(b, modes, k) orthonormal motions of a group that move no held component and open no hinge."""
    modes, b = grams.shape[1], len(group)
    if b > MOST_HINGED:  # more than can be judged together: each by its own supports
        alone = [_free_motions(bodies, group[i : i + 1], [], grams, components)[0] for i in range(b)]
        loose = [(i, column) for i, motions in enumerate(alone) for column in motions.T]
        result = np.zeros((b, modes, len(loose)))
        for k, (i, column) in enumerate(loose):
            result[i, :, k] = column
        return result
    place = {int(body): i for i, body in enumerate(group)}
    gram = np.zeros((b, modes, b, modes))
    for i, body in enumerate(group):
        gram[i, :, i] = grams[body] / max(np.trace(grams[body]), 1e-300)
    for x, who in hinges:
        first = _modes(bodies, who[0], x, components)[:, 0]
        for other in who[1:]:
            i, j, second = place[who[0]], place[other], _modes(bodies, other, x, components)[:, 0]
            gram[i, :, i] += first @ first.T
            gram[j, :, j] += second @ second.T
            gram[i, :, j] -= first @ second.T
            gram[j, :, i] -= second @ first.T
    values, vectors = np.linalg.eigh(gram.reshape(b * modes, b * modes))
    return np.asarray(vectors[:, values <= ZERO * max(values[-1], 1e-300)].reshape(b, modes, -1))


def _modes(bodies: Bodies, body: int, x: Array, components: int) -> Array:
    """(modes, nodes, components) rigid modes of a body about its middle, in units of its size."""
    low, high = bodies.low[body], bodies.high[body]
    return rigid_modes((x - (low + high) / 2) / np.linalg.norm(high - low), components)


def _displacement(bodies: Bodies, mechanism: Mechanism, body: int, x: Array) -> Array:
    """(nodes, components, k) displacement of points of a body in the motions of a mechanism."""
    motion = mechanism.motions[np.flatnonzero(mechanism.bodies == body)[0]]
    return np.einsum("mnd,mk->ndk", _modes(bodies, body, x, mechanism.components), motion)


def _drives(bodies: Bodies, mechanism: Mechanism, forces: Points) -> bool:
    """Whether some of these forces does work on a motion (local)."""
    for body in mechanism.moving:
        at = np.flatnonzero((forces.body == body) & (forces.values != 0).any(axis=1))
        if len(at):
            u = _displacement(bodies, mechanism, int(body), forces.x[at])
            work = np.abs(np.einsum("nd,ndk->nk", forces.values[at], u))
            if (work > 1e-8 * np.abs(forces.values[at]).max()).any():
                return True
    return False


def judge(mesh: Mesh | VoxelMesh, bodies: Bodies, mechanisms: list[Mechanism]) -> tuple[list[str], list[str]]:
    """Complaints about what would move, and what is to be said of loose parts without load (local)."""
    dim, heat = mesh.dim, any(m.components == 1 for m in mechanisms)
    if bodies.count == 1:
        more = "hold it somewhere, or give convection" if heat else "hold more components or nodes"
        return [f"supports: the structure is free to {motion_names(m.motions[0])}; {more}" for m in mechanisms], []
    enough = "" if heat else f", {'two' if dim == 2 else 'three that are not on a line'} at least"
    cure = f"cells are joined by common nodes{enough}; join the parts in the mesher, or hold each"
    if isinstance(mesh, Mesh) and mesh.coincident:
        cure += (
            f"; {mesh.coincident} nodes lie where another one lies: unless that is a crack, merge them in the mesher"
        )
    said, notes = [], []
    for mechanism in mechanisms:
        part = describe(bodies, mechanism, dim)
        if mechanism.loaded:
            said.append(f"mesh: {part}, and carry {'heat' if heat else 'load'}; {cure}")
        elif heat:
            notes.append(f"{part}; no heat flows there, and they are held at zero; {cure}")
        else:
            notes.append(f"{part}; they carry no load and are held in place, no force goes through them; {cure}")
    return _first(said), _first(notes)


def in_void(mesh: Mesh | VoxelMesh, bodies: Bodies, mechanisms: list[Mechanism], forces: list[Points]) -> list[str]:
    """Complaints where void alone would carry a load; bodies are those of the cells that are no void (collective)."""
    lost = [(*f.x[i],) for f in forces for i in np.flatnonzero((f.body < 0) & (f.values != 0).any(axis=1))]
    count = int(mesh.comm.allreduce(len(lost)))
    cure = "void has next to no stiffness; change design.passive.void, the supports or the region of the load"
    if count:
        where = min(place for place in mesh.comm.allgather(min(lost, default=None)) if place is not None)
        at = place(np.array(where[: mesh.dim]), mesh.cell_size)
        return [
            f"design.passive.void: {count} nodes with a load, such as {at}, have passive void cells alone around "
            f"them; {cure}; a body force acts in void as well, self_weight does not"
        ]
    return _first(
        [
            f"design.passive.void: but for passive void cells, {describe(bodies, m, mesh.dim)}, and carry load; {cure}"
            for m in mechanisms
            if m.loaded
        ]
    )


def describe(bodies: Bodies, mechanism: Mechanism, dim: int) -> str:
    """How many cells move where, and which way (local)."""
    moving = mechanism.moving
    corners = np.stack([bodies.low[moving].min(axis=0)[:dim], bodies.high[moving].max(axis=0)[:dim]])
    at = " and ".join(place(corner, float(np.ptp(corners))) for corner in corners)
    names = motion_names(mechanism.motions[mechanism.bodies == moving[0]][0])
    return f"{bodies.cells[moving].sum()} of {bodies.cells.sum()} cells, between {at}, are free to {names}"


def place(x: Array, size: float) -> str:
    """Coordinates to read, without the rounding errors of a size (local)."""
    return "(" + ", ".join(f"{c:.6g}" for c in np.where(np.abs(x) < 1e-9 * size, 0.0, x)) + ")"


def _first(texts: list[str]) -> list[str]:
    """A few of many."""
    return (
        texts
        if len(texts) <= MOST_SAID
        else [*texts[:MOST_SAID], f"mesh: and {len(texts) - MOST_SAID} such parts more"]
    )
