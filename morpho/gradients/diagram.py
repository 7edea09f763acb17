"""A gradient source as a picture: its card as boxes and arrows, in SVG."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from xml.sax.saxutils import escape

from morpho.errors import InputError, StorageError
from morpho.gradients.card import Card
from morpho.gradients.network_diagram import layer_by_layer
from morpho.gradients.registry import BUILT_IN, complaints, source_class
from morpho.gradients.shapes import EDGE, FIXED_GLYPH, GAP, LINE, PAD, Box, arrow, down, frame, text, wrapped
from morpho.gradients.supervisor import OWN

LEFT, RIGHT, BETWEEN = 420, 280, 72  #: widths of the two lanes and of the space between them
LANE = EDGE + LEFT + BETWEEN  #: where the right one begins
WIDTH = LANE + RIGHT + EDGE
FOLDER = Path("docs/images/sources")

HEAD = """\
<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img" \
font-family="Helvetica, Arial, sans-serif" font-size="13" fill="#1a1a1a">
<title>{title}</title>
<defs><marker id="tip" markerWidth="9" markerHeight="8" refX="8" refY="4" orient="auto">\
<path d="M0 0L9 4L0 8Z" fill="#444444"/></marker></defs>
<rect width="{width}" height="{height}" fill="#ffffff"/>"""


def card_of(name: str) -> Card:
    """The card of a registered source; that of a user's own says little (local)."""
    card: Card = source_class(name).card if name in BUILT_IN else OWN
    return card


def write(name: str, output: Path | None = None) -> list[Path]:
    """Draw a source, default NAME.svg, or all built-in ones into a folder; gives the files (local).

    Args:
        name: of a source; SOURCE:NETWORK for one of its networks but the first; or `all`.

    Raises:
        InputError: there is no such source, or no such network.
        StorageError: a file could not be written.
    """
    source, _, network = name.partition(":")
    if name == "all":
        drawings = {(output or FOLDER) / f"{stem}.svg": drawing for stem, drawing in all_diagrams().items()}
    elif said := complaints(source):
        raise InputError(said)
    else:
        stem = f"{source}_{network}" if network else source
        drawings = {output or Path(f"{stem}.svg"): diagram(source, card_of(source), network)}
    for path, drawing in drawings.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(drawing, encoding="utf-8")
        except OSError as error:
            raise StorageError(f"Could not write {path}: {error.strerror}.") from error
    return list(drawings)


def all_diagrams() -> dict[str, str]:
    """SVG of every built-in source, and once more with each of its other networks, by file name (local)."""
    drawings: dict[str, str] = {}
    for name in BUILT_IN:
        card = card_of(name)
        drawings[name] = diagram(name, card)
        drawings |= {f"{name}_{other}": diagram(name, card, other) for other in list(card.networks)[1:]}
    return drawings


def diagram(name: str, card: Card, network: str = "") -> str:
    """SVG of the data flow of a source: on the left the estimate, on the right the exact gradients (local).

    Below is its network layer by layer, by default the first one of the card.

    Raises:
        InputError: the card does not have the network.
    """
    if network and network not in card.networks:
        others = f"its networks are {', '.join(card.networks)}" if card.networks else "the picture of it shows none"
        raise InputError(f"gradient.source: {name} has no network {network!r}; {others}")
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
    if card.networks:
        shown = network or next(iter(card.networks))
        below = max(box.bottom for box in boxes) + GAP
        layers, around = layer_by_layer(shown, card.networks[shown], EDGE, below, LEFT)
        boxes, source = boxes + layers, source + around
    drawn = [part for box in boxes for part in box.draw()]
    height = max(box.bottom for box in boxes) + EDGE + (2 * PAD if card.networks else 0)
    head = HEAD.format(width=WIDTH, height=height, title=escape(f"{name}: {card.summary}"))
    return "\n".join([head, *header, *source, *drawn, *arrows, "</svg>\n"])


def supervision(name: str, card: Card, middle: int, gradient: Box) -> tuple[list[Box], list[str]]:
    """The lane of the exact solver, from below to what the source learns, with its arrows."""
    learns = beside(f"learns: {card.learns}", middle, gradient)
    if name in BUILT_IN and (name == "exact" or not getattr(source_class(name), "supervised", True)):
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
    updates = " and at updates in between" if card.corrected else ""
    tolerance = " (to a loose tolerance)" if card.loose else ""
    rest = "; falls back to secant while that is better, or accurate by itself" if card.rival else ""
    when = f"in the first {card.warm_up} iterations{updates}{tolerance}, and in the last{rest}"
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
