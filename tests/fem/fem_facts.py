"""What has to be the same on any number of ranks about loads, supports and solutions: FILE_3D."""

from __future__ import annotations

from typing import Any

from mpi4py import MPI

import numpy as np
from helpers import CELLS, DIM, box, by_key, evaluate, main, make_mesh, make_problem, plane, random_cells, resultant

from morpho.fem.assembled import AssembledEquation
from morpho.parts import Parts


def facts(comm: MPI.Comm, path: str) -> dict[str, Any]:
    """Numbers and texts that do not depend on the ranks, flat by name (collective)."""
    found: dict[str, Any] = {}
    for cell in CELLS:
        for degree in (1, 2):
            _loads(found, comm, cell, degree)
    for degree in (1, 2):
        _tags(found, comm, path, degree)
    _complaints(found, comm)
    for preset in ("direct", "multigrid", "hypre"):
        _solution(found, comm, "hexahedron", {"preset": preset, "rtol": 1e-10})
    for cell in CELLS:
        _solution(found, comm, cell, {"degree": 2})
    for cell, rule in (("triangle", "cone"), ("hexahedron", "helmholtz")):
        _chain(found, comm, cell, rule)
    return found


def _loads(found: dict[str, Any], comm: MPI.Comm, cell: str, degree: int) -> None:
    dim = DIM[cell]
    value, part = [1.0, -2.0, 0.5][:dim], box([3] * dim, [2.0, 1.0, 0.5][:dim], cell)
    forces = {
        "total on a face": {"region": plane("x", 2), "total": value},
        "total on an edge": {"region": {"all_of": [plane("x", 2), plane("y", 1)]}, "total": value},
        "total on points": {"region": {"points": [[0, 0, 0][:dim], [1.9, 1.1, 0.3][:dim]]}, "total": value},
        "traction": {"region": {"any_of": [plane("x", 2), plane("y", 0)]}, "traction": value},
        "pressure": {"region": plane("y", 1), "pressure": 0.7},
        "point": {"region": plane("x", 2), "point": value},
        "body": {"body": value},
        "self weight": {"self_weight": value},
    }
    if dim == 3:
        forces["line"] = {"region": {"all_of": [plane("y", 1), plane("z", 0.5)]}, "line": value}
        forces["line on all edges of a face"] = {"region": plane("y", 1), "line": value}
    loads = [{"name": name.replace(" ", "_"), "forces": [force]} for name, force in forces.items()]
    mesh = make_mesh(part, comm)
    physics = AssembledEquation(mesh, make_problem(part, loads=loads, solver={"degree": degree}))
    rho = random_cells(mesh, 0.1, 1.0)
    for i, name in enumerate(forces):
        force, moment = resultant(physics, i, rho=rho)
        found[f"{name}, {cell} {degree}"] = [*force, *moment]
        found[f"reported {name}, {cell} {degree}"] = physics.applied[i].total
        found[f"target of {name}, {cell} {degree}"] = physics.applied[i].target
    found[f"held, {cell} {degree}"] = physics.held


def _tags(found: dict[str, Any], comm: MPI.Comm, path: str, degree: int) -> None:
    part, value = {"file": path}, [1.0, -2.0, 0.5]
    tags = ("right", "edge", "corner")
    loads = [{"name": tag, "forces": [{"region": tag, "total": value}]} for tag in tags]
    supports = [{"region": tag, "fix": "x"} for tag in ("left", "edge", "corner", "block")]
    problem = make_problem(part, loads=loads, supports=supports, solver={"degree": degree})
    physics = AssembledEquation(make_mesh(part, comm), problem)
    for i, tag in enumerate(tags):
        force, moment = resultant(physics, i)
        found[f"tag {tag} {degree}"] = [*force, *moment]
        found[f"target of tag {tag} {degree}"] = physics.applied[i].target
    found[f"held by tags {degree}"] = physics.held


def _complaints(found: dict[str, Any], comm: MPI.Comm) -> None:
    part = box([4, 2], [2.0, 1.0])
    nothing = [{"forces": [{"region": plane("x", 7), "total": [1, 0]}]}]
    supports = {
        "floating": [{"region": plane("x", 0), "fix": "x"}],
        "contradicting": [{"region": plane("x", 0)}, {"region": plane("y", 0), "value": 1.0}],
        "nothing": [{"region": plane("x", 0)}, {"region": plane("x", 9)}],
    }
    for name, held in supports.items():
        physics = AssembledEquation(make_mesh(part, comm), make_problem(part, loads=nothing, supports=held))
        found[f"complaints: {name}"] = "\n".join(physics.complaints)


def _solution(found: dict[str, Any], comm: MPI.Comm, cell: str, solver: dict[str, Any]) -> None:
    dim = DIM[cell]
    part = box([4, 3, 2][:dim], [2.0, 1.0, 1.0][:dim], cell)
    force, gravity = [0.3, -1.0, 0.5][:dim], [0.1, -0.5, 0.2][:dim]
    loads = [
        {"name": "a", "forces": [{"region": plane("x", 2), "total": force}]},
        {"name": "b", "forces": [{"region": plane("y", 1), "traction": force}, {"self_weight": gravity}]},
    ]
    supports = [{"region": plane("x", 0)}, {"region": {"points": [[2, 0, 0][:dim]]}, "fix": "y", "value": 0.2}]
    problem = make_problem(part, loads=loads, supports=supports, solver=solver, material={"E_min_ratio": 1e-3})
    mesh = make_mesh(part, comm)
    with AssembledEquation(mesh, problem) as physics:
        state = physics.solve(random_cells(mesh, 0.1, 1.0))
        name = f"{cell} {solver}"
        found[f"compliance, {name}"] = state.compliance
        for i in range(2):
            found[f"derivative {i}, {name}"] = by_key(mesh, state.d_compliance[i])
        corner = physics.vertex_displacement(1)
        found[f"largest displacement, {name}"] = [comm.allreduce(float(np.abs(corner).max(initial=0)), MPI.MAX)]


def _chain(found: dict[str, Any], comm: MPI.Comm, cell: str, rule: str) -> None:
    from test_taylor import problem

    with Parts(problem(cell, rule), comm) as parts:
        evaluation = evaluate(parts, random_cells(parts.mesh, 0.3, 0.7))
        found[f"values, {cell} {rule}"] = [evaluation.objective, *evaluation.constraints]
        for i, d in enumerate([evaluation.d_objective, *evaluation.d_constraints]):
            found[f"d {i}, {cell} {rule}"] = by_key(parts.mesh, d)


if __name__ == "__main__":
    import sys

    main(facts, sys.argv[1])
