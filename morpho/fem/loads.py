"""Load vectors: each force or heat source spread over what its region really touches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from morpho.fem.forms import Form, cell_measure, cell_space
from morpho.fem.statics import moment_of, nodal_forces
from morpho.interfaces import Array
from morpho.late import dmesh, fem, la, ufl
from morpho.mesh import Mesh
from morpho.mesh.mesh import Indices
from morpho.mesh.select import advice, left_inside, on_boundary, select
from morpho.mesh.voxels import VoxelMesh
from morpho.parallel import any_rank, global_sum
from morpho.problem.acting import Force, HeatSource, LoadCase
from morpho.problem.regions import Region
from morpho.problem.spec import Problem

MEASURES = ("vertices", "length", "area", "volume")
E = TypeVar("E")
Acting = Force | HeatSource


@dataclass(frozen=True)
class Target(Generic[E]):
    """The entities a force acts on. Not valid if `complaint` says why."""

    dim: int
    entities: E  #: local, in the way of the mesh
    measure: float  #: total length or area, or number of vertices, on all ranks
    inside: bool = False  #: facets within the body, as the region has none on its boundary
    complaint: str = ""
    left_out: int = 0  #: facets within the body, beside those on its boundary

    @cached_property
    def text(self) -> str:
        if self.dim == 0:
            return f"{self.measure:g} {'vertex' if self.measure == 1 else 'vertices'}"
        without = f" of the boundary, without {self.left_out} facets inside the body" if self.left_out else ""
        return f"{MEASURES[self.dim]} {self.measure:.6g}" + (" inside the body" if self.inside else without)

    def density(self, force: Acting) -> Array:
        """(components,) per volume, area, length or vertex of this target; (1,) for a pressure."""
        value = np.array(force.density)
        return value / self.measure if force.kind == "total" else value


@dataclass(frozen=True)
class Resultant:
    """What a force comes to."""

    total: Array  #: (components,)
    moment: Array  #: (3,) about the origin
    complaint: str = ""  #: why it cannot act there


@dataclass(frozen=True)
class AppliedForce:
    """What a force came to on this mesh, for the user to check."""

    place: str
    target: str
    total: Array  #: (components,) resultant
    complaint: str = ""
    moment: Array = field(default_factory=lambda: np.zeros(3))  #: (3,) about the origin


def apply_forces(
    mesh: Mesh | VoxelMesh,
    case: LoadCase,
    place: str,
    entities: Callable[[Region, int], tuple[E, float, bool]],
    spread: Callable[[Acting, Target[E] | None], Resultant],
) -> list[AppliedForce]:
    """Apply the forces of a case, but for self weight, one after the other, and say what each came to (collective).

    `entities` gives those of a region and a dimension, their total measure, and whether they are facets inside the
    body. `spread` adds a force on its target, or everywhere, to the load vector and gives what it came to.
    """
    applied = []
    for key, force in case.acting:
        where = f"{place}.{key}"
        if isinstance(force, Force) and force.self_weight is not None:
            weight = np.array(force.self_weight) * mesh.total_volume
            moment = np.asarray(np.cross(_middle(mesh), np.pad(weight, (0, 3 - len(weight)))), np.float64)
            applied.append(AppliedForce(where, "everywhere, at full density", weight, moment=moment))
        elif force.region is None:
            came = spread(force, None)
            applied.append(AppliedForce(where, "everywhere", came.total, came.complaint, came.moment))
        else:
            found = find_target(mesh, force, entities)
            if found.complaint:
                nothing = np.zeros(mesh.dim if isinstance(force, Force) else 1)
                applied.append(AppliedForce(where, "nothing", nothing, f"{where}.region: {found.complaint}"))
            else:
                came = spread(force, found)
                said = f"{where}.region: {came.complaint}" if came.complaint else ""
                applied.append(AppliedForce(where, found.text, came.total, said, came.moment))
    return applied


def _middle(mesh: Mesh | VoxelMesh) -> Array:
    """(3,) centre of the volume (collective)."""
    if isinstance(mesh, VoxelMesh):
        if mesh.filled is None:
            return np.asarray(sum(mesh.corners) / 2)
        total = sum((x.sum(axis=0) for x in mesh.places(cells=True)), np.zeros(3))
        return np.asarray(mesh.comm.allreduce(total) / mesh.n_global)
    return np.asarray(mesh.comm.allreduce(mesh.volumes @ mesh.centers) / mesh.total_volume)


def find_target(
    mesh: Mesh | VoxelMesh, force: Acting, entities: Callable[[Region, int], tuple[E, float, bool]]
) -> Target[E]:
    """Facets for traction, pressure and flux, edges for line loads, vertices for point loads, cells for a power; the
    largest of these for a total force or source (collective)."""
    assert force.region is not None
    facet, wanted = mesh.dim - 1, force.dims(mesh.dim)
    for dim in wanted:
        found, measure, inside = entities(force.region, dim)
        if measure > 0:
            said = f"all facets of {force.region} are inside the body, where a pressure has no side; give traction"
            left_out = left_inside(mesh, force.region) if isinstance(mesh, Mesh) and dim == facet and not inside else 0
            return Target(dim, found, measure, inside, said if inside and force.kind == "pressure" else "", left_out)
    names = {0: "vertex", 1: "edge", facet: "facet", mesh.dim: "cell"} if mesh.dim == 3 else ("vertex", "edge", "cell")
    what = " or ".join(names[d] for d in wanted)
    boundary = "boundary " if mesh.dim not in wanted else ""
    cure = advice(mesh, force.region, cells=wanted == [mesh.dim])
    return Target(dim, found, 0.0, False, f"no {boundary}{what} lies in {force.region}; {cure}")


def idle_cases(problem: Problem, acting: list[bool], rigid: bool) -> list[str]:
    """Complaints about load cases that cannot strain anything (local).

    Args:
        acting: of each load vector, whether it is nonzero at a component that is not held.
        rigid: whether the supports stay, or move the body as a whole.
    """
    if not rigid:
        return []
    moving = any(support.moves for support in problem.supports)
    said = []
    for i, (case, acts) in enumerate(zip(problem.loads, acting, strict=True)):
        weighs = any(f.self_weight is not None and any(f.self_weight) for f in case.forces)
        if moving and not acts and not weighs:
            said.append(
                f"supports[0].temperature: the body is held at one temperature, and case {case.name!r} has no source"
                if problem.physics == "heat"
                else "supports.value: the supports move the body as a whole, which strains nothing, and case "
                f"{case.name!r} has no force; hold some of them, or add a force"
            )
        elif case.acting and not acts and not weighs:
            what = "sources" if case.sources else "forces"
            held = "where the temperature is held" if case.sources else "on held components"
            said.append(f"loads[{i}]: the {what} of case {case.name!r} are zero, or act {held} only")
    return said


def entity_measure(mesh: Mesh, dim: int, entities: Indices) -> float:
    """Total length, area or number of entities, each counted once over all ranks (collective)."""
    owned = entities[entities < mesh.domain.topology.index_map(dim).size_local]
    if dim == 0:
        return global_sum(mesh.comm, np.ones(len(owned)))
    return global_sum(mesh.comm, _measures(mesh, dim, owned))


def _measures(mesh: Mesh, dim: int, entities: Indices) -> Array:
    if len(entities) == 0:
        return np.zeros(0)
    x = mesh.domain.geometry.x[dmesh.entities_to_geometry(mesh.domain, dim, entities)]
    if dim == 1:
        return np.asarray(np.linalg.norm(x[:, 1] - x[:, 0], axis=1))
    first = np.cross(x[:, 1] - x[:, 0], x[:, 2] - x[:, 0])
    area = 0.5 * np.linalg.norm(first, axis=1)
    if x.shape[1] == 4:  # vertices 0 1 3 2 run around the facet
        area += 0.5 * np.linalg.norm(np.cross(x[:, 1] - x[:, 3], x[:, 2] - x[:, 3]), axis=1)
    return np.asarray(area)


def assemble_case(mesh: Mesh, V: fem.FunctionSpace, case: LoadCase, place: str) -> tuple[Array, list[AppliedForce]]:
    """Load vector of a case, without self weight, and what each force came to (collective).

    Returns:
        Owned entries of the vector (unrolled dofs), summed over ranks; the applied forces.
    """
    vector = np.zeros(node_entries(V))

    def entities(region: Region, dim: int) -> tuple[Indices, float, bool]:
        found = select(mesh, region, dim)
        if dim == mesh.dim:
            found = found[found < mesh.n]
            return found, global_sum(mesh.comm, mesh.volumes[found]), False
        inside = dim == mesh.dim - 1 and not any_rank(mesh.comm, len(on_boundary(mesh, found)) > 0)
        return found, entity_measure(mesh, dim, found), inside

    components = V.dofmap.index_map_bs

    x = V.tabulate_dof_coordinates()[: V.dofmap.index_map.size_local]

    def spread(force: Acting, target: Target[Indices] | None) -> Resultant:
        before, complaint = _reduced(V, vector), ""
        if target is None:
            everywhere = Target(mesh.dim, np.arange(mesh.n, dtype=np.int32), mesh.total_volume)
            density = _constant(mesh, everywhere.density(force))
            _add(vector, ufl.inner(density, ufl.TestFunction(V)) * cell_measure(mesh, _degree(V)))
        elif isinstance(force, Force) and force.is_equivalent:
            shares, inwards = _shares(mesh, V, force, target)
            found = nodal_forces(mesh.comm, force, x, shares, inwards)
            if isinstance(found, str):
                complaint = found
            else:
                vector[: found.size] += found.ravel()
        else:
            _apply(mesh, V, force, target, vector)
        change = (_reduced(V, vector) - before).reshape(-1, components)
        total = np.array([global_sum(mesh.comm, change[:, i]) for i in range(components)])
        rounding = 1e-12 * global_sum(mesh.comm, np.abs(change))
        moment = moment_of(mesh.comm, x, change) if components > 1 else np.zeros(3)
        return Resultant(np.where(np.abs(total) <= rounding, 0.0, total), moment, complaint)

    applied = apply_forces(mesh, case, place, entities, spread)
    return _reduced(V, vector), applied


def _apply(mesh: Mesh, V: fem.FunctionSpace, force: Acting, target: Target[Indices], vector: Array) -> None:
    """Add a force on its target to this rank's share of the load vector (collective)."""
    share = target.density(force)
    if target.dim == mesh.dim:
        inside = fem.Function(cell_space(mesh))
        inside.x.array[inside.function_space.dofmap.list[target.entities, 0]] = 1.0
        v = ufl.TestFunction(V)
        _add(vector, inside * ufl.inner(_constant(mesh, share), v) * cell_measure(mesh, _degree(V)))
    elif target.dim == mesh.dim - 1:
        sides = _one_side(mesh, target.entities)
        ds = ufl.Measure("ds", domain=mesh.domain, subdomain_data=[(0, sides)])(0)
        v = ufl.TestFunction(V)
        if force.kind == "pressure":
            scale = fem.Constant(mesh.domain, float(share[0]))
            _add(vector, -scale * ufl.inner(ufl.FacetNormal(mesh.domain), v) * ds)
        else:
            _add(vector, ufl.inner(_constant(mesh, share), v) * ds)
    elif target.dim == 1:
        _add_edges(mesh, V, target.entities, share, vector)
    else:
        owned = target.entities[target.entities < mesh.domain.topology.index_map(0).size_local]
        nodes = fem.locate_dofs_topological(V, 0, owned, remote=False)
        np.add.at(vector.reshape(-1, len(share)), nodes, share)


