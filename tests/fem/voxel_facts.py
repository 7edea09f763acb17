"""Held components, load vectors and complaints of the voxel engine and of the dolfinx path, by nodes: BOX ..."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mpi4py import MPI

import numpy as np
from helpers import main, make_mesh, make_problem, plane
from numpy.typing import NDArray
from voxel_boxes import BOXES, make_voxels, node_numbers, random_region, regions, voxel_node_numbers

from morpho.fem.assembled import AssembledEquation
from morpho.fem.voxel.equation import VoxelEquation
from morpho.fem.voxel.halo import SharedPlanes
from morpho.fem.voxel.loads import assemble_case
from morpho.fem.voxel.supports import hold
from morpho.interfaces import Array
from morpho.mesh.voxels import VoxelMesh
from morpho.problem import Problem

Facts = dict[str, Any]


def problems(name: str) -> dict[str, Problem]:
    """Problems on a box: with every region, with random regions, with everything there is to complain of."""
    box = BOXES[name]
    dim, rng = len(box["cells"]), np.random.default_rng(5)
    value, low, high = [1.0, -2.0, 0.5][:dim], *ends(box)
    every = regions(box)
    some = {f"random {i}": random_region(box, rng) for i in range(10)}
    clamped = {"region": every["side 0 0"]}

    def problem(supports: list[Any], loads: list[Any] | None = None) -> Problem:
        return make_problem({"box": box}, supports=supports, loads=loads or [{}])

    def forces(region: Any) -> list[dict[str, Any]]:
        kinds = ["total", "traction", "point"] + ["line"] * (dim == 3)
        return [{"region": region, kind: value} for kind in kinds] + [{"region": region, "pressure": 0.7}]

    def cases(chosen: dict[str, Any]) -> list[Any]:
        return [{"name": f"case{i}", "forces": [force]} for i, r in enumerate(chosen.values()) for force in forces(r)]

    mixed = [
        {"body": value},
        {"self_weight": [0.3, 0.2, 0.1][:dim]},
        *forces(every["side 0 1"]),
        {"region": plane("x", high[0] + 9), "total": value},
        {"body": [0.1, 0.0, 0.0][:dim]},
    ]
    first, at_end = {"points": [low]}, {"points": [high]}
    return {
        "every region": problem([{"region": r} for r in every.values()], cases(every)),
        "random regions": problem([{"region": r} for r in some.values()], cases(some)),
        "forces together": problem([clamped], [{"forces": mixed}, {"name": "body", "forces": mixed[:1]}]),
        "values": problem(
            [
                {"region": every["side 0 0"], "value": [0.5, -0.25, 0.125][:dim]},
                {"region": every["side 0 1"], "fix": ["y", "x"], "value": [3.0, 2.0]},
                {"region": every["side 1 1"], "fix": "y", "value": -0.25},
                {"region": every["nested"], "fix": "x", "value": 7.0},
            ]
        ),
        "rollers": problem([{"region": every[f"side {axis} 0"], "fix": "xyz"[axis]} for axis in range(dim)]),
        "free along y": problem([{"region": every["side 0 0"], "fix": "x"}]),
        "free to rotate": problem([{"region": first}]),
        "held at two corners": problem([{"region": first}, {"region": at_end, "fix": "y"}]),
        "idle": problem(
            [clamped],
            [
                {"name": "on_held_nodes", "forces": [{"region": every["side 0 0"], "total": value}]},
                {"name": "zero", "forces": [{"region": every["side 0 1"], "traction": [0.0] * dim}]},
                {"name": "opposed", "forces": [{"region": at_end, "point": p} for p in (value, [-v for v in value])]},
                {"name": "weightless", "forces": [{"self_weight": [0.0] * dim}]},
                {"name": "heavy", "forces": [{"self_weight": value}]},
                {"name": "moving", "forces": [{"region": every["side 0 1"], "total": value}]},
                {"name": "empty", "forces": []},
            ],
        ),
        "not idle": problem(
            [clamped | {"value": 0.1}, {"region": every["side 0 1"]}],
            [{"forces": [{"region": every["side 0 0"], "total": value}]}],
        ),
        "moved as a whole": problem(
            [{"region": every["side 0 0"], "value": 0.1}],
            [{"forces": [{"region": every["side 0 0"], "total": value}]}],
        ),
        "held at zero by a vector": problem(
            [{"region": every["side 0 0"], "value": [0.0] * dim}],
            [{"forces": [{"region": every["side 0 0"], "total": value}]}],
        ),
    }


def ends(box: dict[str, Any]) -> tuple[list[float], list[float]]:
    """Lowest and highest corner of a box."""
    low = np.array(box.get("origin") or [0.0] * len(box["size"]))
    return low.tolist(), (low + box["size"]).tolist()


def voxel_facts(comm: MPI.Comm, name: str) -> Facts:
    """What the voxel engine makes of the problems on a box (collective)."""
    found: Facts = {}
    mesh = make_voxels(BOXES[name], comm)
    planes = SharedPlanes(comm, mesh.partition)
    for title, problem in problems(name).items():
        held, _, counts, _ = hold(mesh, problem.supports, mesh.dim, np.zeros(0, np.int64))
        assert held.dofs.dtype == np.int64 and np.all(np.diff(held.dofs) > 0)
        loads, applied = [], []
        for i, case in enumerate(problem.loads):
            forces, came_to = assemble_case(mesh, planes, case, f"loads[{i}]", mesh.dim)
            assert forces.dofs.dtype == np.int64 and np.all(np.diff(forces.dofs) > 0)
            loads.append(forces)
            applied += came_to
        found[f"{title}: counts"] = counts
        arrays = {"held": (held.dofs, np.ones(len(held.dofs))), "values": (held.dofs, held.values)}
        arrays |= {f"load {i}": (forces.dofs, forces.values) for i, forces in enumerate(loads)}
        found |= {f"{title}: {what}": whole for what, whole in on_all_nodes(mesh, arrays).items()}
        _say(found, title, applied, VoxelEquation(mesh, problem).complaints)
    return found


def on_all_nodes(mesh: VoxelMesh, sparse: dict[str, tuple[NDArray[np.int64], Array]]) -> dict[str, Array]:
    """(nodes, dim) from each (dofs, values), in the order of the nodes of the whole box, zero elsewhere (collective).

    Every rank must have the same on a node that it shares.
    """
    nz, ny, nx = mesh.node_shape
    mine = np.zeros((len(sparse), nz, ny, mesh.dim, nx))
    for array, (dofs, values) in zip(mine, sparse.values(), strict=True):
        array.reshape(-1)[dofs] = values
    whole = np.full((len(sparse), mesh.n_nodes_global, mesh.dim), np.nan)
    for nodes, part in mesh.comm.allgather((voxel_node_numbers(mesh), np.moveaxis(mine, 3, 4))):
        earlier = whole[:, nodes]
        np.testing.assert_array_equal(part[~np.isnan(earlier)], earlier[~np.isnan(earlier)])
        whole[:, nodes] = part
    assert not np.isnan(whole).any()
    return dict(zip(sparse, whole, strict=True))


def dolfinx_facts(comm: MPI.Comm, name: str) -> Facts:
    """What the dolfinx path makes of the problems on a box (collective)."""
    found: Facts = {}
    mesh = make_mesh({"box": BOXES[name]}, comm)
    for title, problem in problems(name).items():
        physics = AssembledEquation(mesh, problem)
        owned = physics.owned // mesh.dim
        nodes = node_numbers(BOXES[name], physics.V.tabulate_dof_coordinates()[:owned])

        def by_node(values: NDArray[Any], nodes: NDArray[np.int64] = nodes) -> NDArray[Any]:
            whole = np.zeros((int(np.prod(np.array(BOXES[name]["cells"]) + 1)), mesh.dim))
            for at, part in comm.allgather((nodes, values.reshape(-1, mesh.dim)[: len(nodes)])):
                whole[at] = part
            return whole

        held, values = np.zeros((2, len(physics.V.tabulate_dof_coordinates()) * mesh.dim))
        for condition in physics.conditions:
            condition.set(values)
            held[condition.dof_indices()[0]] = 1
        found[f"{title}: counts"] = physics.held
        found[f"{title}: held"] = by_node(held)
        found[f"{title}: values"] = by_node(values)
        for i, load in enumerate(physics.loads):
            found[f"{title}: load {i}"] = by_node(load)
        _say(found, title, physics.applied, physics.complaints)
    return found


def _say(found: Facts, title: str, applied: list[Any], said: list[str]) -> None:
    found[f"{title}: resultants"] = np.array([a.total for a in applied])
    for a in applied:
        found[f"{title}: target of {a.place}"] = f"{a.target} {a.complaint}"
    found[f"{title}: complaints"] = "\n".join(said)


def of_boxes(facts: Callable[[MPI.Comm, str], Facts], comm: MPI.Comm, *names: str) -> Facts:
    """The facts of several boxes (collective)."""
    return {f"{name}, {fact}": value for name in names for fact, value in facts(comm, name).items()}


if __name__ == "__main__":
    import sys

    main(lambda comm, *names: of_boxes(voxel_facts, comm, *names), *sys.argv[1:])
