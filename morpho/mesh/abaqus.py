"""Abaqus and CalculiX input files: nodes, elements, sets, surfaces, and parts assembled from instances."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from morpho.mesh.raw import Cells, Raw

Rows = list[list[str]]

#: Families of elements, and the shape that a number of nodes makes.
FAMILIES = (
    (re.compile(r"(?:[ADQ]?C3D|SC)(\d+)"), {4: "tetra", 10: "tetra10", 8: "hexahedron", 20: "hexahedron20",
                                          27: "hexahedron27", 6: "wedge", 15: "wedge15", 5: "pyramid"}),
    (re.compile(r"(?:[AD]?CP[ES]|CPEG|[AD]C2D|S|STRI|M3D|SFM3D|R3D|DS)(\d+)"), {3: "triangle", 6: "triangle6",
                                                                      4: "quad", 8: "quad8", 9: "quad9"}),
    (re.compile(r"STRI(6)5"), {6: "triangle6"}),
    (re.compile(r"(?:T2D|T3D|R2D)(\d)"), {2: "line", 3: "line3"}),
    (re.compile(r"B[23](\d)"), {1: "line", 2: "line3", 3: "line"}),
)  # fmt: skip
NODES = {"tetra": 4, "tetra10": 10, "hexahedron": 8, "hexahedron20": 20, "hexahedron27": 27, "wedge": 6, "wedge15": 15,
         "pyramid": 5,
         "triangle": 3, "triangle6": 6, "quad": 4, "quad8": 8, "quad9": 9, "line": 2, "line3": 3}  # fmt: skip
#: Corners of the faces S1, S2, ... of an element.
FACES: dict[str, tuple[tuple[int, ...], ...]] = {
    "tetra": ((0, 1, 2), (0, 3, 1), (1, 3, 2), (2, 3, 0)),
    "hexahedron": ((0, 1, 2, 3), (4, 7, 6, 5), (0, 4, 5, 1), (1, 5, 6, 2), (2, 6, 7, 3), (3, 7, 4, 0)),
    "triangle": ((0, 1), (1, 2), (2, 0)),
    "quad": ((0, 1), (1, 2), (2, 3), (3, 0)),
}
GENERATORS = ("NGEN", "NFILL", "NCOPY", "NMAP", "ELGEN", "ELCOPY", "SYSTEM", "INCLUDE")
AXISYMMETRIC = re.compile(r"(?:[AD]?C?CAX|CGAX|SAX)")


@dataclass
class Part:
    """Nodes, elements and sets that share one numbering."""

    name: str = ""
    nodes: dict[int, tuple[float, float, float]] = field(default_factory=dict)
    elements: list[tuple[str, list[int], list[list[int]]]] = field(default_factory=list)  #: (type, labels, nodes)
    sets: dict[str, dict[str, list[Entry]]] = field(default_factory=lambda: {"NSET": {}, "ELSET": {}, "SURFACE": {}})


@dataclass
class Entry:
    """A line of a set: a label, or the name of another set; where it is looked up, and the side of a surface."""

    what: int | str
    instance: str = ""
    side: str = ""
    kind: str = ""


@dataclass
class Instance:
    """A part put somewhere: x -> R (x + shift - a) + a."""

    name: str
    part: Part
    shift: NDArray[np.float64]
    rotation: NDArray[np.float64]
    about: NDArray[np.float64]
    rows: dict[int, int] = field(default_factory=dict)  #: node label -> row of all points
    places: dict[int, tuple[int, int]] = field(default_factory=dict)  #: element label -> (block, row)

    def placed(self) -> NDArray[np.float64]:
        """(nodes, 3) coordinates in the assembly."""
        x = np.array(list(self.part.nodes.values()), dtype=float).reshape(-1, 3)
        return (x + self.shift - self.about) @ self.rotation.T + self.about


def read_abaqus(path: str) -> Raw:
    """The mesh part of an input file (local). Names of sets keep their writing; in parts they get INSTANCE.SET too.

    Raises:
        ValueError: with the line, and what is wrong or not read.
    """
    return _Assembly(_parse(path)).raw()


def blocks_of(path: str) -> Iterator[tuple[int, str, dict[str, str], Rows]]:
    """Keyword blocks: line number, keyword, parameters, data lines split at commas."""
    number, keyword = 0, ""
    parameters: dict[str, str] = {}
    rows: Rows = []
    with open(path, encoding="utf-8", errors="replace") as file:
        pending = ""
        for at, raw_line in enumerate(file, start=1):
            line = raw_line.strip()
            if not line or line.startswith("**"):
                continue
            if line.startswith("*") or pending:
                pending += line
                if line.endswith(","):
                    continue
                if keyword:
                    yield number, keyword, parameters, rows
                number, (keyword, parameters), rows, pending = at, _keyword(pending), [], ""
            else:
                rows.append([part.strip() for part in line.split(",")])
    if not keyword:
        raise ValueError("it has no keyword such as *NODE")
    yield number, keyword, parameters, rows


def _keyword(line: str) -> tuple[str, dict[str, str]]:
    first, *rest = line[1:].split(",")
    pairs = [part.partition("=") for part in rest if part.strip()]
    return " ".join(first.upper().split()), {k.strip().upper(): v.strip().strip('"') for k, _, v in pairs}


def _parse(path: str) -> tuple[Part, list[Instance]]:
    """The top level with what the assembly adds, and the instances."""
    top, parts, instances = Part(), dict[str, Part](), list[Instance]()
    scope = top
    for line, keyword, given, rows in blocks_of(path):
        try:
            if keyword in GENERATORS:
                raise ValueError(f"*{keyword} is not read; write all nodes and elements out into one file")
            if keyword == "PART":
                scope = parts.setdefault(given["NAME"].upper(), Part(given["NAME"]))
            elif keyword == "INSTANCE":
                scope = _instance(given, rows, parts, instances)
            elif keyword in ("END PART", "END INSTANCE"):
                scope = top
            elif keyword == "STEP":
                break
            else:
                _add(scope, keyword, given, rows)
        except KeyError as error:
            raise ValueError(f"line {line}: *{keyword} has no {error.args[0]}") from None
        except ValueError as error:
            raise ValueError(f"line {line}: {error}") from None
    return top, instances


def _instance(given: dict[str, str], rows: Rows, parts: dict[str, Part], instances: list[Instance]) -> Part:
    """Put a part into the assembly; where what the instance adds belongs."""
    if given["PART"].upper() not in parts:
        raise ValueError(f"there is no part {given['PART']} for the instance {given['NAME']}")
    part = parts[given["PART"].upper()]
    numbers = [[float(v or 0) for v in row] for row in rows]
    shift, about, rotation = np.zeros(3), np.zeros(3), np.asarray(np.eye(3))
    if numbers:
        shift[: len(numbers[0][:3])] = numbers[0][:3]
    if len(numbers) > 1:
        if len(numbers[1]) < 7:
            raise ValueError("the rotation of an instance needs seven numbers: two points of its axis, and the angle")
        about[:] = numbers[1][:3]
        rotation = _turn(np.array(numbers[1][3:6]) - about, float(np.deg2rad(numbers[1][6])))
    instances.append(Instance(given["NAME"], part, shift, rotation, about))
    return part


def _turn(axis: NDArray[np.float64], angle: float) -> NDArray[np.float64]:
    """Rotation matrix about an axis (Rodrigues)."""
    length = np.linalg.norm(axis)
    if length == 0:
        raise ValueError("the two points of the axis of rotation are the same")
    x, y, z = axis / length
    K = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.asarray(np.eye(3) + np.sin(angle) * K + (1 - np.cos(angle)) * K @ K)


def _add(part: Part, keyword: str, given: dict[str, str], rows: Rows) -> None:
    """Nodes, elements or a set; other keywords are not of the mesh."""
    if keyword in ("NODE", "ELEMENT") and "INPUT" in given:
        raise ValueError(f"*{keyword} takes its lines from the file {given['INPUT']}; put them into this one")
    if keyword == "NODE":
        if given.get("SYSTEM", "R").upper() != "R":
            raise ValueError(f"nodes in the coordinate system {given['SYSTEM']} are not read; write them as x, y, z")
        labels = [int(row[0]) for row in rows]
        x = [[float(v or 0) for v in row[1:4]] for row in rows]
        part.nodes.update((label, (*p, 0.0, 0.0, 0.0)[:3]) for label, p in zip(labels, x, strict=True))  # type: ignore[misc]
        _to_set(part, "NSET", given.get("NSET"), [Entry(label) for label in labels])
    elif keyword == "ELEMENT":
        kind = cell_type(given["TYPE"])
        count = NODES.get(kind, 0) + 1
        numbers = [int(v) for row in rows for v in row if v]
        if count == 1 or not numbers:
            return
        if len(numbers) % count:
            raise ValueError(f"an element of type {given['TYPE']} has {count - 1} nodes; some line has more or fewer")
        table = [numbers[i : i + count] for i in range(0, len(numbers), count)]
        part.elements.append((kind, [row[0] for row in table], [row[1:] for row in table]))
        _to_set(part, "ELSET", given.get("ELSET"), [Entry(row[0]) for row in table])
    elif keyword in ("NSET", "ELSET"):
        entries = [Entry(*place) for place in _members(rows, given)]
        if keyword == "NSET" and "ELSET" in given:
            entries = [Entry(given["ELSET"], given.get("INSTANCE", ""), kind="ELSET")]
        _to_set(part, keyword, given[keyword], entries)
    elif keyword == "SURFACE" and given.get("TYPE", "ELEMENT").upper() in ("ELEMENT", "NODE"):
        whole = "NSET" if given.get("TYPE", "ELEMENT").upper() == "NODE" else ""
        entries = [Entry(*_named(row[0]), side=row[1].upper() if len(row) > 1 else "", kind=whole) for row in rows]
        _to_set(part, "NSET" if whole else "SURFACE", given["NAME"], entries)


def _members(rows: Rows, given: dict[str, str]) -> Iterator[tuple[int | str, str]]:
    instance = given.get("INSTANCE", "")
    if "GENERATE" not in given:
        for value in (v for row in rows for v in row if v):
            what, inside = _named(value)
            yield what, inside or instance
        return
    for row in rows:
        first, last, step = ([int(v) for v in row if v] + [1])[:3]
        if step <= 0:
            raise ValueError(f"GENERATE needs a positive step, got {step}")
        yield from ((label, instance) for label in range(first, last + 1, step))


def _named(value: str) -> tuple[int | str, str]:
    """A label or a name, and the instance before its point."""
    instance, _, last = value.strip('"').rpartition(".")
    return (int(last) if re.fullmatch(r"\d+", last) else last), instance


def _to_set(part: Part, kind: str, name: str | None, entries: list[Entry]) -> None:
    if name:
        known = next((n for n in part.sets[kind] if n.upper() == name.upper()), name)
        part.sets[kind].setdefault(known, []).extend(entries)


def cell_type(name: str) -> str:
    """meshio's name of the shape of an Abaqus element, empty for what is no cell (masses, springs, ...)."""
    if AXISYMMETRIC.match(name.upper()):
        raise ValueError(f"elements of type {name} are axisymmetric; morpho takes plane and solid ones")
    for pattern, shapes in FAMILIES:
        found = pattern.match(name.upper())
        if found and int(found[1]) in shapes:
            return shapes[int(found[1])]
    return ""


