"""Whether the returned design keeps its constraints, constraint by constraint and in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from morpho.responses.response import Bound
from morpho.stopping import FEASIBLE


@dataclass(frozen=True)
class Response:
    """The value of one constraint at the returned design."""

    value: float
    limit: float
    feasible: bool  #: within FEASIBLE, relative
    at_least: bool = False  #: whether the limit is a lower one

    def to_dict(self) -> dict[str, Any]:
        """What stands in result.json (local)."""
        return asdict(self)


def names(bounds: Sequence[Bound]) -> list[str]:
    """A name for each constraint; its place is added where two are about the same (local)."""
    given = [bound.response.name for bound in bounds]
    counts = Counter(given)
    return [
        name if counts[name] == 1 else f"{name} ({bound.place}{'.min' if bound.sign < 0 else ''})"
        for bound, name in zip(bounds, given, strict=True)
    ]


def responses(bounds: Sequence[Bound], values: Sequence[float]) -> dict[str, Response]:
    """Every constraint by its name, from its normalised value (local)."""
    return {
        name: Response(float(bound.response_value(g)), float(bound.limit), bool(g <= FEASIBLE), bound.sign < 0)
        for bound, name, g in zip(bounds, names(bounds), values, strict=True)
    }


def missed(found: dict[str, Response]) -> list[str]:
    """The constraints that are not met, a sentence each (local)."""
    return [
        f"constraint not met: {name} is {response.value:.6g}, the {'lower ' if response.at_least else ''}limit is "
        f"{response.limit:g}"
        for name, response in found.items()
        if not response.feasible
    ]
