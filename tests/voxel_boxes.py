"""Boxes for both engines, regions of every kind in them, and numbers of nodes that do not depend on the engine."""

from __future__ import annotations

from typing import Any

from mpi4py import MPI

import numpy as np
from numpy.typing import NDArray

from morpho.interfaces import Array
from morpho.mesh.voxels import VoxelMesh, voxel_mesh
from morpho.problem import spec

#: Odd numbers of cells, cells that are not cubes, corners that are not the origin.
BOXES: dict[str, dict[str, Any]] = {
    "flat": {"size": [2.5, 0.9], "cells": [5, 3], "origin": [-1.0, 0.3]},
    "square": {"size": [1.0, 1.0], "cells": [6, 6]},
    "row": {"size": [3.0, 0.2], "cells": [7, 1], "origin": [0.1, 100.0]},
    "brick": {"size": [1.5, 1.0, 0.7], "cells": [5, 3, 4], "origin": [0.2, -1.0, 3.0]},
    "cube": {"size": [1.0, 1.0, 1.0], "cells": [4, 4, 4]},
    "plate": {"size": [0.9, 2.1, 0.1], "cells": [3, 7, 1], "origin": [-5.0, 0.0, 0.5]},
}


def make_voxels(box: dict[str, Any], comm: MPI.Comm = MPI.COMM_SELF, refine: int = 0) -> VoxelMesh:
    """The voxel mesh of a box."""
    return voxel_mesh(spec.BoxMesh.model_validate(box), refine, comm)


def regions(box: dict[str, Any]) -> dict[str, Any]:
    """Regions of a box as they stand in a problem file: facets, edges, vertices, several of these, nothing."""
    size = np.array(box["size"])
    dim, h = len(size), size / box["cells"]
    low = np.array(box.get("origin") or [0.0] * dim)

    def at(*share: float) -> list[float]:
        return (low + size * np.resize(share, dim)).tolist()

    def side(axis: int, share: float) -> dict[str, Any]:
        return {"plane": {"axis": "xyz"[axis], "at": at(share)[axis]}}

    def block(first: list[float], last: list[float]) -> dict[str, Any]:
        return {"box": {"min": first, "max": last}}

    along = np.eye(dim)[0]
    row = [(low + k * h * along).tolist() for k in (1, 2)]
    found = {f"side {axis} {share}": side(axis, share) for axis in range(dim) for share in (0, 1)}
    found |= {
        "plane of nodes inside": {"plane": {"axis": "x", "at": float(low[0] + 2 * h[0])}},
        "plane between nodes": {"plane": {"axis": "y", "at": float(low[1] + 0.4 * h[1])}},
        "edge": {"all_of": [side(0, 1), side(1, 0)]},
        "corner": {"all_of": [side(axis, 1) for axis in range(dim)]},
        "two sides": {"any_of": [side(0, 0), side(dim - 1, 1)]},
        "opposite sides": {"any_of": [side(1, 0), side(1, 1)]},
        "everything": block(at(-1), at(2)),
        "inside": block((low + 0.4 * h).tolist(), (low + size - 0.4 * h).tolist()),
        "line inside": block((low + 0.9 * h).tolist(), (low + 1.1 * h + size * along).tolist()),
        "part of a side": {"all_of": [side(0, 1), block(at(0.2), at(1.0, 0.7))]},
        "ball at a corner": {"sphere": {"center": at(1.0, 0.0), "radius": float(2.1 * h.max())}},
        "cylinder": {"cylinder": {"center": at(0.5), "radius": float(0.4 * size[0]), "axis": "x"}},
        "short cylinder": {
            "cylinder": {"center": at(0.0), "radius": float(1.2 * h[0]), "between": [at(0.1)[-1], at(0.8)[-1]]}
        },
        "points": {"points": [at(0.0), at(1.05), at(0.33, 0.8, 0.1), (low + 0.5 * h).tolist()]},
        "a point too far away": {"points": [at(9.0)]},
        "points of an edge": {"points": row},
        "two nodes apart": {"any_of": [block(p, p) for p in row]},
        "two nodes together": block(*row),
        "a side and a point": {"any_of": [side(0, 1), {"points": [at(0.0)]}]},
        "a point on a side": {"all_of": [side(0, 0), {"points": [at(0.0, 1.0)]}]},
        "nested": {"all_of": [{"any_of": [side(0, 1), side(1, 0)]}, {"any_of": [side(1, 0), side(1, 1)]}]},
        "nothing": side(0, 7.0),
        "a tag": "left",
        "a side or a tag": {"any_of": [side(0, 0), "left"]},
    }
    return found


def random_region(box: dict[str, Any], rng: np.random.Generator, depth: int = 2) -> dict[str, Any]:
    """Any region; many of its bounds run along nodes, or halfway between them."""
    cells = np.array(box["cells"])
    dim = len(cells)

    def point() -> Array:
        share = rng.integers(-1, 2 * cells + 2) / 2 if rng.random() < 0.7 else rng.uniform(-1, cells + 1)
        return np.array(box.get("origin") or [0.0] * dim) + np.array(box["size"]) / cells * share

    kinds = ["plane", "box", "sphere", "cylinder", "points"] + ["all_of", "any_of"] * (2 * depth)
    kind = str(rng.choice(kinds))
    if kind in ("all_of", "any_of"):
        return {kind: [random_region(box, rng, depth - 1) for _ in range(rng.integers(1, 4))]}
    axis = int(rng.integers(dim))
    if kind == "plane":
        return {"plane": {"axis": "xyz"[axis], "at": point()[axis]}}
    if kind == "box":
        corners = np.sort([point(), point()], axis=0)
        return {"box": {"min": corners[0].tolist(), "max": corners[1].tolist()}}
    if kind == "points":
        return {"points": [point().tolist() for _ in range(rng.integers(1, 4))]}
    ball = {"center": point().tolist(), "radius": float(rng.uniform(0.1, 0.6) * max(box["size"]))}
    return {kind: ball if kind == "sphere" else ball | {"axis": "xyz"[axis]}}


def node_numbers(box: dict[str, Any], x: Array) -> NDArray[np.int64]:
    """Numbers of the nodes at points (p, 3) in the whole box, x fastest."""
    cells = np.array(box["cells"])
    dim = len(cells)
    steps = (x[:, :dim] - (box.get("origin") or [0.0] * dim)) / np.array(box["size"]) * cells
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-6)
    return np.ravel_multi_index(np.round(steps).astype(int).T[::-1], tuple(cells[::-1] + 1))


def voxel_node_numbers(mesh: VoxelMesh) -> NDArray[np.int64]:
    """Numbers of this rank's nodes in the whole box, with the axes z, y, x."""
    low = [*mesh.low, 0][:3][::-1]
    whole = [*(n + 1 for n in mesh.cells), 1][:3][::-1]
    steps = np.indices(mesh.node_shape) + np.reshape(low, (3, 1, 1, 1))
    return np.asarray(np.ravel_multi_index(tuple(steps), tuple(whole)))