def _shares(mesh: Mesh, V: fem.FunctionSpace, force: Force, target: Target[Indices]) -> tuple[Array, Array]:
    """What a uniform traction and pressure come to at each owned node: (nodes,), (nodes, dim) (collective)."""
    along = (target.measure, *(0.0,) * (mesh.dim - 1))
    units = [Force(region=force.region, total=along)]
    if force.kind == "bearing":
        units.append(Force(region=force.region, pressure=1.0))
    found = []
    for unit in units:
        nodal = np.zeros(node_entries(V))
        _apply(mesh, V, unit, target, nodal)
        found.append(_reduced(V, nodal).reshape(-1, mesh.dim))
    return found[0][:, 0], found[-1] if len(found) > 1 else np.zeros_like(found[0])


def _one_side(mesh: Mesh, facets: Indices) -> Indices:
    """Pairs (cell, facet of the cell) of owned facets, flat: each once, inside the body as well (local)."""
    topology, facet = mesh.domain.topology, mesh.dim - 1
    owned = facets[facets < topology.index_map(facet).size_local]
    if not len(owned):
        return np.empty(0, dtype=np.int32)
    to_cell, to_facet = topology.connectivity(facet, mesh.dim), topology.connectivity(mesh.dim, facet)
    cells = to_cell.array[to_cell.offsets[owned]]
    local = np.argmax(to_facet.array.reshape(mesh.n, -1)[cells] == owned[:, None], axis=1)
    return np.stack([cells, local], axis=1).astype(np.int32).ravel()


