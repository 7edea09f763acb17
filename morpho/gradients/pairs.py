"""Values at pairs of designs on either side of one: one after the other, or spread over groups of ranks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np

from morpho.errors import InputError, SolverError
from morpho.gradients.guided_search import Search
from morpho.gradients.two_scale import Tools
from morpho.gradients.values import Value, make_value
from morpho.interfaces import Array
from morpho.redistribute import Redistribution


class Pairs(Protocol):
    def differences(self, rho: Array, search: Search, numbers: Sequence[int]) -> tuple[Array, int]:
        """(P, m) value at rho + step minus that at rho - step, and linear iterations (collective).

        The difference is relative to the mean of both if the value is `relative`.

        Args:
            rho: (n,) densities.
            numbers: of the P directions.
        """


class OneByOne:
    """Every rank takes part in every value."""

    def __init__(self, value: Value) -> None:
        self.value = value

    def differences(self, rho: Array, search: Search, numbers: Sequence[int]) -> tuple[Array, int]:
        """See `Pairs` (collective)."""
        found, iterations = np.zeros((len(numbers), len(self.value.weights))), 0
        for i, number in enumerate(numbers):
            step, _ = search.step(rho, number, 0.0, 1.0)
            (up, first), (down, second) = self.value.at(rho + step), self.value.at(rho - step)
            found[i] = 2 * (up - down) / (up + down) if self.value.relative else up - down
            iterations += first + second
        return found, iterations


class Grouped:
    """Every group of ranks has the whole state equation, and its share of the pairs."""

    def __init__(self, tools: Tools, groups: int) -> None:
        """Split the ranks (collective).

        Raises:
            InputError: there are more groups than ranks.
        """
        self.comm = tools.physics.comm
        if groups > self.comm.size:
            raise InputError(
                f"gradient.guided_es.groups: got {groups} groups for {self.comm.size} ranks; "
                "ask for no more than ranks, or start more of these"
            )
        assert tools.replica is not None
        self.groups, self.group = groups, self.comm.rank * groups // self.comm.size
        physics = tools.replica(self.comm.Split(self.group, self.comm.rank))
        self.keys, self.leads = physics.mesh.key, physics.comm.rank == 0
        self.there = Redistribution(self.comm, tools.physics.mesh.key, self.keys)
        self.inside = OneByOne(make_value(tools.objective, physics))

    def differences(self, rho: Array, search: Search, numbers: Sequence[int]) -> tuple[Array, int]:
        """See `Pairs` (collective)."""
        moved = self.there.apply(np.column_stack([rho, search.basis.T]))
        own = replace(search, keys=self.keys, basis=np.ascontiguousarray(moved[:, 1:].T))
        found, iterations, failure = np.zeros((len(numbers), len(self.inside.value.weights))), 0, ""
        mine = slice(self.group, None, self.groups)
        try:
            found[mine], iterations = self.inside.differences(moved[:, 0].copy(), own, numbers[mine])
        except SolverError as error:  # the other groups have to know
            failure = str(error)
        if said := [text for text in self.comm.allgather(failure) if text]:
            raise SolverError(said[0])
        if not self.leads:
            found[:], iterations = 0.0, 0
        return self.comm.allreduce(found), int(self.comm.allreduce(iterations))


def make_pairs(tools: Tools, value: Value, groups: int) -> Pairs:
    """Pairs of a value of the state equation, in groups if there are several (collective)."""
    return OneByOne(value) if groups == 1 else Grouped(tools, groups)
