"""A gradient source as a picture: its card as boxes and arrows, in SVG."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from xml.sax.saxutils import escape

from morpho.errors import InputError, StorageError
from morpho.gradients.card import Card
from morpho.gradients.registry import BUILT_IN, complaints, source_class
from morpho.gradients.supervisor import OWN

EDGE, GAP, PAD = 24, 28, 10  #: pixels around the drawing, between boxes along an arrow, and inside of a box
LINE = 17  #: pixels from line to line
GLYPH, FIXED_GLYPH = 7.0, 7.9  #: and of a character of 13 pixels, in a wide font and in one of fixed width
LEFT, RIGHT, BETWEEN = 420, 280, 72  #: widths of the two lanes and of the space between them
LANE = EDGE + LEFT + BETWEEN  #: where the right one begins
WIDTH = LANE + RIGHT + EDGE
FOLDER = Path("docs/images/sources")

#: what a box stands for -> its fill and its outline
COLOURS = {
    "input": ("#e8f1fb", "#3f6fa8"),
    "step": ("#ffffff", "#707070"),
    "result": ("#e7f4e8", "#3d8446"),
    "exact": ("#fdf0df", "#b5701f"),
}

HEAD = """\
<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img" \
font-family="Helvetica, Arial, sans-serif" font-size="13" fill="#1a1a1a">
<title>{title}</title>
<defs><marker id="tip" markerWidth="9" markerHeight="8" refX="8" refY="4" orient="auto">\
<path d="M0 0L9 4L0 8Z" fill="#444444"/></marker></defs>
<rect width="{width}" height="{height}" fill="#ffffff"/>"""


@dataclass(frozen=True)
class Box:
    """A rectangle with its text, wrapped and centred."""

    text: str
    x: int
    y: int
    width: int
    kind: str = "step"

    @property
    def lines(self) -> list[str]:
        return wrapped(self.text, self.width - 2 * PAD)

    @property
    def height(self) -> int:
        return LINE * len(self.lines) + 2 * PAD

    @property
    def bottom(self) -> int:
        return self.y + self.height

    @property
    def right(self) -> int:
        return self.x + self.width

    @property
    def centre(self) -> tuple[int, int]:
        return self.x + self.width // 2, self.y + self.height // 2

    def draw(self) -> list[str]:
        fill, line = COLOURS[self.kind]
        outline = frame(self.x, self.y, self.width, self.height, f'rx="5" fill="{fill}" stroke="{line}"')
        return [outline, text(self.lines, self.centre[0], self.y + PAD + 13, 'text-anchor="middle"')]


def card_of(name: str) -> Card:
    """The card of a registered source; that of a user's own says little (local)."""
    card: Card = source_class(name).card if name in BUILT_IN else OWN
    return card


def write(name: str, output: Path | None = None) -> list[Path]:
    """Draw a source, default NAME.svg, or all built-in ones into a folder; gives the files (local).

    Raises:
        InputError: there is no such source.
        StorageError: a file could not be written.
    """
    if name == "all":
        paths = {own: (output or FOLDER) / f"{own}.svg" for own in BUILT_IN}
    elif said := complaints(name):
        raise InputError(said)
    else:
        paths = {name: output or Path(f"{name}.svg")}
    for own, path in paths.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(diagram(own, card_of(own)), encoding="utf-8")
        except OSError as error:
            raise StorageError(f"Could not write {path}: {error.strerror}.") from error
    return list(paths.values())