def _add_edges(mesh: Mesh, V: fem.FunctionSpace, edges: Indices, density: Array, vector: Array) -> None:
    """Consistent nodal forces of a constant force per length: (1/2, 1/2), or (1/6, 4/6, 1/6) with a middle node."""
    topology = mesh.domain.topology
    owned = edges[edges < topology.index_map(1).size_local]
    lengths = _measures(mesh, 1, owned)
    to_cell, to_edge = topology.connectivity(1, mesh.dim), topology.connectivity(mesh.dim, 1)
    layout, nodal = V.dofmap.dof_layout, vector.reshape(-1, len(density))
    weights = np.array([1, 1]) / 2 if _degree(V) == 1 else np.array([1, 1, 4]) / 6
    for edge, length in zip(owned, lengths, strict=True):
        cell = to_cell.links(edge)[0]
        local = int(np.flatnonzero(to_edge.links(cell) == edge)[0])
        ends = [d for d in layout.entity_closure_dofs(1, local) if d not in layout.entity_dofs(1, local)]
        nodes = V.dofmap.cell_dofs(cell)[[*ends, *layout.entity_dofs(1, local)]]
        nodal[nodes] += weights[:, None] * density * length


def _constant(mesh: Mesh, value: NDArray[np.float64] | tuple[float, ...]) -> fem.Constant:
    return fem.Constant(mesh.domain, np.asarray(value, dtype=np.float64))


def _degree(V: fem.FunctionSpace) -> int:
    return int(V.ufl_element().degree)


def node_entries(V: fem.FunctionSpace) -> int:
    """Entries of a local vector, owned and ghosted."""
    return int((V.dofmap.index_map.size_local + V.dofmap.index_map.num_ghosts) * V.dofmap.index_map_bs)


def _add(vector: Array, form: Form) -> None:
    fem.assemble_vector(vector, fem.form(form))


def _reduced(V: fem.FunctionSpace, vector: Array) -> Array:
    """Owned entries with the contributions of other ranks added (collective); the argument stays as it is."""
    function = fem.Function(V)
    function.x.array[:] = vector
    function.x.scatter_reverse(la.InsertMode.add)
    owned = V.dofmap.index_map.size_local * V.dofmap.index_map_bs
    return np.array(function.x.array[:owned])
