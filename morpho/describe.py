"""What was understood of a problem, in lines to read before a run, and what looks like a slip."""

from __future__ import annotations

import math

import numpy as np

from morpho.design.build import Design
from morpho.design.realisations import least_length
from morpho.interfaces import Array
from morpho.memory import available, expected, gigabytes
from morpho.mesh import Mesh
from morpho.mesh.voxels import portions
from morpho.parts import Parts
from morpho.problem import Problem
from morpho.problem.acting import Seen
from morpho.problem.base import Continuation, Stages, value_at
from morpho.problem.functional_spec import FunctionalSpec
from morpho.problem.spec import (
    ComplianceConstraint,
    Constraint,
    DisplacementConstraint,
    LocalVolumeConstraint,
    Probe,
    Support,
    TemperatureConstraint,
)
from morpho.version import VERSION

GROUPS = 30  #: that are listed at most
SOFTEST_VOID = 1e-12  #: below it a solve loses its digits
LARGE, TINY = 0.1, 1e-5  #: displacements relative to the size of the part that look like a slip of units
FINE = 1e-5  #: relative residual that a displacement takes


def describe(parts: Parts, stated: Problem | None = None) -> list[str]:
    """What was understood, line by line, and warnings (collective).

    Args:
        stated: the problem as its file says it, where the parts are those of another one.
    """
    problem, mesh, physics = stated or parts.problem, parts.mesh, parts.physics
    low, high = (corner[: mesh.dim] for corner in mesh.corners)
    low = np.where(np.abs(low) < 1e-12 * np.abs(high - low).max(), 0.0, low)
    extent = " x ".join(f"{v:g}" for v in high - low)
    solid, void = (int(mesh.comm.allreduce(len(c))) for c in (parts.design.passive.solid, parts.design.passive.void))
    lines = [
        f"morpho {VERSION}: {problem.name}, {parts.comm.size} rank{'s' * (parts.comm.size > 1)}",
        f"mesh: {mesh.n_global} {mesh.cell_name} cells of mean size {mesh.cell_size:.4g}, domain {extent}",
        f"bounds: {_vector(low)} to {_vector(high)}, {'area' if mesh.dim == 2 else 'volume'} {mesh.total_volume:.6g}",
        *_groups(parts),
        _material(problem, mesh.dim),
        f"objective: {_objective(problem)}",
        *(f"constraints[{i}]: {_constraint(c)}" for i, c in enumerate(problem.constraints)),
        f"design: {parts.design.n_design} variables, {solid} solid and {void} void cells",
        _filter(problem, mesh.cell_size),
        _projection(problem),
        *(f"rule: {text}" for text in parts.design.making.words),
        *(f"note: {text}" for text in parts.design.making.notes),
        f"state: {physics.n_dofs} unknowns, solver {physics.preset}",
        *(f"note: {text}" for text in physics.notes),
    ]
    for i, (support, count) in enumerate(zip(problem.supports, physics.held, strict=True)):
        lines.append(f"supports[{i}]: {count} nodes, {_held(support)}")
    for applied in physics.applied:
        acts = f"heat {applied.total[0]:.6g}" if len(applied.total) == 1 else f"resultant {_vector(applied.total)}"
        lines.append(f"{applied.place}: on {applied.target}, {acts}")
    lines += [f"{t.place}: on {t.target}" for t in physics.touched]
    for i, case in enumerate(problem.loads):
        acting = [a.total for a in physics.applied if a.place.startswith(f"loads[{i}]")]
        total = sum(acting, np.zeros(physics.components))
        turning = sum((a.moment for a in physics.applied if a.place.startswith(f"loads[{i}]")), np.zeros(3))
        about = f"moment about the origin {_vector(turning) if mesh.dim == 3 else f'{turning[2]:.6g}'}"
        heat = f"total heat {total[0]:.6g}"
        what = heat if physics.components == 1 else f"total force {_vector(total)}, {about}"
        lines.append(f"load case {case.name}: weight {case.weight:g}, {what}")
    lines.append(f"gradient: {problem.gradient.source}; optimizer: {problem.update}")
    cells = mesh.n_global if isinstance(mesh, Mesh) else math.prod(mesh.cells)
    needed = expected(problem, cells, physics.n_dofs, mesh.cell_size, mesh.dim, parts.comm.size)
    lines.append(f"memory: about {gigabytes(needed)} expected, {gigabytes(available(parts.comm))} there")
    loose = [f"solver.rtol: {problem.solver.rtol:g} is loose for a displacement, which may be small; give 1e-5 or less"]
    slips = loose if problem.probes and problem.solver.rtol > FINE else []
    slips += _slips(problem, mesh.cell_size, float(np.linalg.norm(high - low))) + _coarseness(parts.design)
    return lines + [f"warning: {text}" for text in slips]


