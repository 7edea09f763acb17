"""The worst of several responses, each by its limit: how much of what is allowed is used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from pydantic import Field, SerializeAsAny, field_validator

from morpho.functionals.functional import Setting, States, Value
from morpho.interfaces import Array
from morpho.problem.functional_spec import FunctionalSpec
from morpho.problem.regions import Region

P = 20.0  #: exponent; with two alike the value is 1.04 times the larger


class WorstSpec(FunctionalSpec):
    """(sum u_k^p)^(1/p) of the utilisations u of responses: value over `max`, or `min` over value.

    At most 1: every one keeps its limit.
    """

    kind: Literal["worst"]
    of: tuple[SerializeAsAny[FunctionalSpec], ...] = Field(
        min_length=1, description="responses as in constraints, each with a max or a min above zero"
    )

    @field_validator("of", mode="before")
    @classmethod
    def _each_of_its_kind(cls, given: Any) -> Any:
        from morpho.functionals import KINDS

        if not isinstance(given, list | tuple):
            return given
        found = []
        for i, part in enumerate(given):
            if isinstance(part, FunctionalSpec):
                found.append(part)
                continue
            kind = part.get("kind") if isinstance(part, Mapping) else part
            if kind not in KINDS or kind in ("worst", "volume_under_stress"):
                names = ", ".join(sorted(set(KINDS) - {"worst", "volume_under_stress"}))
                raise ValueError(f"[{i}].kind: got {kind!r}; expected one of {names}")
            found.append(KINDS[kind].SPEC.model_validate(part))
        for i, part in enumerate(found):
            limits = [limit for limit in (part.max, part.min) if limit is not None]
            if len(limits) != 1 or limits[0] <= 0:
                raise ValueError(f"[{i}]: give a max or a min above zero, which its value is measured by")
        return tuple(found)

    @property
    def members(self) -> tuple[FunctionalSpec, ...]:
        return self.of

    @property
    def of_all_cases(self) -> bool:
        return True

    @property
    def needs_loads(self) -> bool:
        return any(part.needs_loads for part in self.of)

    @property
    def regions(self) -> list[tuple[str, Region]]:
        return [(f"of[{i}].{key}", region) for i, part in enumerate(self.of) for key, region in part.regions]

    def complaints(self, problem: Any) -> list[str]:
        given = [key for key in ("case", "region") if getattr(self, key) is not None]
        said = [f"worst.{key}: it takes none; its responses do" for key in given]
        return said + [text for part in self.of for text in part.complaints(problem)]


class Worst:
    """(sum u_k^p)^(1/p)."""

    def __init__(self, spec: WorstSpec, setting: Setting) -> None:
        self.limits = [(part.max, part.min) for part in spec.of]
        self.members = [setting.member(part.unlimited, f"of[{i}]") for i, part in enumerate(spec.of)]
        self.cases = tuple(sorted({case for member in self.members for case in member.cases}))

    def at(self, states: States) -> Value:
        values = [member.at(states) for member in self.members]
        used, slopes = np.array([_utilisation(v.value, *by) for v, by in zip(values, self.limits, strict=True)]).T
        top = float(used.max())
        share = used / top
        total = float((share**P).sum())
        weights = total ** (1 / P - 1) * share ** (P - 1) * slopes
        return Value(
            top * total ** (1 / P),
            _summed([v.d_centre for v in values], weights),
            _summed([v.d_gradient for v in values], weights),
            _summed([{} if v.d_rho is None else {0: v.d_rho} for v in values], weights).get(0),
        )


def _utilisation(value: float, most: float | None, least: float | None) -> tuple[float, float]:
    """How much of a limit is used, and its derivative with respect to the value."""
    if most is not None:
        return value / most, 1 / most
    assert least is not None
    return least / value, -least / value**2


def _summed(parts: list[Mapping[int, Array]], weights: Array) -> dict[int, Array]:
    """Weighted sums by load case."""
    found: dict[int, Array] = {}
    for part, weight in zip(parts, weights, strict=True):
        for case, values in part.items():
            found[case] = found[case] + weight * values if case in found else weight * values
    return found


SPEC, FUNCTIONAL = WorstSpec, Worst
