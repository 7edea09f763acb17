"""What acts on a body and holds it: material, supports, springs, convection, loads, and where one looks.

Lengths, forces and moduli are unit-free; use consistent units.
"""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field, field_validator, model_validator

from morpho.problem.base import Number, OneOf, Positive, Schedule, Spec, Vector
from morpho.problem.regions import Axis, Region


class Material(Spec):
    """An isotropic material, and its interpolation between void and solid."""

    E: Positive = Field(1.0, description="Young's modulus of the solid")
    nu: Number = Field(0.3, gt=-1, lt=0.5, description="Poisson's ratio")
    density: Positive = Field(1.0, description="mass per volume of the solid; for frequencies")
    conductivity: Positive = Field(1.0, description="of heat in the solid; for physics: heat, instead of E and nu")
    plane: Literal["stress", "strain"] = Field("stress", description="2-D only")
    interpolation: Literal["simp", "ramp"] = "simp"
    penalty: Schedule = Field(3.0, description="SIMP exponent p, or RAMP q; a number or a continuation")
    E_min_ratio: Number = Field(1e-9, gt=0, lt=1, description="stiffness or conductivity of void relative to solid")


class Support(Spec):
    """Displacement components, or the temperature, held at the nodes of a region."""

    region: Region
    fix: Literal["all"] | Axis | tuple[Axis, ...] = Field("all", description="components: all, x, or [x, y]")
    value: Number | Vector = Field(0.0, description="prescribed displacement, one number or one per component")
    temperature: Number | None = Field(None, description="physics: heat, instead of fix and value")

    @field_validator("fix", mode="before")
    @classmethod
    def _axes(cls, value: Any) -> Any:
        axes = value if isinstance(value, list | tuple) else [value]
        if value in ("all", "x", "y", "z"):
            return value
        if not isinstance(value, str) and axes and all(axis in ("x", "y", "z") for axis in axes):
            if len(set(axes)) < len(axes):
                raise ValueError(f"got [{', '.join(axes)}]; name every component once")
            return tuple(axes)
        if isinstance(value, str) and re.fullmatch("[xyzXYZ][xyzXYZ, ]*", value):
            letters = dict.fromkeys(re.findall("[xyz]", value.lower()))
            cure = f"write [{', '.join(letters)}]" if len(letters) > 1 else f"write {next(iter(letters))}"
        else:
            cure = "expected all, x, y, z, or a list such as [x, y]"
        if value is None:
            raise ValueError(cure)
        given = repr(value) if isinstance(value, str) else str(value).replace("'", "")
        raise ValueError(f"got {given[:80]}; {cure}")

    @property
    def moves(self) -> bool:
        """Whether what is prescribed is not zero."""
        return bool(self.temperature) or (any(self.value) if isinstance(self.value, tuple) else self.value != 0)

    @property
    def components(self) -> tuple[int, ...] | None:
        """Held components as indices, None for all."""
        if self.fix == "all":
            return None
        return tuple("xyz".index(axis) for axis in self.fix)


class Force(OneOf):
    """One load. `total` is spread evenly over the facets of its region, or its edges, or its vertices.

    With `at` it acts through a point elsewhere: the region takes the moment, too, as a stiff part between would pass it
    on. A moment comes as a traction that grows with the distance from the middle of the region.
    """

    region: Region | None = Field(None, description="where; not for body")
    total: Vector | None = Field(None, description="total force")
    at: Vector | None = Field(None, description="of a total: the point that it acts through, anywhere")
    moment: Number | Vector | None = Field(None, description="couple: three numbers, in 2-D one, anticlockwise")
    bearing: Vector | None = Field(None, description="total force of a pin on the facets of its hole, as a cosine")
    traction: Vector | None = Field(None, description="force per area (2-D: per length)")
    pressure: Number | None = Field(None, description="pressure on the facets, positive into the material")
    line: Vector | None = Field(None, description="force per length of the edges of the region (3-D)")
    point: Vector | None = Field(None, description="force at each vertex of the region")
    body: Vector | None = Field(None, description="force per volume, everywhere")
    self_weight: Vector | None = Field(None, description="force per volume times the physical density")

    @classmethod
    def alternatives(cls) -> tuple[str, ...]:
        return ("total", "traction", "pressure", "line", "point", "moment", "bearing", "body", "self_weight")

    @property
    def kind(self) -> str:
        return next(name for name in self.alternatives() if getattr(self, name) is not None)

    @property
    def density(self) -> tuple[float, ...]:
        """What is given, per component; of a pressure its one number."""
        value = getattr(self, self.kind)
        return value if isinstance(value, tuple) else (value,)

    def dims(self, dim: int) -> list[int]:
        """Dimensions of the entities it acts on, the first that the region has counts."""
        facet = dim - 1
        wanted = {"traction": [facet], "pressure": [facet], "bearing": [facet], "line": [1], "point": [0]}
        return wanted.get(self.kind, list(range(facet, -1, -1)))

    @model_validator(mode="after")
    def _has_region(self) -> Force:
        everywhere = self.kind in ("body", "self_weight")
        if everywhere and self.region is not None:
            raise ValueError(f"{self.kind} acts everywhere: leave out region")
        if not everywhere and self.region is None:
            raise ValueError(f"{self.kind} needs a region")
        if self.at is not None and self.kind != "total":
            raise ValueError("at goes with a total force; leave it out")
        if self.kind in ("moment", "bearing") and not any(self.density):
            raise ValueError(f"{self.kind}: got nothing but zeros")
        return self

    @property
    def is_equivalent(self) -> bool:
        """Whether it has a given resultant and moment rather than a given density."""
        return self.at is not None or self.kind in ("moment", "bearing")


