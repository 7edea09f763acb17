"""Checks across the parts of a problem: everything that can be seen without a mesh, all at once."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

from morpho.functionals import registry
from morpho.problem import check_making
from morpho.problem.acting import Seen
from morpho.problem.base import Continuation
from morpho.problem.functional_spec import FunctionalSpec
from morpho.problem.regions import Region
from morpho.problem.spec import (
    BoxMesh,
    ComplianceConstraint,
    DisplacementConstraint,
    Objective,
    Probe,
    Problem,
    TemperatureConstraint,
    VolumeConstraint,
)

FLATTEST = 1e-5  #: edge of a cell relative to the whole box; selections allow for 1e-6 of it
BEYOND = 10**10  #: cells; memory is the first concern of so many
LEAST = 1e-3  #: cells that a volume fraction should make up
OC = ("compliance", "black_box")  #: objectives of the optimality criteria
FARTHEST = 1e9  #: distance from zero in edges of a cell


def regions(problem: Problem) -> Iterator[tuple[str, Region]]:
    """Every region of the problem with its place in the file."""
    for i, support in enumerate(problem.supports):
        yield f"supports[{i}].region", support.region
    for i, case in enumerate(problem.loads):
        for where, given in case.acting:
            if given.region is not None:
                yield f"loads[{i}].{where}.region", given.region
    for i, spring in enumerate(problem.springs):
        yield f"springs[{i}].region", spring.region
    for i, convection in enumerate(problem.convection):
        yield f"convection[{i}].region", convection.region
    for i, constraint in enumerate(problem.constraints):
        if isinstance(constraint, FunctionalSpec):
            yield from ((f"constraints[{i}].{key}", region) for key, region in constraint.regions)
        elif not isinstance(constraint, ComplianceConstraint) and constraint.region is not None:
            yield f"constraints[{i}].region", constraint.region
    if isinstance(problem.objective, FunctionalSpec):
        yield from ((f"objective.{key}", region) for key, region in problem.objective.regions)
    elif problem.objective.region is not None:
        yield "objective.region", problem.objective.region
    for kind in ("solid", "void"):
        for i, region in enumerate(getattr(problem.design.passive, kind)):
            yield f"design.passive.{kind}[{i}]", region


def check_dimension(problem: Problem, dim: int) -> list[str]:
    """Complaints about vectors, axes and cells that do not fit a mesh of dimension dim (local)."""
    said = []

    def vector(place: str, v: tuple[float, ...]) -> None:
        if len(v) != dim:
            said.append(f"{place}: got {len(v)} numbers, the mesh is {dim}-dimensional; give {dim}")

    def axis(place: str, name: str) -> None:
        if "xyz".index(name) >= dim:
            said.append(f"{place}: got {name}, the mesh is {dim}-dimensional; use one of {', '.join('xyz'[:dim])}")

    for place, region in regions(problem):
        for name, v in region.vectors():
            vector(f"{place}.{name}", v)
        for name, a in region.axes():
            axis(f"{place}.{name}", a)
    for i, support in enumerate(problem.supports):
        components = support.components or tuple(range(dim))
        for c in support.components or ():
            axis(f"supports[{i}].fix", "xyz"[c])
        if isinstance(support.value, tuple) and len(support.value) != len(components):
            said.append(
                f"supports[{i}].value: got {len(support.value)} numbers for {len(components)} held components; "
                "give one number, or one for each component in fix"
            )
    for i, spring in enumerate(problem.springs):
        vector(f"springs[{i}].stiffness", spring.stiffness)
    for place, name in check_making.axes(problem.design):
        axis(place, name)
    if dim == 2 and problem.design.repeat is not None and problem.design.repeat.about in ("x", "y"):
        said.append(f"design.repeat.about: got {problem.design.repeat.about}; a 2-D design turns about z; give that")
    for place, given in probed(problem):
        if isinstance(given, Probe) and isinstance(given.direction, tuple):
            vector(f"{place}.direction", given.direction)
        elif isinstance(given, Probe) and isinstance(given.direction, str):
            axis(f"{place}.direction", given.direction)
    for i, case in enumerate(problem.loads):
        for j, force in enumerate(case.forces):
            value = getattr(force, force.kind)
            if force.at is not None:
                vector(f"loads[{i}].forces[{j}].at", force.at)
            if force.kind == "moment":
                if isinstance(value, tuple) != (dim == 3) or (dim == 3 and len(value) != 3):
                    got = f"{len(value)} numbers" if isinstance(value, tuple) else "one number"
                    wanted = "three, about x, y and z" if dim == 3 else "one, anticlockwise"
                    said.append(
                        f"loads[{i}].forces[{j}].moment: got {got}, the mesh is {dim}-dimensional; give {wanted}"
                    )
            elif isinstance(value, tuple):
                vector(f"loads[{i}].forces[{j}].{force.kind}", value)
            if force.kind == "line" and dim == 2:
                said.append(f"loads[{i}].forces[{j}].line: a 2-D mesh has no line loads; use traction")
    return said


def probed(problem: Problem) -> Iterator[tuple[str, Seen]]:
    """Every displacement and temperature that is minimised or limited, with its place (local)."""
    if problem.objective.probe is not None:
        yield "objective", problem.objective.probe
    for i, constraint in enumerate(problem.constraints):
        if isinstance(constraint, DisplacementConstraint | TemperatureConstraint):
            yield f"constraints[{i}]", constraint.probe


def functionals(problem: Problem) -> Iterator[tuple[str, FunctionalSpec]]:
    """Every functional that is minimised or limited, with its place (local)."""
    if isinstance(problem.objective, FunctionalSpec):
        yield "objective", problem.objective
    for i, constraint in enumerate(problem.constraints):
        if isinstance(constraint, FunctionalSpec):
            yield f"constraints[{i}]", constraint


def _of_functionals(problem: Problem) -> list[str]:
    """Complaints about limits that an objective has, or a constraint has not, and what cannot be made (local)."""
    said = []
    for place, given in functionals(problem):
        said += registry.complaints(place, given, problem.physics)
        limits = [name for name in ("max", "min") if getattr(given, name) is not None]
        if place == "objective":
            said += [f"{place}.{name}: an objective has no limit; make it a constraint" for name in limits]
        elif not limits:
            said.append(f"{place}: give max, min or both")
    return said


def _which_case(problem: Problem) -> list[str]:
    """Complaints about the load cases that displacements, temperatures and functionals are of (local)."""
    said, cases = [], [case.name for case in problem.loads]
    everything: list[tuple[str, Seen | FunctionalSpec]] = [*probed(problem), *functionals(problem)]
    for place, given in functionals(problem):
        everything += [(f"{place}.of[{i}]", part) for i, part in enumerate(given.members) if part.needs_loads]
    for place, asked in everything:
        if isinstance(asked, FunctionalSpec) and asked.of_all_cases:
            continue
        if asked.case is None and len(cases) > 1:
            said.append(f"{place}.case: there are several load cases; name one of {', '.join(cases)}")
        elif asked.case is not None and asked.case not in cases:
            said.append(f"{place}.case: there is no load case {asked.case!r}; the cases are {', '.join(cases)}")
    return said


def _of_another_physics(problem: Problem) -> list[str]:
    """Complaints about what belongs to another physics (local)."""
    said, heat = [], problem.physics == "heat"
    other = "elasticity" if heat else "heat"

    def foreign(place: str, instead: str) -> None:
        said.append(f"{place}: belongs to physics: {other}; {instead}, or change physics")

    for i, support in enumerate(problem.supports):
        if heat and (support.fix != "all" or support.value != 0):
            foreign(f"supports[{i}].{'fix' if support.fix != 'all' else 'value'}", "give a temperature")
        elif heat and support.temperature is None:
            said.append(f"supports[{i}].temperature: is missing; give what the region is held at, for instance 0")
        elif not heat and support.temperature is not None:
            foreign(f"supports[{i}].temperature", "give fix and value")
    for i, case in enumerate(problem.loads):
        if heat and case.forces:
            foreign(f"loads[{i}].forces", "give sources")
        if not heat and case.sources:
            foreign(f"loads[{i}].sources", "give forces")
    if heat and problem.springs:
        foreign("springs", "give convection")
    if not heat and problem.convection:
        foreign("convection", "leave it out")
    for place, kind in [("objective", problem.objective.kind), *_kinds(problem)]:
        if kind == ("displacement" if heat else "temperature"):
            foreign(f"{place}.kind", f"take {'temperature' if heat else 'displacement'}")
    if heat and problem.warmed:
        said += [
            f"loads[{i}].sources: none, so that the thermal compliance is zero whatever the design; minimise a "
            "temperature instead (objective.kind: temperature)"
            for i, case in enumerate(problem.loads)
            if not case.sources and problem.objective.kind == "compliance"
        ]
    return said


def _kinds(problem: Problem) -> list[tuple[str, str]]:
    return [(f"constraints[{i}]", constraint.kind) for i, constraint in enumerate(problem.constraints)]


def check_consistency(problem: Problem) -> list[str]:
    """Complaints about parts that contradict each other (local)."""
    said = []
    cases = Counter(case.name for case in problem.loads)
    for name, count in cases.items():
        if count > 1:
            said.append(f"loads: {count} cases are called {name!r}; give each case its own name")
    heat = problem.physics == "heat"
    if not problem.supports and not problem.convection:
        said.append("supports: " + ("none, and no convection" if heat else "none") + "; hold a part of the body")
    moving = problem.warmed if heat else any(support.moves for support in problem.supports)
    free = bool(problem.functionals) and not any(given.needs_loads for given in problem.functionals)
    unloaded = free and not problem.probes and problem.objective.kind != "compliance"
    for i, case in enumerate(problem.loads):
        if not case.acting and not moving and not unloaded:
            nothing = "no source and no temperature" if heat else "no force and no prescribed displacement"
            said.append(f"loads[{i}].{'sources' if heat else 'forces'}: {nothing}; the case does nothing")
    for i, constraint in enumerate(problem.constraints):
        if not isinstance(constraint, ComplianceConstraint):
            continue
        if constraint.case is not None and constraint.case not in cases:
            said.append(
                f"constraints[{i}].case: there is no load case {constraint.case!r}; the cases are {', '.join(cases)}"
            )
        elif not any(case.acting for case in problem.loads if constraint.case in (None, case.name)):
            said.append(
                f"constraints[{i}].max: where only supports move the compliance is minus the stored energy, "
                "never above a limit; constrain the volume, or load the structure by forces"
            )
    said += _which_case(problem) + _of_another_physics(problem) + _of_functionals(problem)
    said += dict.fromkeys(text for given in problem.functionals for text in given.complaints(problem))
    kinds = [constraint.kind for constraint in problem.constraints]
    if problem.objective.kind == "volume" and set(kinds) <= {"volume"}:
        said.append(
            "constraints: the least volume is none at all; add one of kind compliance, displacement or temperature"
        )
    if isinstance(problem.objective, Objective) and problem.objective.over == "worst":
        if len(problem.loads) == 1:
            said.append("objective.over: there is one load case, which is the worst; leave it out")
        if problem.warmed:
            said.append("objective.over: worst takes temperatures of zero only; shift them, or leave it out")
        elif moving:
            said.append("objective.over: where supports move, compliances may be negative, and none is the worst")
        if problem.optimizer.kind == "oc":
            said.append("optimizer.kind: oc does not settle between load cases; use mma for the worst of them")
    if problem.objective.kind == "black_box":
        if problem.gradient.source != "guided_es":
            said.append(
                f"gradient.source: {problem.gradient.source} needs the derivative of the objective, and a black box "
                "has values only; use guided_es"
            )
        if set(kinds) > {"volume"} or "volume" not in kinds:
            said.append("constraints: beside a black box only constraints of kind volume are possible")
    if problem.optimizer.kind == "oc" and problem.weighs:
        said.append(
            "optimizer.kind: oc needs an objective that falls wherever material is added, and with self weight it may "
            "rise; use mma, or leave kind out"
        )
    if problem.optimizer.kind == "oc" and (kinds != ["volume"] or problem.objective.kind not in OC or problem.warmed):
        said.append("optimizer.kind: oc takes compliance with one volume constraint; use mma")
    said += _mirror_descent(problem) if problem.optimizer.kind == "simpl" else []
    said += _stages(problem) + _levels(problem) + _robust(problem) + check_making.complaints(problem.design)
    if problem.design.filter.kind == "sensitivity" and problem.design.projection is not None:
        said.append("design.projection: a sensitivity filter leaves the density as it is; use a cone filter")
    for place, region in regions(problem):
        said += [f"{place}: surface: {file} needs a distance, within" for file in region.bare_surfaces]
    if problem.mesh.box is not None:
        said += _check_box(problem, problem.mesh.box)
    if problem.mesh.dim is not None:
        said += check_dimension(problem, problem.mesh.dim)
    return said


def _mirror_descent(problem: Problem) -> list[str]:
    """Complaints about what SiMPL cannot do (local)."""
    said, objective = [], problem.objective
    if [constraint.kind for constraint in problem.constraints] != ["volume"]:
        said.append("optimizer.kind: simpl takes one volume constraint; use mma")
    if objective.kind == "black_box":
        said.append("optimizer.kind: simpl needs exact derivatives now and then, and a black box has none; use oc")
    if objective.kind == "displacement":
        said.append("optimizer.kind: simpl cuts a mechanism in two, where nothing moves any more; use mma")
    if isinstance(objective, Objective) and objective.over == "worst":
        said.append("optimizer.kind: simpl does not settle between load cases; use mma for the worst of them")
    if problem.design.filter.kind == "sensitivity":
        said.append(
            "optimizer.kind: simpl needs the derivatives of the objective as it is, and a sensitivity filter gives "
            "others; use a cone filter, or oc"
        )
    return said


def _stages(problem: Problem) -> list[str]:
    """Complaints about stages that are out of order, or change what is not there (local)."""
    stages, said = problem.optimizer.stages, []
    ends = [stage.until for stage in stages]
    for i, (end, next_end) in enumerate(pairwise(ends)):
        if end is None:
            said.append(f"optimizer.stages[{i}].until: missing; only the last stage needs none")
        elif next_end is not None and next_end <= end:
            said.append(f"optimizer.stages[{i + 1}].until: got {next_end}, not after {end}, where the one before ends")
    if problem.optimizer.stage_tolerance is not None and len(stages) < 2:
        said.append("optimizer.stage_tolerance: there are no stages that could end early; leave it out")
    given = {name for name in ("penalty", "beta", "radius") if any(getattr(stage, name) for stage in stages)}
    design = problem.design
    if "beta" in given and design.projection is None:
        said.append("optimizer.stages: beta is of a projection; add design.projection")
    if "radius" in given and design.filter.kind != "cone":
        said.append(f"optimizer.stages: radius changes a cone filter only; design.filter.kind is {design.filter.kind}")
    both = {"penalty": problem.material.penalty, "beta": design.projection.beta if design.projection else None}
    homes = {"penalty": "material.penalty", "beta": "design.projection.beta"}
    for name in sorted(given & both.keys()):
        if isinstance(both[name], Continuation):
            said.append(f"optimizer.stages: {name} is a continuation in {homes[name]} already; give one of them")
    return said


def _levels(problem: Problem) -> list[str]:
    """Complaints about coarser grids that are out of order, or that there cannot be (local)."""
    levels, said = problem.optimizer.levels, []
    for i, (one, finer) in enumerate(pairwise(levels), start=1):
        if finer.coarser >= one.coarser:
            said.append(f"optimizer.levels[{i}].coarser: got {finer.coarser}; each grid is finer than the one before")
        if finer.until <= one.until:
            said.append(f"optimizer.levels[{i}].until: got {finer.until}, not after {one.until}")
    if levels and problem.mesh.file is not None:
        said.append(
            "optimizer.levels: a mesh file has no coarser grids; solve a coarser mesh, and start from it (start.run)"
        )
    if levels and problem.mesh.box is not None and min(problem.mesh.box.cells) < levels[0].coarser:
        said.append(f"optimizer.levels[0].coarser: got {levels[0].coarser}, and the box has fewer cells in a direction")
    if levels and problem.gradient.source == "dni" and problem.gradient.dni.solver_ranks:
        said.append("optimizer.levels: not with gradient.dni.solver_ranks, which solve on one grid; leave one of them")
    return said


def _robust(problem: Problem) -> list[str]:
    """Complaints about a robust design where it is not known which realisation is the worst (local)."""
    if problem.design.robust is None:
        return []
    said, projection = [], problem.design.projection
    if projection is None or projection.eta != 0.5 or problem.design.filter.radius is None:
        said.append("design.robust: needs a filter and design.projection with eta 0.5")
    plain = problem.objective.kind == "compliance" and {c.kind for c in problem.constraints} == {"volume"}
    if not plain or problem.weighs or problem.warmed or any(support.moves for support in problem.supports):
        said.append(
            "design.robust: the thinner design is the worst one for a compliance under fixed loads and volume "
            "constraints only; leave it out"
        )
    return said


def _check_box(problem: Problem, box: BoxMesh) -> list[str]:
    """Complaints about lengths that do not go together (local)."""
    said = []
    diagonal = math.hypot(*box.size)
    edges = [length / (n * 2**problem.mesh.refine) for length, n in zip(box.size, box.cells, strict=True)]
    shown = " x ".join(f"{edge:.3g}" for edge in edges)
    cells = math.prod(box.cells) * 2 ** (problem.mesh.refine * len(box.size))
    if min(edges) < FLATTEST * diagonal and cells < BEYOND:
        said.append(
            f"mesh.box: cells of {shown} in a box with a diagonal of {diagonal:.3g}; an edge should be at least "
            f"{FLATTEST:g} of it, so that planes and points can be told apart"
        )
    if box.origin is not None and max(map(abs, box.origin)) > FARTHEST * min(edges):
        said.append(
            f"mesh.box.origin: got {list(box.origin)}, so far from zero that cells of {shown} lose their digits; "
            "bring it nearer"
        )
    for i, constraint in enumerate(problem.constraints):
        if not isinstance(constraint, VolumeConstraint) or constraint.region is not None:
            continue
        if constraint.volume_fraction * cells < LEAST:
            said.append(
                f"constraints[{i}].volume_fraction: got {constraint.volume_fraction:g}, next to nothing of {cells} "
                "cells; a structure takes more"
            )
    return said
