"""Rules of making that contradict each other: everything that can be seen without a mesh."""

from __future__ import annotations

from collections.abc import Iterator

from morpho.problem.making import Casting, Overhang
from morpho.problem.spec import Design


def axes(design: Design) -> Iterator[tuple[str, str]]:
    """Every axis along which a rule goes, with its place (local)."""
    for i, symmetry in enumerate(design.symmetry):
        yield f"design.symmetry[{i}].plane.axis", symmetry.plane.axis
    if design.repeat is not None and design.repeat.axis is not None:
        yield "design.repeat.axis", design.repeat.axis
    if design.extrude is not None:
        yield "design.extrude", design.extrude
    for place in ("casting", "overhang"):
        if (directed := getattr(design, place)) is not None:
            yield f"design.{place}.direction", directed.axis


def complaints(design: Design) -> list[str]:
    """Complaints about rules that contradict each other (local)."""
    said, casting, overhang = [], design.casting, design.overhang
    if casting is not None and overhang is not None:
        said.append("design.overhang: what is cast is not printed; give casting or overhang")
    if design.is_shaped and design.filter.kind == "sensitivity":
        rule = "casting" if casting is not None else "overhang"
        said.append(f"design.{rule}: a sensitivity filter leaves the density as it is; use a cone filter")
    repeat, extrude = design.repeat, design.extrude
    if repeat is not None and extrude is not None:
        if repeat.axis == extrude:
            said.append(f"design.repeat.axis: {extrude} is the axis of the extrusion, whose sections are all the same")
        elif repeat.about not in (None, extrude):
            said.append(f"design.repeat.about: turning about {repeat.about} turns the extrusion; give {extrude}")
    for place, directed in (("casting", casting), ("overhang", overhang)):
        if directed is not None:
            said += _across(design, f"design.{place}", directed)
    if overhang is not None and repeat is not None and repeat.axis not in (None, overhang.axis):
        said.append(
            "design.repeat.axis: inner pieces are supported by their neighbours in printing, the last ones are not, so "
            "that they would differ; leave repeat or overhang out"
        )
    return said


def _across(design: Design, place: str, directed: Casting | Overhang) -> list[str]:
    """Complaints about equal cells along the direction of a rule that tells its begin from its end (local)."""
    said, axis = [], directed.axis
    both_ways = isinstance(directed, Casting) and directed.sides == "two"
    for i, symmetry in enumerate(design.symmetry):
        plane = symmetry.plane
        parting = directed.parting if isinstance(directed, Casting) else None
        if plane.axis == axis and not (both_ways and parting in (None, plane.at)):
            said.append(
                f"design.symmetry[{i}].plane.axis: got {axis}, along which {place} tells one side from the other, so "
                "that none is the mirror image; leave one of them out"
            )
    if design.repeat is not None and (design.repeat.axis == axis or design.repeat.about not in (None, axis)):
        key = "axis" if design.repeat.axis else "about"
        said.append(f"design.repeat.{key}: moves cells along {axis}, the direction of {place}; leave one of them out")
    if design.extrude == axis:
        said.append(f"design.extrude: got {axis}; what is extruded along it keeps {place} anyway; leave that out")
    return said