class Spring(Spec):
    """A spring between a region and the ground: what a mechanism works against. It holds no part in place."""

    region: Region
    stiffness: Vector = Field(description="force per displacement, for each component, spread evenly over the region")

    @field_validator("stiffness")
    @classmethod
    def _pulls_back(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if min(value) < 0 or not any(value):
            raise ValueError(f"got {list(value)}; give 0 or more for each component, and more for one")
        return value


class HeatSource(OneOf):
    """Heat that flows in. `total` is spread evenly over the cells of its region, or its facets, edges or vertices."""

    region: Region | None = Field(None, description="where; total and power without one act everywhere")
    total: Number | None = Field(None, description="total heat per time")
    power: Number | None = Field(None, description="heat per volume and time, in the cells of the region")
    flux: Number | None = Field(None, description="heat per area (2-D: per length) and time, into the body")
    point: Number | None = Field(None, description="heat per time at each vertex of the region")

    @classmethod
    def alternatives(cls) -> tuple[str, ...]:
        return ("total", "power", "flux", "point")

    @property
    def kind(self) -> str:
        return next(name for name in self.alternatives() if getattr(self, name) is not None)

    @property
    def density(self) -> tuple[float, ...]:
        """What is given."""
        return (getattr(self, self.kind),)

    def dims(self, dim: int) -> list[int]:
        """Dimensions of the entities it acts on, the first that the region has counts."""
        return {"power": [dim], "flux": [dim - 1], "point": [0]}.get(self.kind, list(range(dim, -1, -1)))

    @model_validator(mode="after")
    def _has_region(self) -> HeatSource:
        if self.kind in ("flux", "point") and self.region is None:
            raise ValueError(f"{self.kind} needs a region")
        return self


class Convection(Spec):
    """Heat that the facets of a region give off: coefficient times (temperature - ambient) per area."""

    region: Region
    coefficient: Positive = Field(description="of heat transfer, per area (2-D: per length)")
    ambient: Number = Field(0.0, description="temperature around")


class LoadCase(Spec):
    """Forces or heat sources that act together; the objective is the weighted sum over the cases."""

    name: str = Field("load", min_length=1, max_length=100, pattern=r"^[\w.-]+$")
    weight: Positive = 1.0
    forces: tuple[Force, ...] = Field((), description="may be empty where supports prescribe displacements")
    sources: tuple[HeatSource, ...] = Field((), description="physics: heat, instead of forces")

    @property
    def acting(self) -> list[tuple[str, Force | HeatSource]]:
        """Everything that acts, with its place in the case."""
        forces = [(f"forces[{j}]", force) for j, force in enumerate(self.forces)]
        return [*forces, *((f"sources[{j}]", source) for j, source in enumerate(self.sources))]

    def weight_density(self, components: int) -> NDArray[np.float64]:
        """(components,) force per volume of the self weight at full density."""
        given = [np.array(force.self_weight) for force in self.forces if force.self_weight]
        return np.asarray(sum(given, start=np.zeros(components)))


def _points_somewhere(value: str | tuple[float, ...]) -> str | tuple[float, ...]:
    if not isinstance(value, str) and not any(value):
        raise ValueError(f"got {list(value)}; a direction is not zero")
    return value


Direction = Annotated[Axis | Vector, AfterValidator(_points_somewhere)]


class Probe(Spec):
    """A displacement: the mean over a region, in a direction, under a load case."""

    region: Region
    direction: Direction = Field(description="x, y, z, or a vector, whose length does not count")
    case: str | None = Field(None, description="load case; may be left out where there is only one")

    def unit(self, dim: int) -> tuple[float, ...]:
        """(dim,) the direction, of length 1."""
        if isinstance(self.direction, str):
            return tuple(float(axis == self.direction) for axis in "xyz"[:dim])
        length = math.hypot(*self.direction)
        return tuple(component / length for component in self.direction)

    def load(self, dim: int) -> LoadCase:
        """The load whose work is the displacement."""
        return LoadCase(forces=(Force(region=self.region, total=self.unit(dim)),))

    @property
    def name(self) -> str:
        """In result.json."""
        direction = self.direction if isinstance(self.direction, str) else list(self.direction)
        return f"displacement[{self.region}, {direction}{f', {self.case}' if self.case else ''}]"


class TemperatureProbe(Spec):
    """A temperature: the mean over a region under a load case."""

    region: Region | None = Field(None, description="its cells, or its facets, edges or vertices; default: everywhere")
    case: str | None = Field(None, description="load case; may be left out where there is only one")

    def load(self, dim: int) -> LoadCase:
        """The heat source whose work is the temperature."""
        return LoadCase(sources=(HeatSource(region=self.region, total=1.0),))

    @property
    def name(self) -> str:
        """In result.json."""
        where = [str(part) for part in (self.region, self.case) if part is not None]
        return f"temperature[{', '.join(where)}]" if where else "temperature"


class SourcesProbe(Spec):
    """The thermal compliance of a load case where temperatures other than zero are held: its sources' own work."""

    sources: tuple[HeatSource, ...]
    case: str

    def load(self, dim: int) -> LoadCase:
        """The sources."""
        return LoadCase(sources=self.sources)


Seen = Probe | TemperatureProbe
AnyProbe = Probe | TemperatureProbe | SourcesProbe
