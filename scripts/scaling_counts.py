"""What the ranks say to each other, counted by a communicator that keeps a ledger; see bench_scaling.py."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from mpi4py import MPI

import numpy as np

POINT = ("Isend", "Send", "isend", "send")
TOGETHER = ("allreduce", "Allreduce", "allgather", "alltoall", "Alltoall", "Alltoallv", "bcast", "gather", "Barrier")
Record = dict[str, Any]


class Ledger:
    """Messages, collective calls and their bytes of this rank, by place."""

    def __init__(self) -> None:
        self.place = "elsewhere"
        self.found: Counter[tuple[str, str]] = Counter()

    def add(self, kind: str, size: int) -> None:
        """Note one call (local)."""
        self.found[self.place, kind] += 1
        self.found[self.place, f"{kind} bytes"] += size

    @contextmanager
    def at(self, place: str) -> Iterator[None]:
        """Calls within belong to a place (local)."""
        before, self.place = self.place, place
        yield
        self.place = before

    def taken(self, work: Callable[[], Any]) -> Counter[tuple[str, str]]:
        """What a piece of work adds (local, if the work is)."""
        before = self.found.copy()
        work()
        found = self.found.copy()
        found.subtract(before)
        return found


LEDGER = Ledger()


class Counted(MPI.Intracomm):
    """A communicator that notes in LEDGER what is sent over it, and over those split off from it."""

    def Split(self, color: int = 0, key: int = 0) -> MPI.Comm:
        """As ever; the new communicator counts, too (collective)."""
        part = super().Split(color, key)
        return part if part == MPI.COMM_NULL else Counted(part)


def _noting(name: str) -> Callable[..., Any]:
    own, kind = getattr(MPI.Intracomm, name), "message" if name in POINT else "collective"

    def method(self: Counted, *given: Any, **more: Any) -> Any:
        LEDGER.add(kind, _bytes_of(given))
        return own(self, *given, **more)

    return method


for _name in (*POINT, *TOGETHER):
    setattr(Counted, _name, _noting(_name))


def _bytes_of(given: tuple[Any, ...]) -> int:
    """Bytes of what a call was given to send."""
    if not given:
        return 0
    sent = given[1] if given[0] is MPI.IN_PLACE else given[0]
    if isinstance(sent, list) and sent and isinstance(sent[0], np.ndarray):
        sent = sent[0]
    if isinstance(sent, np.ndarray):
        return int(sent.nbytes)
    return 8 if isinstance(sent, (bool, int, float)) else len(pickle.dumps(sent))


def label(grid: Any, depth: int = 0) -> list[str]:
    """Let what the cycle of each grid sends count for it; their names from fine to coarse (local)."""
    planes = getattr(grid, "planes", None)
    name = f"{depth} {type(grid).__name__.lower()} on {(planes or grid.move).comm.size}"
    cycle = grid.cycle

    def counted() -> None:
        with LEDGER.at(name):
            cycle()

    grid.cycle = counted
    below = getattr(grid, "coarser", None) or getattr(grid, "grid", None)
    if below is None:
        return [name]
    return [name, *label(below, depth + 1 if hasattr(grid, "coarser") else depth)]


def count(problem: Any) -> Record:
    """Messages, collective calls and bytes of the busiest rank: one iteration of conjugate gradients by grid, one
    set-up of the solver, one design update (collective)."""
    from morpho.parts import Parts

    comm = Counted(MPI.COMM_WORLD)
    found: Record = {}
    with Parts(problem, comm) as parts:
        restart = parts.start()
        parts.enter_iteration(1)
        physics, design = parts.physics, parts.design.at(1)
        rho, pullback = design.apply(restart.x)
        physics.prepare()
        places = dict.fromkeys(name for names in comm.allgather(label(physics.cg.preconditioner)) for name in names)

        def solve(iterations: int) -> None:
            physics.u[0][:] = 0
            physics.solve(rho, 1e-12, iterations)

        one, two = LEDGER.taken(lambda: solve(1)), LEDGER.taken(lambda: solve(2))
        two.subtract(one)
        # Sums that the operator and its norms make outside of the cycle.
        names = {"elsewhere": f"conjugate gradients on {comm.size}"} | {name: name for name in places}
        found["iteration"] = {shown: _busiest(comm, two, place) for place, shown in names.items()}
        gradient = parts.source.estimate(rho)
        filtering = LEDGER.taken(lambda: design.apply(restart.x))
        evaluation: list[Any] = []
        back = LEDGER.taken(lambda: evaluation.append(parts.responses.evaluate(rho, gradient, pullback, lambda d: d)))
        update = LEDGER.taken(lambda: parts.optimizer.step(restart.x, evaluation[0], restart.state))
        refresh = LEDGER.taken(physics.cg.preconditioner.refresh)
        stages = {"filter": filtering, "responses and pullback": back, "OC": update, "set-up of the solver": refresh}
        found["update"] = {shown: _busiest(comm, taken, "elsewhere") for shown, taken in stages.items()}
        low, high = parts.mesh.partition.box(comm.rank)
        found |= {
            "grid": parts.mesh.partition.grid,
            "levels": parts.mesh.partition.levels,
            "boxes": sorted(set(comm.allgather(tuple(b - a for a, b in zip(low, high, strict=True))))),
        }
    return found


def _busiest(comm: MPI.Comm, taken: Counter[tuple[str, str]], place: str) -> Record:
    """The largest numbers of any rank (collective)."""
    kinds = ("message", "message bytes", "collective", "collective bytes")
    own = np.array([taken[place, kind] for kind in kinds])
    most = np.empty_like(own)
    MPI.COMM_WORLD.Allreduce(own, most, MPI.MAX)
    return {kind: int(value) for kind, value in zip(kinds, most, strict=True)}
