"""Abaqus and CalculiX input files: nodes, elements, sets, surfaces, and parts assembled from instances."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from morpho.mesh.raw import Cells, Raw

Rows = list[str]

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
HIGHEST = 999_999_999  #: label that Abaqus allows
MISSING = {"node": "which the file does not have"} | dict.fromkeys(
    ("element", "set"), "which the file does not have, or only of a type that is not read"
)
AXISYMMETRIC = re.compile(r"(?:[AD]?C?CAX|CGAX|SAX)")


Labels = NDArray[np.int64]


@dataclass
class Part:
    """Nodes, elements and sets that share one numbering."""

    name: str = ""
    nodes: list[tuple[Labels, NDArray[np.float64]]] = field(default_factory=list)  #: (labels, (n, 3) coordinates)
    elements: list[tuple[str, Labels, Cells]] = field(default_factory=list)  #: (type, labels, labels of the nodes)
    sets: dict[str, dict[str, list[Entry]]] = field(default_factory=lambda: {"NSET": {}, "ELSET": {}, "SURFACE": {}})
    no_cells: Counter[str] = field(default_factory=Counter)  #: lines of elements that are no cells, by type


@dataclass
class Entry:
    """Members of a set: labels, or the name of another set; where they are looked up, and the side of a surface."""

    what: Labels | range | str
    instance: str = ""
    side: str = ""
    kind: str = ""


class Numbering:
    """Labels as they come, and where each is; of a label that comes again the last place."""

    def __init__(self, labels: list[Labels]) -> None:
        every = np.concatenate([np.empty(0, dtype=np.int64), *labels])
        self._sorted, backwards = np.unique(every[::-1], return_index=True)
        self._place = len(every) - 1 - backwards

    def find(self, labels: Labels) -> Labels:
        """Places of labels, -1 for those that are not there."""
        if not len(self._sorted):
            return np.full(labels.shape, -1, dtype=np.int64)
        at = np.minimum(np.searchsorted(self._sorted, labels), len(self._sorted) - 1)
        return np.where(self._sorted[at] == labels, self._place[at], -1)

    def find_range(self, labels: range) -> Labels:
        """Places of those labels of a range that are there."""
        low, high = np.searchsorted(self._sorted, [labels.start, labels.stop])
        fits = (self._sorted[low:high] - labels.start) % labels.step == 0
        return np.asarray(self._place[low:high][fits])


@dataclass
class Instance:
    """A part put somewhere: x -> R (x + shift - a) + a."""

    name: str
    part: Part
    shift: NDArray[np.float64]
    rotation: NDArray[np.float64]
    about: NDArray[np.float64]
    first_node: int = 0  #: row among all points
    nodes: Numbering = field(default_factory=lambda: Numbering([]))
    elements: Numbering = field(default_factory=lambda: Numbering([]))
    places: Labels = field(default_factory=lambda: np.empty((0, 2), dtype=np.int64))  #: (block, row) of each element

    def placed(self) -> NDArray[np.float64]:
        """(nodes, 3) coordinates in the assembly."""
        x = np.concatenate([np.zeros((0, 3)), *(x for _, x in self.part.nodes)])
        return (x + self.shift - self.about) @ self.rotation.T + self.about


def read_abaqus(path: str) -> Raw:
    """The mesh part of an input file (local). Names of sets keep their writing; in parts they get INSTANCE.SET too.

    Raises:
        ValueError: with the line, and what is wrong or not read.
    """
    return _Assembly(_parse(path)).raw()


def blocks_of(path: str) -> Iterator[tuple[int, str, dict[str, str], Rows]]:
    """Keyword blocks: line number, keyword, parameters, data lines."""
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
                rows.append(line)
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
    numbers = [[float(v) if v.strip() else 0.0 for v in row.split(",")] for row in rows]
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
        table = _table(rows)
        labels, x = table[:, 0].astype(np.int64), table[:, 1:4]
        part.nodes.append((labels, np.pad(x, ((0, 0), (0, 3 - x.shape[1])))))
        _to_set(part, "NSET", given.get("NSET"), [Entry(labels)])
    elif keyword == "ELEMENT":
        kind = cell_type(given["TYPE"])
        count = NODES.get(kind, 0) + 1
        if count == 1:
            part.no_cells[given["TYPE"].upper()] += len(rows)
        if count == 1 or not rows:
            return
        numbers = _whole(rows)
        if len(numbers) % count:
            raise ValueError(f"an element of type {given['TYPE']} has {count - 1} nodes; some line has more or fewer")
        members = numbers.reshape(-1, count)
        part.elements.append((kind, members[:, 0], members[:, 1:]))
        _to_set(part, "ELSET", given.get("ELSET"), [Entry(members[:, 0])])
    elif keyword in ("NSET", "ELSET"):
        entries = _members(rows, given)
        if keyword == "NSET" and "ELSET" in given:
            entries = [Entry(given["ELSET"], given.get("INSTANCE", ""), kind="ELSET")]
        _to_set(part, keyword, given[keyword], entries)
    elif keyword == "SURFACE" and given.get("TYPE", "ELEMENT").upper() in ("ELEMENT", "NODE"):
        whole = "NSET" if given.get("TYPE", "ELEMENT").upper() == "NODE" else ""
        lines = [[v.strip() for v in row.split(",")] for row in rows]
        entries = [_named(line[0], "", line[1].upper() if len(line) > 1 else "", whole) for line in lines]
        _to_set(part, "NSET" if whole else "SURFACE", given["NAME"], entries)


def _table(rows: Rows) -> NDArray[np.float64]:
    """(rows, at most 4) numbers; what is left out or empty is 0."""
    if not rows:
        return np.zeros((0, 4))
    try:
        return np.loadtxt(rows, delimiter=",", ndmin=2, comments=None)
    except ValueError:  # lines of several lengths, or with empty places
        table = np.zeros((len(rows), 4))
        for at, row in enumerate(rows):
            numbers = [float(v) if v.strip() else 0.0 for v in row.split(",")][:4]
            table[at, : len(numbers)] = numbers
        return table


def _whole(rows: Rows) -> Labels:
    """All the whole numbers of some lines, one after the other."""
    try:
        return np.loadtxt(rows, delimiter=",", dtype=np.int64, ndmin=2, comments=None).ravel()
    except ValueError:
        return np.array([int(v) for row in rows for v in row.split(",") if v.strip()], dtype=np.int64)


def _members(rows: Rows, given: dict[str, str]) -> list[Entry]:
    instance = given.get("INSTANCE", "")
    if "GENERATE" not in given:
        values = [v.strip() for row in rows for v in row.split(",") if v.strip()]
        labels = [int(v) for v in values if v.isdecimal()]
        found = [_named(v, instance) for v in values if not v.isdecimal()]
        return [Entry(np.array(labels, dtype=np.int64), instance), *found]
    found = []
    for row in rows:
        numbers = [int(v) for v in row.split(",") if v.strip()]
        if len(numbers) not in (2, 3):
            raise ValueError(f"GENERATE needs the first label, the last one, and a step, got {row!r}")
        first, last, step = [*numbers, 1][:3]
        if step <= 0:
            raise ValueError(f"GENERATE needs a positive step, got {step}")
        if not 1 <= first <= last <= HIGHEST:
            raise ValueError(f"GENERATE goes from {first} to {last}; labels go upwards, from 1 to {HIGHEST}")
        found.append(Entry(range(first, last + 1, step), instance))
    return found


def _named(value: str, instance: str = "", side: str = "", kind: str = "") -> Entry:
    """A label or the name of a set, maybe with an instance before its point."""
    before, _, last = value.strip('"').rpartition(".")
    what = np.array([int(last)]) if last.isdecimal() else last
    return Entry(what, before or instance, side, kind)


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


def _check_unique(what: str, given: list[tuple[Labels, NDArray[Any]]], differ: str) -> None:
    """Labels that come again mean the same.

    Raises:
        ValueError: some do not.
    """
    if not given:
        return
    labels, values = (np.concatenate(column) for column in zip(*given, strict=True))
    order = np.argsort(labels, kind="stable")
    again = np.diff(labels[order]) == 0
    other = (values[order[1:][again]] != values[order[:-1][again]]).any(axis=1)
    twice = np.unique(labels[order[1:][again]][other])
    if len(twice):
        are = "are" if len(twice) > 1 else "is"
        raise ValueError(
            f"{_listed(what, twice)} {are} defined again with other {differ}; delete one, or number it anew"
        )


def _listed(what: str, labels: Labels) -> str:
    """Some labels, the first of many."""
    few = ", ".join(str(label) for label in labels[:5])
    more = f" and {len(labels) - 5} more" if len(labels) > 5 else ""
    return f"the {what}{'s' * (len(labels) > 1)} {few}{more}"


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
            instance.first_node = sum(len(x) for x in points)
            points.append(instance.placed())
            instance.nodes = Numbering([labels for labels, _ in instance.part.nodes])
            _check_unique("node", instance.part.nodes, "coordinates")
            for kind in {kind for kind, _, _ in instance.part.elements}:
                same = [(labels, nodes) for k, labels, nodes in instance.part.elements if k == kind]
                _check_unique("element", same, "nodes")
        self.found.points = np.concatenate(points)
        for instance in everything:
            self._place_elements(instance)
        for instance in self.instances:
            self._place_sets(instance, f"{instance.name}.")
            self._place_sets(instance, "", self.top)
        self._place_sets(self.whole, "")
        for part in {id(i.part): i.part for i in everything}.values():
            for kind, count in part.no_cells.items():
                self._say(f"elements of type {kind} ({count} lines), which is no cell that is read")
        if self.instances:
            names = ", ".join(instance.name for instance in self.instances)
            self.found.notes.append(
                f"assembled from the instances {names}; they are joined where they share nodes only"
            )
        return self.found

    def _place_elements(self, instance: Instance) -> None:
        places = [np.empty((0, 2), dtype=np.int64)]
        for kind, labels, nodes in instance.part.elements:
            rows = instance.nodes.find(nodes)
            if (rows < 0).any():
                missing = nodes[rows < 0][0]
                raise ValueError(f"an element uses the node {missing}, which the file does not have")
            places.append(np.stack([np.full(len(labels), len(self.found.blocks)), np.arange(len(labels))], axis=1))
            self.found.blocks.append((kind, rows + instance.first_node))
        instance.places = np.concatenate(places)
        instance.elements = Numbering([labels for _, labels, _ in instance.part.elements])

    def _place_sets(self, instance: Instance, prefix: str, hidden_by: Part | None = None) -> None:
        for kind, sets in instance.part.sets.items():
            taken = {n.upper() for n in hidden_by.sets[kind]} if hidden_by else set()
            for name in sets:
                if name.upper() in taken:
                    continue
                members = self._resolve(instance, kind, name, ())
                every = np.concatenate([np.empty(0, dtype=np.int64), *(found.ravel() for found, _ in members)])
                if kind == "NSET":
                    self.found.add_points(prefix + name, np.unique(every))
                elif kind == "ELSET":
                    self._add_rows(prefix + name, np.unique(every.reshape(-1, 2), axis=0))
                else:
                    self._add_facets(prefix + name, members)

    def _resolve(self, instance: Instance, kind: str, name: str, path: tuple[str, ...]) -> list[tuple[Labels, str]]:
        """Rows of nodes, or (block, row) of elements and the side, of all members that exist; says what does not."""
        key = next((n for n in instance.part.sets[kind] if n.upper() == name.upper()), None)
        if key is None:
            self._say(f"the group {path[-1].partition(' ')[2]!r} names the set {name}, {MISSING['set']}")
        if key is None or f"{kind} {key}" in path:
            return []
        found: list[tuple[Labels, str]] = []
        for entry in instance.part.sets[kind][key]:
            inside = self._instance(entry.instance) if entry.instance else instance
            source = entry.kind or ("ELSET" if kind == "SURFACE" else kind)
            if isinstance(entry.what, str):
                members = self._resolve(inside, source, entry.what, (*path, f"{kind} {key}"))
            else:
                at = self._find(inside, source, entry.what, key)
                members = [(at + inside.first_node if source == "NSET" else inside.places[at], "")]
            if kind == "NSET" and source == "ELSET":
                members = [(self._nodes_of(places), "") for places, _ in members]
            found += [(places, entry.side or side) for places, side in members]
        return found

    def _find(self, instance: Instance, kind: str, labels: Labels | range, name: str) -> Labels:
        """Places of the members of a set that exist."""
        numbering, what = (instance.nodes, "node") if kind == "NSET" else (instance.elements, "element")
        if isinstance(labels, range):
            at = numbering.find_range(labels)
            if len(at) < len(labels):
                lost = len(labels) - len(at)
                named = f"{lost} {what}{'s' * (lost > 1)} from {labels[0]} to {labels[-1]}"
                self._say(f"the group {name!r} names {named}, {MISSING[what]}")
            return at
        at = numbering.find(labels)
        if (at < 0).any():
            self._say(f"the group {name!r} names {_listed(what, labels[at < 0])}, {MISSING[what]}")
        return at[at >= 0]

    def _say(self, text: str) -> None:
        if f"{text}: left out" not in self.found.notes:
            self.found.notes.append(f"{text}: left out")

    def _nodes_of(self, places: Labels) -> Labels:
        nodes = [self.found.blocks[b][1][places[places[:, 0] == b, 1]].ravel() for b in np.unique(places[:, 0])]
        return np.concatenate([np.empty(0, dtype=np.int64), *nodes])

    def _instance(self, name: str) -> Instance:
        for instance in self.instances:
            if instance.name.upper() == name.upper():
                return instance
        raise ValueError(f"a set names the instance {name}, which the assembly does not have")

    def _add_rows(self, name: str, places: Labels) -> None:
        for block in np.unique(places[:, 0]):
            self.found.groups.append((name, int(block), places[places[:, 0] == block, 1]))

    def _add_facets(self, name: str, members: list[tuple[Labels, str]]) -> None:
        for places, side in members:
            for block in np.unique(places[:, 0]):
                kind, nodes = self.found.blocks[block]
                faces = FACES.get(re.sub(r"\d+$", "", kind), ())
                if not re.fullmatch(r"[SE][1-9]", side) or int(side[1]) > len(faces):
                    if side:
                        lacks = f"names the face {side}, which a {re.sub(r'[0-9]+$', '', kind)} does not have"
                    else:
                        lacks = "names no face, such as S1, of its elements"
                    self._say(f"the group {name!r} {lacks}")
                    continue
                face = list(faces[int(side[1]) - 1])
                rows = nodes[places[places[:, 0] == block, 1]][:, face]
                self.found.blocks.append(({2: "line", 3: "triangle", 4: "quad"}[len(face)], rows))
                self.found.groups.append((name, len(self.found.blocks) - 1, np.arange(len(rows))))
