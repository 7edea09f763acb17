"""What the problem file says of a functional: a response that is not linear in the state."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from morpho.problem.base import Number, Spec
from morpho.problem.regions import Region


class FunctionalSpec(Spec):
    """The keys that all functionals share; as an objective without limits, as a constraint with one or both."""

    kind: str
    region: Region | None = Field(None, description="cells that count; default: all")
    case: str | None = Field(None, description="load case; may be left out where there is only one")
    max: Number | None = Field(None, description="as a constraint: at most")
    min: Number | None = Field(None, description="as a constraint: at least")

    @model_validator(mode="after")
    def _limits_with_a_size(self) -> FunctionalSpec:
        if 0 in (self.max, self.min):
            raise ValueError("a limit of zero has no size to measure a miss by; give a small number")
        if self.max is not None and self.min is not None and self.min > self.max:
            raise ValueError(f"min is {self.min:g}, above max, {self.max:g}")
        return self

    @property
    def probe(self) -> None:
        """It is not linear."""
        return None

    @property
    def function(self) -> None:
        """It is no black box."""
        return None

    @property
    def name(self) -> str:
        """In result.json."""
        where = [str(part) for part in (self.region, self.case) if part is not None]
        return f"{self.label}[{', '.join(where)}]" if where else self.label

    @property
    def label(self) -> str:
        """What it is, without where."""
        return self.kind

    @property
    def sign(self) -> float:
        """1 where the objective is minimised, -1 where it is maximised."""
        return 1.0

    @property
    def needs_loads(self) -> bool:
        """Whether it is nothing where no load acts."""
        return True

    def complaints(self, problem: Any) -> list[str]:
        """What else of a problem it cannot do with (local)."""
        return []

    @property
    def of_all_cases(self) -> bool:
        """Whether it looks at every load case, so that `case` is left out."""
        return False

    @property
    def members(self) -> tuple[FunctionalSpec, ...]:
        """The functionals that it is made of, if it is."""
        return ()

    @property
    def regions(self) -> list[tuple[str, Region]]:
        """Its regions, each with its key."""
        return [] if self.region is None else [("region", self.region)]

    @property
    def unlimited(self) -> FunctionalSpec:
        """The same without limits, to tell functionals apart."""
        return self.model_copy(update={"max": None, "min": None})


class ExcludingSpec(FunctionalSpec):
    """The keys of a functional that leaves cells out."""

    exclude: tuple[Region, ...] = Field(
        (), description="cells that do not count: near loads, supports and sharp corners stress grows with refinement"
    )

    @property
    def regions(self) -> list[tuple[str, Region]]:
        return [*super().regions, *((f"exclude[{i}]", region) for i, region in enumerate(self.exclude))]


class OwnSpec(FunctionalSpec):
    """A response that a program has registered with `morpho.responses.register`."""

    kind: Literal["own"]
    response: str = Field(description="the name that it was registered by")
    parameters: dict[str, Any] = Field({}, description="for the response to read")

    @property
    def label(self) -> str:
        return self.response

    @property
    def needs_loads(self) -> bool:
        return False
