"""What the problem file says of rules of making: how a design has to be the same, drawn or printed."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from morpho.problem.base import Number, Spec, Whole
from morpho.problem.regions import Axis

Direction = Literal["x", "y", "z", "+x", "+y", "+z", "-x", "-y", "-z"]


class SymmetryPlane(Spec):
    """A plane across an axis."""

    axis: Axis
    at: Number = Field(description="coordinate; the middle of the mesh, which has to be symmetric about it")


class Symmetry(Spec):
    """The design is its own mirror image, whatever the loads do."""

    plane: SymmetryPlane


class Repeat(Spec):
    """The design is made of equal pieces: along an axis, or turned about one (about the middle of the mesh)."""

    axis: Axis | None = Field(None, description="pieces one after the other along it")
    about: Axis | None = Field(None, description="pieces turned about it; on boxes of cells 2 or 4 of them")
    times: Whole = Field(ge=2, description="pieces")

    @model_validator(mode="after")
    def _along_or_about(self) -> Repeat:
        if (self.axis is None) == (self.about is None):
            raise ValueError("give axis, along which the pieces follow each other, or about, the axis they turn about")
        return self


class Directed(Spec):
    """A rule along a direction."""

    direction: Direction

    @property
    def axis(self) -> str:
        return self.direction[-1]

    @property
    def upward(self) -> bool:
        """Whether the direction is that of the axis."""
        return not self.direction.startswith("-")


class Casting(Directed):
    """The part can be drawn out of its mould: no undercut, no enclosed void."""

    direction: Direction = Field(description="in which the mould, or its first half, is drawn off: x, -x, y, ...")
    sides: Literal["one", "two"] = Field("one", description="halves of the mould: one lies on a flat plate, or two")
    parting: Number | None = Field(
        None,
        description="two sides: coordinate of a flat parting plane; default: wherever each column has its material",
    )

    @model_validator(mode="after")
    def _parts_two(self) -> Casting:
        if self.parting is not None and self.sides == "one":
            raise ValueError("parting is for sides: two")
        return self


class Overhang(Directed):
    """The part is printed layer by layer without supports (Langelaar 2017)."""

    direction: Direction = Field(description="in which layers are added: x, -x, y, ...; the plate is at its begin")
    angle: Number = Field(
        45.0, gt=0, lt=90, description="least angle of a surface to the plate, degrees; that of the cells, 45 on cubes"
    )
