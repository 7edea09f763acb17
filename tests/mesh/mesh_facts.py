"""What has to be the same on any number of ranks about a mesh: FILE_2D FILE_3D."""

from __future__ import annotations

from typing import Any

from mpi4py import MPI

import numpy as np
from helpers import CELLS, DIM, box, by_key, main, make_mesh, plane

from morpho.fem.loads import entity_measure
from morpho.mesh import Mesh
from morpho.mesh.select import select
from morpho.problem.regions import Region

REGIONS: dict[str, Any] = {
    "plane": plane("x", 1),
    "box": {"box": {"min": [0.5, 0.4, 0.0], "max": [1.0, 1.0, 1.0]}},
    "sphere": {"sphere": {"center": [1, 1, 1], "radius": 0.8}},
    "cylinder": {"cylinder": {"center": [0, 0, 0], "radius": 0.8}},
    "all_of": {"all_of": [plane("x", 1), plane("y", 0)]},
    "any_of": {"any_of": [plane("x", 1), plane("y", 0)]},
    "tie": {"points": [[0.25, 0.25, 0.25], [0.7, 0.7, 0.7]]},
}


def facts(comm: MPI.Comm, *files: str) -> dict[str, Any]:
    """Numbers that do not depend on the ranks, flat by name (collective)."""
    found: dict[str, Any] = {}
    for cell in CELLS:
        mesh = make_mesh(box([3, 2, 2][: DIM[cell]], cell=cell), comm)
        _describe(found, f"box {cell}", mesh)
        _describe(found, f"twice refined {cell}", make_mesh(box([2, 1, 1][: DIM[cell]], cell=cell, refine=2), comm))
        for name, region in REGIONS.items():
            region = Region.model_validate(region)
            for dim in range(mesh.dim + 1):
                found[f"{name} of {cell}, {dim}"] = select_summary(mesh, region, dim)
    for path in files:
        for refine in (0, 2):
            mesh = make_mesh({"file": path, "refine": refine}, comm)
            _describe(found, f"{path} refined {refine} times", mesh)
            for name, dims in mesh.tags.items():
                for dim, entities in dims.items():
                    found[f"{path} {refine}, {name}, {dim}"] = entity_measure(mesh, dim, entities)
            for name in (name for name, dims in mesh.tags.items() if 0 in dims):
                region = Region.model_validate(name)
                found[f"{path} {refine}, where {name} is"] = select_summary(mesh, region, 0)
    single = make_mesh(box([1, 1], cell="quadrilateral", refine=1), comm)
    _describe(found, "single cell", single)
    return found


def _describe(found: dict[str, Any], name: str, mesh: Mesh) -> None:
    found[f"keys of {name}"] = np.sort(np.concatenate(mesh.comm.allgather(mesh.key)))
    found[f"centers of {name}"] = by_key(mesh, mesh.centers)
    found[f"volumes of {name}"] = by_key(mesh, mesh.volumes)


def select_summary(mesh: Mesh, region: Region, dim: int) -> list[float]:
    """Number, and mean of the midpoints, of the selected entities, each counted once (collective)."""
    from dolfinx import mesh as dmesh

    entities = select(mesh, region, dim)
    owned = entities[entities < mesh.domain.topology.index_map(dim).size_local]
    middle = dmesh.compute_midpoints(mesh.domain, dim, owned) if len(owned) else np.zeros((0, 3))
    count, total = mesh.comm.allreduce(len(owned)), np.asarray(mesh.comm.allreduce(middle.sum(axis=0)))
    return [count, *(total / max(count, 1))]


if __name__ == "__main__":
    import sys

    main(facts, *sys.argv[1:])
