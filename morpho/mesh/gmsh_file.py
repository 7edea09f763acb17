"""gmsh: its own reader, for MSH 4 and Nastran bulk data, and what a model of it holds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from morpho.mesh.raw import Raw

#: gmsh element type -> meshio's name
TYPES = {1: "line", 2: "triangle", 3: "quad", 4: "tetra", 5: "hexahedron", 6: "wedge", 7: "pyramid", 8: "line3",
         9: "triangle6", 10: "quad9", 11: "tetra10", 12: "hexahedron27", 15: "vertex", 16: "quad8",
         17: "hexahedron20"}  # fmt: skip


def read_gmsh(path: str, by_entity: bool = False) -> Raw:
    """A file that gmsh reads (local); with `by_entity` the entities are the groups, named by their numbers.

    Raises:
        Exception: gmsh's, with its reason.
    """
    with opened() as gmsh:
        gmsh.merge(path)
        return raw_of(gmsh, _named(gmsh, by_entity))


def raw_of(gmsh: Any, named: Iterable[tuple[str, tuple[int, int]]]) -> Raw:
    """The mesh of the current model, with the groups that named entities make up (local)."""
    tags, x, _ = gmsh.model.mesh.getNodes()
    row = np.full(int(tags.max(initial=0)) + 1, -1, dtype=np.int64)
    row[tags] = np.arange(len(tags))
    raw, first = Raw(np.asarray(x, dtype=float).reshape(-1, 3)), {}
    for entity in gmsh.model.getEntities():
        kinds, _, nodes = gmsh.model.mesh.getElements(*entity)
        first[entity] = len(raw.blocks), len(kinds)
        for kind, members in zip(kinds, nodes, strict=True):
            name, _, _, count, _, _ = gmsh.model.mesh.getElementProperties(kind)
            block = row[np.asarray(members, dtype=np.int64)].reshape(-1, count)
            raw.blocks.append((TYPES.get(int(kind), name.lower()), block))
    for name, entity in named:
        start, count = first[entity]
        raw.groups += [(name, b, np.arange(len(raw.blocks[b][1]))) for b in range(start, start + count)]
    return raw


def _named(gmsh: Any, by_entity: bool) -> Iterator[tuple[str, tuple[int, int]]]:
    if by_entity:
        yield from ((str(tag), (dim, tag)) for dim, tag in gmsh.model.getEntities())
        return
    for dim, tag in gmsh.model.getPhysicalGroups():
        name = gmsh.model.getPhysicalName(dim, tag) or str(tag)
        for entity in gmsh.model.getEntitiesForPhysicalGroup(dim, tag):
            yield name, (dim, int(entity))


@contextmanager
def opened() -> Iterator[Any]:
    """gmsh with a model of its own; what a program had open in gmsh stays as it is."""
    import gmsh

    fresh = not gmsh.isInitialized()
    if fresh:
        gmsh.initialize(argv=[], readConfigFiles=False, run=False, interruptible=False)
    loud, before = gmsh.option.getNumber("General.Terminal"), gmsh.model.getCurrent()
    gmsh.option.setNumber("General.Terminal", 0)
    gmsh.model.add("morpho")
    try:
        yield gmsh
    finally:
        gmsh.model.setCurrent("morpho")
        gmsh.model.remove()
        gmsh.option.setNumber("General.Terminal", loud)
        if fresh:
            gmsh.finalize()
        else:
            gmsh.model.setCurrent(before)