def without_code(problem: Problem) -> Problem:
    """The problem with a black box of morpho's own in place of the code that its file names (local)."""
    if problem.objective.function is None:
        return problem
    return problem.model_copy(update={"objective": problem.objective.model_copy(update={"value": "thresholded"})})


def displacement_slips(parts: Parts) -> list[str]:
    """What the displacements of the last solve say of the units (collective).

    A problem whose modulus and forces are at most 1 has none.
    """
    mesh, physics = parts.mesh, parts.physics
    if physics.components == 1:
        return []
    fields = [physics.vertex_rows(i) for i in range(len(physics.cases))]
    peaks = [np.abs(rows[part]).max(initial=0) for rows in fields for part in portions(len(rows))]
    largest = max(mesh.comm.allgather(float(max(peaks, default=0))))
    low, high = mesh.corners
    size = float(np.linalg.norm(high - low))
    normalised = parts.problem.material.E == 1 and all(np.abs(a.total).max() <= 1 + 1e-9 for a in physics.applied)
    moves = f"in the first design the part moves by up to {largest:.3g}, {largest / size:.2g} times its size"
    check = "check the units of lengths, loads and material.E"
    if largest > LARGE * size and not normalised:
        return [f"warning: {moves}, while displacements are taken as small; {check}"]
    if 0 < largest < TINY * size:
        return [f"warning: {moves}, which is very little; {check}"]
    return []


def _groups(parts: Parts) -> list[str]:
    """Every named group of a mesh file, with the entities it marks (collective)."""
    mesh = parts.mesh
    if not isinstance(mesh, Mesh):
        return []
    topology = mesh.domain.topology
    counts: dict[str, list[str]] = {}
    shown = {
        name: tags for name, tags in mesh.tags.items() if not (parts.problem.mesh.is_cad and name.startswith("face "))
    }
    for name, by_dimension in sorted(shown.items()):
        for dim, entities in sorted(by_dimension.items()):
            topology.create_entities(dim)
            owned = int(np.count_nonzero(entities < topology.index_map(dim).size_local))
            count = mesh.comm.allreduce(owned)
            counts.setdefault(name, []).append(f"{count} {mesh.entity_name(dim)}")
    lines = [f"group {name}: {', '.join(counts[name])}" for name in sorted(counts)]
    return lines if len(lines) <= GROUPS else [*lines[:GROUPS], f"and {len(lines) - GROUPS} more groups"]


def _material(problem: Problem, dim: int) -> str:
    material = problem.material
    if problem.physics == "heat":
        return (
            f"material: conductivity {material.conductivity:g}, {material.interpolation} with penalty "
            f"{_schedule(problem.penalty)}, void {material.E_min_ratio:g} of it"
        )
    plane = f", plane {material.plane}" if dim == 2 else ""
    return (
        f"material: E {material.E:g}, nu {material.nu:g}{plane}, {material.interpolation} with penalty "
        f"{_schedule(problem.penalty)}, void {material.E_min_ratio:g} of E"
    )


def _objective(problem: Problem) -> str:
    if isinstance(problem.objective, FunctionalSpec):
        return f"{'least' if problem.objective.sign > 0 else 'highest'} {problem.objective.name}"
    if problem.objective.function is not None:
        path, name = problem.objective.function
        return f"black box, {name} in {path}, which runs with --allow-code only"
    if problem.objective.kind == "black_box":
        return "black box, compliance of the 0/1 design of equal volume"
    if problem.objective.kind == "volume":
        return "least volume"
    if problem.objective.probe is not None:
        return f"least {_probed(problem.objective.probe)}"
    many = len(problem.loads) > 1
    thermal = "thermal " if problem.physics == "heat" else ""
    if problem.objective.over == "worst":
        return f"least {thermal}compliance of the worst of {len(problem.loads)} load cases"
    return f"least {thermal}compliance" + (f", weighted sum of {len(problem.loads)} load cases" if many else "")


def _constraint(constraint: Constraint) -> str:
    if isinstance(constraint, ComplianceConstraint):
        return f"compliance {f'of case {constraint.case} ' if constraint.case else ''}at most {constraint.max:g}"
    if isinstance(constraint, LocalVolumeConstraint):
        where = f" in {constraint.region}" if constraint.region is not None else ""
        return f"volume fraction within {constraint.radius:g} of every cell{where} at most {constraint.max:g}"
    if isinstance(constraint, DisplacementConstraint | TemperatureConstraint | FunctionalSpec):
        limits = {"at most": constraint.max, "at least": constraint.min}
        said = " and ".join(f"{word} {limit:g}" for word, limit in limits.items() if limit is not None)
        named = constraint.name if isinstance(constraint, FunctionalSpec) else _probed(constraint.probe)
        return f"{named} {said}"
    where = f" in {constraint.region}" if constraint.region is not None else ""
    return f"volume fraction{where} at most {constraint.volume_fraction:g}"


