"""Where supports, loads and passive regions act: named tags of the mesh or simple geometry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from morpho.problem.base import Number, OneOf, Positive, Spec, Vector

Axis = Literal["x", "y", "z"]
Points = NDArray[np.float64]
Mask = NDArray[np.bool_]


def _padded(vector: tuple[float, ...]) -> Points:
    return np.pad(np.asarray(vector, dtype=float), (0, 3 - len(vector)))


def _as_yaml(value: Any) -> str:
    """As one would write it in a problem file, in one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_as_yaml(part)}" for key, part in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_as_yaml(part) for part in value) + "]"
    return f"{value:.15g}" if isinstance(value, float) else str(value)


def face_tag(number: int) -> str:
    """The group of a face of a CAD part."""
    return f"face {number}"


def _face(value: Any) -> dict[str, Any]:
    """The region that `face: 12` or `face: [3, 12]` is short for."""
    numbers = value if isinstance(value, list | tuple) else [value]
    if not numbers or not all(isinstance(n, int) and not isinstance(n, bool) for n in numbers):
        raise ValueError(f"face: got {value}; give the number of a face, or a list of some; see morpho check --faces")
    tags: list[dict[str, Any]] = [{"tag": face_tag(number)} for number in numbers]
    return tags[0] if len(tags) == 1 else {"any_of": tags}


class Plane(Spec):
    """The plane (2-D: line) where one coordinate has a given value."""

    axis: Axis
    at: Number

    def contains(self, points: Points, tolerance: float) -> Mask:
        return self.distance(points) <= tolerance

    def distance(self, points: Points) -> Points:
        return np.asarray(np.abs(points[:, "xyz".index(self.axis)] - self.at))


class Box(Spec):
    """A closed box with faces along the axes."""

    min: Vector
    max: Vector

    @model_validator(mode="after")
    def _ordered(self) -> Box:
        if len(self.min) != len(self.max):
            raise ValueError(f"min has {len(self.min)} numbers, max has {len(self.max)}")
        if any(a > b for a, b in zip(self.min, self.max, strict=True)):
            raise ValueError(f"min {list(self.min)} is not below max {list(self.max)}")
        return self

    def contains(self, points: Points, tolerance: float) -> Mask:
        x = points[:, : len(self.min)]
        return np.all((x >= np.array(self.min) - tolerance) & (x <= np.array(self.max) + tolerance), axis=1)

    def distance(self, points: Points) -> Points:
        x = points[:, : len(self.min)]
        return np.asarray(np.linalg.norm(x - np.clip(x, self.min, self.max), axis=1))


class Sphere(Spec):
    """A closed ball (2-D: disc)."""

    center: Vector
    radius: Positive

    def contains(self, points: Points, tolerance: float) -> Mask:
        return self.distance(points) <= tolerance

    def distance(self, points: Points) -> Points:
        return np.asarray(np.maximum(np.linalg.norm(points - _padded(self.center), axis=1) - self.radius, 0.0))


class Cylinder(Spec):
    """A closed, infinitely long cylinder along a coordinate axis, cut to `between` where given."""

    center: Vector = Field(description="a point on the axis of the cylinder")
    radius: Positive
    axis: Axis = "z"
    between: tuple[Number, Number] | None = Field(None, description="range along the axis")

    def contains(self, points: Points, tolerance: float) -> Mask:
        d = points - _padded(self.center)
        i = "xyz".index(self.axis)
        inside = np.linalg.norm(np.delete(d, i, axis=1), axis=1) <= self.radius + tolerance
        if self.between is not None:
            low, high = self.between
            inside &= (points[:, i] >= low - tolerance) & (points[:, i] <= high + tolerance)
        return inside

    def distance(self, points: Points) -> Points:
        d = points - _padded(self.center)
        i = "xyz".index(self.axis)
        out = np.maximum(np.linalg.norm(np.delete(d, i, axis=1), axis=1) - self.radius, 0.0)
        low, high = self.between or (-np.inf, np.inf)
        return np.asarray(np.hypot(out, points[:, i] - np.clip(points[:, i], low, high)))


class Near(Spec):
    """Everything within a distance of another region, of a group its facets: a layer of material behind a surface."""

    region: Region
    distance: Positive

    @field_validator("region")
    @classmethod
    def _measurable(cls, region: Region) -> Region:
        if region.all_of:
            raise ValueError("the distance to an intersection is not known; put near into all_of instead")
        return region