class _Assembly:
    """All instances together, and the sets that name something in them."""

    def __init__(self, parsed: tuple[Part, list[Instance]]) -> None:
        top, instances = parsed
        self.top, self.instances = top, instances
        self.whole = Instance("", top, np.zeros(3), np.eye(3), np.zeros(3))
        self.found = Raw(np.zeros((0, 3)))

    def raw(self) -> Raw:
        """Points, blocks and groups."""
        points: list[NDArray[np.float64]] = []
        everything = [*self.instances, self.whole]
        for instance in everything:
            start = sum(len(x) for x in points)
            points.append(instance.placed())
            instance.rows = {label: start + i for i, label in enumerate(instance.part.nodes)}
        self.found.points = np.concatenate(points)
        for instance in everything:
            self._place_elements(instance)
        for instance in self.instances:
            self._place_sets(instance, f"{instance.name}.")
        for part in {id(i.part): i.part for i in self.instances}.values():
            for instance in (i for i in self.instances if i.part is part):
                self._place_sets(instance, "", self.top)
        self._place_sets(self.whole, "")
        if self.instances:
            names = ", ".join(instance.name for instance in self.instances)
            self.found.notes.append(
                f"assembled from the instances {names}; they are joined where they share nodes only"
            )
        return self.found

    def _place_elements(self, instance: Instance) -> None:
        for kind, labels, nodes in instance.part.elements:
            block = len(self.found.blocks)
            try:
                rows = np.array([[instance.rows[n] for n in element] for element in nodes], dtype=np.int64)
            except KeyError as error:
                raise ValueError(f"an element uses the node {error.args[0]}, which the file does not have") from None
            self.found.blocks.append((kind, rows))
            instance.places.update((label, (block, i)) for i, label in enumerate(labels))

    def _place_sets(self, instance: Instance, prefix: str, hidden_by: Part | None = None) -> None:
        for kind, sets in instance.part.sets.items():
            taken = {n.upper() for n in hidden_by.sets[kind]} if hidden_by else set()
            for name in sets:
                if name.upper() in taken:
                    continue
                if kind == "NSET":
                    nodes = self._resolve(instance, kind, name, ())
                    self.found.add_points(prefix + name, np.array(sorted({n for n, _ in nodes}), dtype=np.int64))
                elif kind == "ELSET":
                    self._add_rows(prefix + name, {place for place, _ in self._resolve(instance, kind, name, ())})
                else:
                    self._add_facets(prefix + name, self._resolve(instance, kind, name, ()))

    def _resolve(self, instance: Instance, kind: str, name: str, path: tuple[str, ...]) -> list[tuple]:
        """(row of a node, "") or ((block, row) of an element, side) of all members; what does not exist is left out."""
        key = next((n for n in instance.part.sets[kind] if n.upper() == name.upper()), None)
        if key is None or f"{kind} {key}" in path:
            return []
        found = []
        for entry in instance.part.sets[kind][key]:
            inside = self._instance(entry.instance) if entry.instance else instance
            source = entry.kind or ("ELSET" if kind == "SURFACE" else kind)
            if isinstance(entry.what, str):
                members = self._resolve(inside, source, entry.what, (*path, f"{kind} {key}"))
            elif source == "NSET":
                members = [(inside.rows[entry.what], "")] if entry.what in inside.rows else []
            else:
                members = [(inside.places[entry.what], "")] if entry.what in inside.places else []
            if kind == "NSET" and source == "ELSET":
                members = [(int(n), "") for (b, r), _ in members for n in self.found.blocks[b][1][r]]
            found += [(place, entry.side or side) for place, side in members]
        return found

    def _instance(self, name: str) -> Instance:
        for instance in self.instances:
            if instance.name.upper() == name.upper():
                return instance
        raise ValueError(f"a set names the instance {name}, which the assembly does not have")

    def _add_rows(self, name: str, places: set[tuple[int, int]]) -> None:
        for block in sorted({b for b, _ in places}):
            rows = np.array(sorted(r for b, r in places if b == block), dtype=np.int64)
            self.found.groups.append((name, block, rows))

    def _add_facets(self, name: str, members: list[tuple[tuple[int, int], str]]) -> None:
        facets: dict[str, list[Cells]] = {}
        for (block, row), side in members:
            kind, nodes = self.found.blocks[block]
            faces = FACES.get(re.sub(r"\d+$", "", kind), ())
            if re.fullmatch(r"[SE]\d", side) and int(side[1]) <= len(faces):
                face = faces[int(side[1]) - 1]
                facets.setdefault({2: "line", 3: "triangle", 4: "quad"}[len(face)], []).append(nodes[row][list(face)])
        for kind, rows in facets.items():
            self.found.blocks.append((kind, np.array(rows)))
            self.found.groups.append((name, len(self.found.blocks) - 1, np.arange(len(rows))))