def _held(support: Support) -> str:
    if support.temperature is not None:
        return f"temperature {support.temperature:g}"
    fixed = "all" if support.components is None else " ".join("xyz"[c] for c in support.components)
    return f"components {fixed}, value {support.value}"


def _probed(probe: Seen) -> str:
    if not isinstance(probe, Probe):
        where = f" of {probe.region}" if probe.region is not None else ""
        return f"mean temperature{where}" + (f", case {probe.case}" if probe.case else "")
    direction = probe.direction if isinstance(probe.direction, str) else _vector(np.array(probe.direction))
    return f"displacement of {probe.region} along {direction}" + (f", case {probe.case}" if probe.case else "")


def _filter(problem: Problem, cell_size: float) -> str:
    kind = problem.design.filter.kind
    if problem.radius is None:
        return "filter: none"
    radii = sorted(set(problem.radii.values()))
    elements = " to ".join(f"{radius / cell_size:.2f}" for radius in dict.fromkeys((radii[0], radii[-1])))
    nothing = ", less than one element: it does nothing" if radii[0] < cell_size and kind != "helmholtz" else ""
    return f"filter: {kind}, radius {_schedule(problem.radius)} = {elements} elements{nothing}"


def _projection(problem: Problem) -> str:
    projection = problem.design.projection
    if projection is None or problem.beta is None:
        return "projection: none"
    said = f"projection: eta {projection.eta:g}, beta {_schedule(problem.beta)}"
    robust = problem.design.robust
    if robust is None or problem.radius is None:
        return said
    length = least_length(robust.eta) * value_at(problem.radius, problem.optimizer.max_iterations)
    return (
        f"{said}; robust, thinner at {1 - robust.eta:g} and thicker at {robust.eta:g}: members and holes at least "
        f"about {length:.3g} wide (Qian & Sigmund 2013)"
    )


def _schedule(schedule: float | Continuation | Stages) -> str:
    if isinstance(schedule, Stages):
        ends = [
            f"{value:g} up to iteration {until}" for until, value in zip(schedule.until, schedule.values, strict=False)
        ]
        return ", ".join([*ends, f"{schedule.values[-1]:g} from there on"])
    if not isinstance(schedule, Continuation):
        return f"{schedule:g}"
    change = f"times {schedule.factor:g}" if schedule.factor is not None else f"plus {schedule.step:g}"
    return f"from {schedule.start:g} to {schedule.max:g}, {change} every {schedule.every} iterations"


def _slips(problem: Problem, cell_size: float, diagonal: float) -> list[str]:
    """What can be solved but is hardly meant (local)."""
    said = []
    if not problem.radii:
        said.append(
            "there is no filter, so the design can become a checkerboard, which is not as stiff as it is computed; "
            f"set design.filter, for instance {{kind: cone, radius: {2 * cell_size:.3g}}} (two elements)"
        )
    for radius in sorted(set(problem.radii.values())):
        if radius < cell_size and problem.design.filter.kind != "helmholtz":
            said.append(
                f"the filter radius {radius:g} is less than one element ({cell_size:.3g}), so that no filter is in "
                "effect; about two elements are usual"
            )
        elif radius > diagonal:
            said.append(
                f"the filter radius {radius:g} is larger than the whole part ({diagonal:.3g}), which makes all "
                "densities nearly equal; about two elements are usual"
            )
    if problem.material.E_min_ratio < SOFTEST_VOID:
        said.append(
            f"material.E_min_ratio {problem.material.E_min_ratio:g} is below {SOFTEST_VOID:g}: the solves lose their "
            "digits where void meets solid; 1e-9 is usual"
        )
    return said


def _coarseness(design: Design) -> list[str]:
    """Where a Helmholtz filter is wider than asked for (local)."""
    if not design.too_coarse:
        return []
    where = "" if design.too_coarse > 0.999 else f" in {design.too_coarse:.2g} of the volume"
    return [
        f"the mesh is too coarse for the filter radius{where}: cells longer than radius / 1.7 smooth more than that"
    ]


def _vector(v: Array) -> str:
    return "(" + ", ".join(f"{c:.6g}" for c in np.where(np.abs(v) < 1e-12 * max(np.abs(v).max(), 1e-300), 0, v)) + ")"