def diagram(name: str, card: Card) -> str:
    """SVG of the data flow of a source: on the left the estimate, on the right the exact gradients (local)."""
    summary = wrapped(card.summary, WIDTH - 2 * EDGE)
    formula = wrapped(card.formula, WIDTH - 2 * EDGE, FIXED_GLYPH)
    base = 49 + LINE * len(summary)
    header = [
        text([f"gradient source: {name}"], EDGE, 40, 'font-size="20" font-weight="bold"'),
        text(summary, EDGE, 66),
        text(formula, EDGE, base + 24, 'font-family="DejaVu Sans Mono, Menlo, Consolas, monospace" fill="#3f6fa8"'),
    ]
    inputs = row(card.inputs, base + 26 + LINE * len(formula))
    top = max(box.bottom for box in inputs) + GAP
    steps = column(card.steps, top + LINE + PAD)
    bottom = steps[-1].bottom + 2 * PAD
    gradient = Box("gradient", EDGE, bottom + GAP, LEFT, "result")
    optimizer = Box("optimizer", EDGE, gradient.bottom + GAP, LEFT, "result")
    lane, arrows = supervision(name, card, (top + bottom) // 2, gradient)
    arrows += [arrow((box.centre[0], box.bottom), (box.centre[0], top)) for box in inputs]
    arrows += [down(above, below) for above, below in pairwise(steps)]
    arrows += [arrow((gradient.centre[0], bottom), (gradient.centre[0], gradient.y)), down(gradient, optimizer)]
    source = [
        frame(EDGE, top, LEFT, bottom - top, 'rx="8" fill="#f5f5f5" stroke="#9a9a9a" stroke-dasharray="5 4"'),
        text(["estimate"], EDGE + 12, top + 18, 'fill="#5a5a5a" font-style="italic"'),
    ]
    boxes = [*inputs, *steps, gradient, optimizer, *lane]
    drawn = [part for box in boxes for part in box.draw()]
    height = max(box.bottom for box in boxes) + EDGE
    head = HEAD.format(width=WIDTH, height=height, title=escape(f"{name}: {card.summary}"))
    return "\n".join([head, *header, *source, *drawn, *arrows, "</svg>\n"])


def supervision(name: str, card: Card, middle: int, gradient: Box) -> tuple[list[Box], list[str]]:
    """The lane of the exact solver, from below to what the source learns, with its arrows."""
    learns = beside(f"learns: {card.learns}", middle, gradient)
    if name == "exact":
        return [beside(f"no supervisor, every gradient is exact; {learns.text}", middle, gradient)], []
    solver = Box("exact solver", LANE, gradient.y, RIGHT, "exact")
    supervisor = Box(request(card), LANE, solver.bottom + GAP, RIGHT, "exact")
    x = solver.centre[0]
    return [learns, solver, supervisor], [
        arrow((x, supervisor.y), (x, solver.bottom)),
        arrow((x, solver.y), (x, learns.bottom)),
        arrow((LANE, gradient.centre[1]), (gradient.right, gradient.centre[1])),
        arrow((LANE, learns.centre[1]), (gradient.right, learns.centre[1])),
    ]


def request(card: Card) -> str:
    """When the supervisor asks for an exact gradient."""
    corrections = " and at corrections" if card.corrected else ""
    tolerance = " (to a loose tolerance)" if card.loose else ""
    rest = "; the secant stands in while it is better, or good enough" if card.rival else ""
    when = f"in the first {card.warm_up} iterations{corrections}{tolerance}, and in the last{rest}"
    return f"supervisor: asks for an exact gradient {when}"


def row(texts: tuple[str, ...], y: int) -> list[Box]:
    """Inputs side by side, over the width of the left lane."""
    width = (LEFT - (len(texts) - 1) * PAD) // len(texts)
    return [Box(said, EDGE + i * (width + PAD), y, width, "input") for i, said in enumerate(texts)]


def column(texts: tuple[str, ...], y: int) -> list[Box]:
    """Steps one below the other, inside of the frame of the source."""
    boxes: list[Box] = []
    for said in texts:
        boxes.append(Box(said, EDGE + 2 * PAD, boxes[-1].bottom + GAP if boxes else y, LEFT - 4 * PAD))
    return boxes


def beside(said: str, middle: int, gradient: Box) -> Box:
    """A box of the right lane at the height of the steps, above that of the gradient."""
    height = Box(said, LANE, 0, RIGHT).height
    return Box(said, LANE, min(middle - height // 2, gradient.y - GAP - height), RIGHT, "exact")


def wrapped(said: str, width: int, glyph: float = GLYPH) -> list[str]:
    """Lines that fit a width in pixels."""
    return textwrap.wrap(said, int(width / glyph), break_long_words=False, break_on_hyphens=False)


def text(lines: Iterable[str], x: int, y: int, style: str = "") -> str:
    """Lines of text, the first one with its base at y."""
    spans = "".join(f'<tspan x="{x}" y="{y + i * LINE}">{escape(line)}</tspan>' for i, line in enumerate(lines))
    return f"<text {style}>{spans}</text>" if style else f"<text>{spans}</text>"


def frame(x: int, y: int, width: int, height: int, style: str) -> str:
    """A rectangle."""
    return f'<rect x="{x}" y="{y}" width="{width}" height="{height}" {style}/>'


def arrow(start: tuple[int, int], end: tuple[int, int]) -> str:
    """A line with a tip at its end."""
    (x, y), (to_x, to_y) = start, end
    return f'<path d="M{x} {y}L{to_x} {to_y}" stroke="#444444" stroke-width="1.4" marker-end="url(#tip)"/>'


def down(above: Box, below: Box) -> str:
    """An arrow from a box to the one below it."""
    return arrow((above.centre[0], above.bottom), (below.centre[0], below.y))
