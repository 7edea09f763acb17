"""Checks across the parts of a problem: everything that can be seen without a mesh, all at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from morpho.problem.regions import Region
from morpho.problem.spec import Problem, VolumeConstraint


def regions(problem: Problem) -> Iterator[tuple[str, Region]]:
    """Every region of the problem with its place in the file."""
    for i, support in enumerate(problem.supports):
        yield f"supports[{i}].region", support.region
    for i, case in enumerate(problem.loads):
        for j, force in enumerate(case.forces):
            if force.region is not None:
                yield f"loads[{i}].forces[{j}].region", force.region
    for i, constraint in enumerate(problem.constraints):
        if isinstance(constraint, VolumeConstraint) and constraint.region is not None:
            yield f"constraints[{i}].region", constraint.region
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
    for i, case in enumerate(problem.loads):
        for j, force in enumerate(case.forces):
            value = getattr(force, force.kind)
            if isinstance(value, tuple):
                vector(f"loads[{i}].forces[{j}].{force.kind}", value)
            if force.kind == "line" and dim == 2:
                said.append(f"loads[{i}].forces[{j}].line: a 2-D mesh has no line loads; use traction")
    return said


def check_consistency(problem: Problem) -> list[str]:
    """Complaints about parts that contradict each other (local)."""
    said = []
    cases = Counter(case.name for case in problem.loads)
    for name, count in cases.items():
        if count > 1:
            said.append(f"loads: {count} cases are called {name!r}; give each case its own name")
    moving = any(s.value != 0.0 for s in problem.supports)
    for i, case in enumerate(problem.loads):
        if not case.forces and not moving:
            said.append(f"loads[{i}].forces: no force and no prescribed displacement; the case does nothing")
    for i, constraint in enumerate(problem.constraints):
        if constraint.kind == "compliance" and constraint.case is not None and constraint.case not in cases:
            said.append(
                f"constraints[{i}].case: there is no load case {constraint.case!r}; the cases are {', '.join(cases)}"
            )
    kinds = [constraint.kind for constraint in problem.constraints]
    if problem.objective.kind == "volume" and "compliance" not in kinds:
        said.append("constraints: the least volume is none at all; add a constraint of kind compliance")
    if problem.objective.kind == "black_box":
        if problem.gradient.source != "guided_es":
            said.append(
                f"gradient.source: {problem.gradient.source} needs the derivative of the objective, and a black box "
                "has values only; use guided_es"
            )
        if "compliance" in kinds:
            said.append("constraints: beside a black box only constraints of kind volume are possible")
    if problem.optimizer.kind == "oc" and problem.weighs:
        said.append(
            "optimizer.kind: oc needs an objective that falls wherever material is added, and with self weight it may "
            "rise; use mma, or leave kind out"
        )
    if problem.optimizer.kind == "oc" and (kinds != ["volume"] or problem.objective.kind == "volume"):
        said.append("optimizer.kind: oc takes compliance with one volume constraint; use mma")
    if problem.design.filter.kind == "sensitivity" and problem.design.projection is not None:
        said.append("design.projection: a sensitivity filter leaves the density as it is; use a cone filter")
    if problem.mesh.dimension is not None:
        said += check_dimension(problem, problem.mesh.dimension)
    return said
