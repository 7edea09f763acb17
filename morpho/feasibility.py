"""Whether the returned design keeps its constraints, constraint by constraint and in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from morpho.problem.spec import Constraint, VolumeConstraint
from morpho.stopping import FEASIBLE


@dataclass(frozen=True)
class Response:
    """The value of one constraint at the returned design."""

    value: float
    limit: float  #: the value is to be at most this
    feasible: bool  #: within FEASIBLE, relative

    def to_dict(self) -> dict[str, Any]:
        """What stands in result.json (local)."""
        return asdict(self)


def responses(constraints: Sequence[Constraint], values: Sequence[float]) -> dict[str, Response]:
    """Every constraint by its name, from its normalised value, value / limit - 1 (local)."""
    names = [_name(constraint) for constraint in constraints]
    counts = Counter(names)
    found = {}
    for i, (constraint, name, g) in enumerate(zip(constraints, names, values, strict=True)):
        limit = constraint.volume_fraction if isinstance(constraint, VolumeConstraint) else constraint.max
        key = name if counts[name] == 1 else f"{name} (constraints[{i}])"
        found[key] = Response(float(limit * (1 + g)), float(limit), bool(g <= FEASIBLE))
    return found


def missed(found: dict[str, Response]) -> list[str]:
    """The constraints that are not met, a sentence each (local)."""
    return [
        f"constraint not met: {name} is {response.value:.6g}, the limit is {response.limit:g}"
        for name, response in found.items()
        if not response.feasible
    ]


def _name(constraint: Constraint) -> str:
    if isinstance(constraint, VolumeConstraint):
        return "volume" if constraint.region is None else f"volume[{constraint.region}]"
    return "compliance" if constraint.case is None else f"compliance[{constraint.case}]"
