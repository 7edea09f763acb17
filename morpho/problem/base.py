"""What every part of a problem file shares: frozen, closed to unknown keys, no NaN."""

from __future__ import annotations

import math
from bisect import bisect_left
from typing import Annotated, Any, NamedTuple

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError

from morpho.problem.numbers import why_no_number, why_out_of_range


class Spec(BaseModel):
    """A frozen part of a problem file; unknown keys and non-finite numbers are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)


class OneOf(Spec):
    """A part in which exactly one of the keys in `alternatives` is given."""

    @classmethod
    def alternatives(cls) -> tuple[str, ...]:
        return tuple(cls.model_fields)

    @model_validator(mode="after")
    def _exactly_one(self) -> OneOf:
        names = self.alternatives()
        given = [name for name in names if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of {', '.join(names)}; got {', '.join(given) or 'none'}")
        return self


def _no_text(value: Any) -> Any:
    """Text and truth values are no numbers, whatever Python makes of them."""
    if isinstance(value, bool):
        raise PydanticCustomError("no_number", "a number is expected")
    if isinstance(value, str):
        raise PydanticCustomError("no_number", "{why}", {"why": why_no_number(value)})
    return value


def _in_range(value: float) -> float:
    if why := why_out_of_range(value):
        raise PydanticCustomError("out_of_range", "{why}", {"why": why})
    return value


Number = Annotated[float, BeforeValidator(_no_text), AfterValidator(_in_range)]
Whole = Annotated[int, BeforeValidator(_no_text), Field(le=2**31 - 1)]
Positive = Annotated[Number, Field(gt=0)]
Count = Annotated[Whole, Field(ge=1)]
Vector = Annotated[tuple[Number, ...], Field(min_length=2, max_length=3)]
ROUNDING = 1e-12  #: relative; a continuation this near to its end has come to it


class Continuation(Spec):
    """A parameter that changes every so many iterations: start, then times `factor` or plus `step`, up to max."""

    start: Positive = Field(description="value at the first iteration")
    max: Positive = Field(description="final value")
    every: Count = Field(description="iterations between changes")
    factor: Number | None = Field(None, gt=1, description="multiply by this at each change")
    step: Number | None = Field(None, gt=0, description="add this at each change")

    @model_validator(mode="after")
    def _consistent(self) -> Continuation:
        if (self.factor is None) == (self.step is None):
            raise ValueError("give exactly one of factor, step")
        if self.max < self.start:
            raise ValueError(f"max ({self.max:g}) is below start ({self.start:g})")
        return self

    def at(self, iteration: int) -> float:
        """Value at a design iteration (1, 2, ...): a pure function, so that a resumed run agrees."""
        changes = (iteration - 1) // self.every
        if self.factor is None:
            value = self.start + (self.step or 0.0) * changes
        elif changes * math.log(self.factor) < math.log(self.max) - math.log(self.start):
            value = self.start * self.factor**changes
        else:
            value = self.max
        return self.max if value > self.max * (1 - ROUNDING) else value

    def settled(self, iteration: int) -> bool:
        """Whether the final value has been in force for a full stage."""
        return self.at(max(1, iteration - self.every)) >= self.max


class Stages(NamedTuple):
    """A parameter that is said stage by stage."""

    until: tuple[int, ...]  #: last iteration of each stage but the last
    values: tuple[float, ...]  #: of each stage

    def at(self, iteration: int) -> float:
        """Value at a design iteration (1, 2, ...)."""
        return self.values[bisect_left(self.until, iteration)]


def _which(value: Any) -> str:
    return "schedule" if isinstance(value, dict | Continuation) else "number"


Schedule = Annotated[
    Annotated[Positive, Tag("number")] | Annotated[Continuation, Tag("schedule")], Discriminator(_which)
]


def value_at(schedule: float | Continuation | Stages, iteration: int) -> float:
    """Value of a number or a continuation at a design iteration."""
    return schedule.at(iteration) if isinstance(schedule, Continuation | Stages) else schedule


def is_settled(schedule: float | Continuation | Stages, iteration: int) -> bool:
    """Whether a number or a continuation has reached its final value for good; stages end together, elsewhere."""
    return schedule.settled(iteration) if isinstance(schedule, Continuation) else True