class Region(OneOf):
    """A part of the mesh. A bare string or number is a tag; {face: 12} is that face of a CAD part.

    A facet or an edge belongs to a geometric region when all its vertices do, a cell when its centre does.
    """

    tag: str | None = Field(None, description="named physical group of the mesh file")
    plane: Plane | None = None
    box: Box | None = None
    sphere: Sphere | None = None
    cylinder: Cylinder | None = None
    points: Annotated[tuple[Vector, ...], Field(min_length=1)] | None = Field(
        None, description="the mesh vertices nearest to these points"
    )
    near: Near | None = Field(None, description="everything within a distance of another region")
    surface: str | None = Field(
        None, description="the triangles of an .stl file, path relative to the problem file; with `within`, a distance"
    )
    all_of: Annotated[tuple[Region, ...], Field(min_length=1)] | None = Field(None, description="intersection")
    any_of: Annotated[tuple[Region, ...], Field(min_length=1)] | None = Field(None, description="union")

    @model_validator(mode="before")
    @classmethod
    def _tag_shorthand(cls, value: Any) -> Any:
        if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
            return {"tag": str(value)}
        if not isinstance(value, Mapping | Region):
            cure = "give the name of a group of the mesh file, or a place such as {plane: {axis: x, at: 0}}"
            raise ValueError(f"got {'nothing' if value is None else value}; {cure}")
        if isinstance(value, Mapping) and list(value) == ["face"]:
            return _face(value["face"])
        if isinstance(value, Mapping) and sorted(value) == ["surface", "within"]:
            return {"near": {"region": {"surface": value["surface"]}, "distance": value["within"]}}
        return value

    @field_validator("tag", mode="before")
    @classmethod
    def _numbered(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int) and not isinstance(value, bool) else value

    @property
    def shape(self) -> Plane | Box | Sphere | Cylinder | None:
        """The geometric primitive, None for tags, points and combinations."""
        return self.plane or self.box or self.sphere or self.cylinder

    @property
    def parts(self) -> tuple[Region, ...]:
        return self.all_of or self.any_of or ()

    @property
    def tags(self) -> list[str]:
        """Every group that is named in this region."""
        own = [self.tag] if self.tag is not None else self.near.region.tags if self.near is not None else []
        return own + [tag for part in self.parts for tag in part.tags]

    @property
    def surfaces(self) -> list[str]:
        """Every file of triangles that is named in this region."""
        own = [self.surface] if self.surface is not None else self.near.region.surfaces if self.near is not None else []
        return own + [file for part in self.parts for file in part.surfaces]

    @property
    def bare_surfaces(self) -> list[str]:
        """Those of them without a distance, which no node lies on but by chance."""
        own = [self.surface] if self.surface is not None else []
        return own + [file for part in self.parts for file in part.bare_surfaces]

    @property
    def is_surface(self) -> bool:
        """Whether it is thin in some direction, or a group: what lies in it inside a body is one surface."""
        if self.all_of:
            return any(part.is_surface for part in self.all_of)
        if self.any_of:
            return all(part.is_surface for part in self.any_of)
        flat = self.box is not None and any(a == b for a, b in zip(self.box.min, self.box.max, strict=True))
        return self.tag is not None or self.plane is not None or flat

    def distance(self, points: Points) -> Points:
        """How far points (n, 3) are from the region, at least; zero for a tag, whose place only the mesh knows."""
        if self.parts:
            join = np.maximum if self.all_of else np.minimum
            return np.asarray(join.reduce([part.distance(points) for part in self.parts]))
        if self.near is not None:
            return np.asarray(np.maximum(self.near.region.distance(points) - self.near.distance, 0.0))
        if self.points is not None:
            wanted = np.array([_padded(point) for point in self.points])
            return np.asarray(np.min([np.linalg.norm(points - point, axis=1) for point in wanted], axis=0))
        return self.shape.distance(points) if self.shape is not None else np.zeros(len(points))

    def vectors(self) -> list[tuple[str, tuple[float, ...]]]:
        """Every coordinate vector in this region with its name, to check the dimension."""
        found: list[tuple[str, tuple[float, ...]]] = []
        if self.box:
            found.append(("box.min", self.box.min))
        for name in ("sphere", "cylinder"):
            if part := getattr(self, name):
                found.append((f"{name}.center", part.center))
        found += [(f"points[{i}]", p) for i, p in enumerate(self.points or ())]
        if self.near:
            found += [(f"near.region.{name}", v) for name, v in self.near.region.vectors()]
        key = "all_of" if self.all_of else "any_of"
        for i, part in enumerate(self.parts):
            found += [(f"{key}[{i}].{name}", v) for name, v in part.vectors()]
        return found

    def axes(self) -> list[tuple[str, str]]:
        """Every axis named in this region, to check the dimension."""
        found = [(f"{name}.axis", part.axis) for name in ("plane",) if (part := getattr(self, name))]
        if self.near:
            found += [(f"near.region.{name}", axis) for name, axis in self.near.region.axes()]
        key = "all_of" if self.all_of else "any_of"
        for i, part in enumerate(self.parts):
            found += [(f"{key}[{i}].{name}", axis) for name, axis in part.axes()]
        return found

    def __str__(self) -> str:
        if self.tag:
            return f"tag '{self.tag}'"
        return _as_yaml(self.model_dump(exclude_none=True))
