"""I-deas universal files (UNV): nodes, elements and permanent groups."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from morpho.mesh.raw import Raw

#: finite element descriptor -> meshio's name; lines have a record more
KINDS = {11: "line", 21: "line", 22: "line3", 24: "line3", 111: "tetra", 118: "tetra10", 112: "wedge",
         113: "wedge15", 115: "hexahedron", 116: "hexahedron20",
         **dict.fromkeys((41, 51, 61, 74, 81, 91), "triangle"), **dict.fromkeys((42, 52, 62, 72, 82, 92), "triangle6"),
         **dict.fromkeys((44, 54, 64, 71, 84, 94), "quad"),
         **dict.fromkeys((45, 55, 65, 75, 85, 95), "quad8")}  # fmt: skip
LINES = (11, 21, 22, 24)
#: Corners among the nodes of second-order cells, which run around the cell with their middle nodes between.
CORNERS = {"line3": [0, 2], "triangle6": [0, 2, 4], "quad8": [0, 2, 4, 6], "tetra10": [0, 2, 4, 9],
           "hexahedron20": [0, 2, 4, 6, 12, 14, 16, 18]}  # fmt: skip
STRAIGHT = {"line3": "line", "triangle6": "triangle", "quad8": "quad", "tetra10": "tetra", "hexahedron20": "hexahedron"}


def read_universal(path: str) -> Raw:
    """The mesh of a universal file; without groups the property numbers name some (local).

    Raises:
        ValueError: with what is wrong.
    """
    raw, rows, places = Raw(np.zeros((0, 3))), dict[int, int](), dict[int, tuple[int, int]]()
    groups: list[tuple[str, list[tuple[int, int]]]] = []
    properties: dict[str, list[int]] = {}
    for number, lines in _datasets(path):
        try:
            if number in (781, 2411):
                _nodes(raw, rows, lines)
            elif number in (780, 2412):
                _elements(raw, rows, places, properties, lines)
            elif number in (2452, 2467, 2477):
                groups += _groups(lines)
        except (IndexError, ValueError) as error:
            raise ValueError(f"the dataset {number} is broken ({error})") from None
    if not places:
        raise ValueError("it has no dataset 2412, which holds the elements")
    for name, members in groups or [(name, [(8, label) for label in labels]) for name, labels in properties.items()]:
        nodes = [rows[tag] for code, tag in members if code == 7 and tag in rows]
        if nodes:
            raw.add_points(name, np.array(nodes, dtype=np.int64))
        found = [places[tag] for code, tag in members if code == 8 and tag in places]
        for block in sorted({b for b, _ in found}):
            raw.groups.append((name, block, np.array(sorted(r for b, r in found if b == block))))
    return raw


def _datasets(path: str) -> Iterator[tuple[int, list[str]]]:
    with open(path, encoding="utf-8", errors="replace") as file:
        inside: list[str] | None = None
        for line in file:
            if line.strip() == "-1":
                if inside:
                    yield int(inside[0].split()[0].rstrip("b")) if inside[0].split()[0].isdecimal() else 0, inside[1:]
                inside = [] if inside is None else None
            elif inside is not None:
                inside.append(line.rstrip("\n"))
    if inside is not None:
        raise ValueError("its last dataset does not end; the file is cut off")


def _nodes(raw: Raw, rows: dict[int, int], lines: list[str]) -> None:
    for i in range(0, len(lines), 2):
        rows[int(lines[i].split()[0])] = len(rows)
    x = [[float(v) for v in line.upper().replace("D", "E").split()] for line in lines[1::2]]
    raw.points = np.concatenate([raw.points, np.array(x, dtype=float).reshape(-1, 3)])


def _elements(
    raw: Raw,
    rows: dict[int, int],
    places: dict[int, tuple[int, int]],
    properties: dict[str, list[int]],
    lines: list[str],
) -> None:
    at, last = 0, ""
    cells: list[tuple[str, list[list[int]]]] = []
    while at < len(lines):
        head = [int(v) for v in lines[at].split()]
        label, descriptor, number, count = head[0], head[1], head[2], head[-1]
        at += 1 + (descriptor in LINES)
        nodes: list[int] = []
        while len(nodes) < count:
            nodes += [int(v) for v in lines[at].split()]
            at += 1
        kind = KINDS.get(descriptor, f"universal {descriptor}")
        if kind in CORNERS:
            nodes, kind = [nodes[i] for i in CORNERS[kind]], STRAIGHT[kind]
        if kind != last:
            cells.append((kind, []))
            last = kind
        block = len(raw.blocks) + len(cells) - 1
        missing = [n for n in nodes if n not in rows]
        if missing:
            raise ValueError(f"the element {label} uses the node {missing[0]}, which the file does not have")
        places[label] = block, len(cells[-1][1])
        cells[-1][1].append([rows[n] for n in nodes])
        properties.setdefault(str(number), []).append(label)
    raw.blocks += [(kind, np.array(table, dtype=np.int64)) for kind, table in cells]


def _groups(lines: list[str]) -> list[tuple[str, list[tuple[int, int]]]]:
    found, at = [], 0
    while at < len(lines):
        count, name = int(lines[at].split()[-1]), lines[at + 1].strip()
        at += 2
        numbers: list[int] = []
        while len(numbers) < 4 * count:
            numbers += [int(v) for v in lines[at].split()]
            at += 1
        found.append((name, [(numbers[i], numbers[i + 1]) for i in range(0, len(numbers), 4)]))
    return found
