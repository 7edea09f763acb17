"""CAD parts: STEP, IGES and BREP files, meshed by gmsh. Names in the file become groups."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from morpho.errors import InputError
from morpho.interfaces import Array
from morpho.mesh.gmsh_file import opened, raw_of
from morpho.mesh.raw import Raw
from morpho.problem.regions import face_tag

FINEST = 1 / 3  #: smallest edge that short curves may ask for, relative to `size`
MOST = 3e7  #: tetrahedra that are tried
ROUND = 64  #: edges around a circle, in the surface of a part
HXT = 10  #: the algorithm of gmsh that is fastest and repeatable on one thread
NAMELESS = "Open CASCADE STEP translator"  #: what programs write that have no name to give
Entity = tuple[int, int]


@dataclass(frozen=True)
class Face:
    """A face of a part, as `morpho check --faces` lists it."""

    number: int
    name: str
    kind: str  #: Plane, Cylinder, ...
    area: float
    centre: Array  #: (3,)
    normal: Array  #: (3,) outward, at the middle of its parameters
    radius: float | None  #: of a cylinder or a sphere
    points: Array  #: (t, 3, 3) coarse triangles, anticlockwise from outside


def read_cad(path: str, size: float) -> Raw:
    """Tetrahedra of edges of about `size` in the solids of a file (local).

    Groups are the solids and faces that the file names, and every face as `face N`. Solids that touch share nodes.

    Raises:
        InputError: it holds no solid, or `size` does not suit it.
        Exception: gmsh's, with its reason.
    """
    with opened() as gmsh:
        solids = _load(gmsh, path)
        low, high = _bounds(gmsh)
        extent = float(np.linalg.norm(high - low))
        volume = sum(gmsh.model.occ.getMass(*solid) for solid in solids)
        said = f"mesh.size: got {size:g}; {path} reaches from {_vector(low)} to {_vector(high)}"
        if size > extent:
            raise InputError(f"{said}; give the edge of a cell, such as {extent / 50:.2g}")
        if (count := 12 * volume / size**3) > MOST:
            raise InputError(f"{said}, which makes about {count:.1g} tetrahedra; give a larger one")
        with _options(gmsh, {"Mesh.MeshSizeMax": size, "Mesh.MeshSizeMin": FINEST * size, "Mesh.Algorithm3D": HXT}):
            gmsh.model.mesh.generate(3)
        raw = raw_of(gmsh, _names(gmsh))
        raw.notes.append(_what(gmsh, path, solids))
        return raw


def surface_of(path: str) -> tuple[list[Array], dict[str, Array], str]:
    """Triangles (t, 3, 3) around each solid, outward, those of each named face, and what the file holds (local).

    Raises:
        InputError: it holds no solid.
        Exception: gmsh's, with its reason.
    """
    with opened() as gmsh:
        solids = _load(gmsh, path)
        low, high = _bounds(gmsh)
        with _options(
            gmsh, {"Mesh.MeshSizeMax": float(np.linalg.norm(high - low)) / 20, "Mesh.MeshSizeFromCurvature": ROUND}
        ):
            gmsh.model.mesh.generate(2)
        triangles = {tag: _triangles(gmsh, tag) for _, tag in gmsh.model.getEntities(2)}
        shells = []
        for solid in solids:
            around = gmsh.model.getBoundary([solid], combined=False, oriented=True)
            shells.append(np.concatenate([triangles[abs(tag)] for _, tag in around]))
        named: dict[str, list[Array]] = {}
        for name, (dim, tag) in _names(gmsh):
            if dim == 2:
                named.setdefault(name, []).append(triangles[tag])
        joined = {name: np.concatenate(parts) for name, parts in named.items()}
        return shells, joined, _what(gmsh, path, solids)


def faces(path: str) -> list[Face]:
    """The faces of a part, by their numbers (local).

    Raises:
        InputError: it holds no solid.
    """
    with opened() as gmsh:
        _load(gmsh, path)
        low, high = _bounds(gmsh)
        with _options(
            gmsh, {"Mesh.MeshSizeMax": float(np.linalg.norm(high - low)) / 40, "Mesh.MeshSizeFromCurvature": 16}
        ):
            gmsh.model.mesh.generate(2)
        return [_face(gmsh, tag) for _, tag in gmsh.model.getEntities(2)]


def listed(found: list[Face]) -> list[str]:
    """A line for each face of a part (local)."""
    lines = []
    for face in found:
        name = f" {face.name!r}" if face.name else ""
        radius = f" of radius {face.radius:.6g}" if face.radius is not None else ""
        lines.append(
            f"face {face.number}{name}: {face.kind.lower()}{radius}, area {face.area:.6g}, centre "
            f"{_vector(face.centre)}, normal {_vector(face.normal)}"
        )
    return lines


@contextmanager
def _options(gmsh: Any, values: dict[str, float]) -> Iterator[None]:
    """With options of gmsh for a while."""
    before = {name: gmsh.option.getNumber(name) for name in values}
    for name, value in values.items():
        gmsh.option.setNumber(name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            gmsh.option.setNumber(name, value)


def _load(gmsh: Any, path: str) -> list[Entity]:
    """The solids of a file; where several touch, their common faces are one."""
    gmsh.model.occ.importShapes(path)
    gmsh.model.occ.synchronize()
    names = {entity: gmsh.model.getEntityName(*entity) for entity in gmsh.model.getEntities()}
    solids: list[Entity] = gmsh.model.getEntities(3)
    if not solids:
        surfaces = len(gmsh.model.getEntities(2))
        raise InputError(
            f"mesh.file: {path} holds {surfaces} faces and no solid; sew them to a closed body in the CAD program and "
            "save it as a solid"
        )
    if len(solids) > 1:
        _, pieces = gmsh.model.occ.fragment(solids, [])
        gmsh.model.occ.synchronize()
        for solid, parts in zip(solids, pieces, strict=True):
            for part in parts:
                gmsh.model.setEntityName(*part, names.get(solid, ""))
        solids = gmsh.model.getEntities(3)
    return solids


def _names(gmsh: Any) -> Iterator[tuple[str, Entity]]:
    for dim, tag in gmsh.model.getEntities():
        if name := _name(gmsh, dim, tag):
            yield name, (dim, tag)
        if dim == 2:
            yield face_tag(tag), (dim, tag)


def _name(gmsh: Any, dim: int, tag: int) -> str:
    """As the file has it, without the names of what holds it."""
    name = str(gmsh.model.getEntityName(dim, tag)).rpartition("/")[2].strip() if dim >= 2 else ""
    return "" if name.startswith(NAMELESS) else name


def _face(gmsh: Any, tag: int) -> Face:
    low, high = (np.array(end) for end in gmsh.model.getParametrizationBounds(2, tag))
    middle = (low + high) / 2
    kind = str(gmsh.model.getType(2, tag))
    curvature = gmsh.model.getCurvature(2, tag, middle)[0] if kind in ("Cylinder", "Sphere") else 0.0
    return Face(
        tag,
        _name(gmsh, 2, tag),
        kind,
        gmsh.model.occ.getMass(2, tag),
        np.array(gmsh.model.occ.getCenterOfMass(2, tag)),
        np.array(gmsh.model.getNormal(tag, middle)),
        1 / curvature if curvature > 0 else None,
        _triangles(gmsh, tag),
    )


def _triangles(gmsh: Any, tag: int) -> Array:
    """(t, 3, 3) of the mesh of a face."""
    _, _, nodes = gmsh.model.mesh.getElements(2, tag)
    tags, x, _ = gmsh.model.mesh.getNodes(2, tag, includeBoundary=True)
    order = np.argsort(tags)
    wanted = np.concatenate([*nodes, np.zeros(0, np.uint64)])
    at = order[np.searchsorted(tags[order], wanted)]
    return np.asarray(x, dtype=np.float64).reshape(-1, 3)[at].reshape(-1, 3, 3)


def _bounds(gmsh: Any) -> tuple[Array, Array]:
    box = np.array(gmsh.model.getBoundingBox(-1, -1))
    return box[:3], box[3:]


def _what(gmsh: Any, path: str, solids: list[Entity]) -> str:
    count = len(gmsh.model.getEntities(2))
    joined = "; those that touch are joined" if len(solids) > 1 else ""
    named = sorted({name for name, entity in _names(gmsh) if not name.startswith("face ") and entity[0] == 2})
    names = f", some of them named {', '.join(named)}" if named else ", none of them named"
    return (
        f"{path} holds {len(solids)} solid{'s' * (len(solids) != 1)}{joined}, with {count} faces{names}; "
        "`morpho check --faces` lists and pictures them"
    )


def _vector(v: Array) -> str:
    return "(" + ", ".join(f"{c:.4g}" for c in np.where(np.abs(v) < 1e-6 * max(1.0, np.abs(v).max()), 0, v)) + ")"
