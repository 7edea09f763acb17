"""Boxes with text and the arrows between them, in SVG."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from xml.sax.saxutils import escape

EDGE, GAP, PAD = 24, 28, 10  #: pixels around the drawing, between boxes along an arrow, and inside of a box
LINE = 17  #: pixels from line to line
GLYPH, FIXED_GLYPH = 7.0, 7.9  #: and of a character of 13 pixels, in a wide font and in one of fixed width

#: what a box stands for -> its fill and its outline
COLOURS = {
    "input": ("#e8f1fb", "#3f6fa8"),
    "step": ("#ffffff", "#707070"),
    "result": ("#e7f4e8", "#3d8446"),
    "exact": ("#fdf0df", "#b5701f"),
}


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


def arrow(*points: tuple[int, int]) -> str:
    """A line from point to point with a tip at its end."""
    way = "L".join(f"{x} {y}" for x, y in points)
    return f'<path d="M{way}" fill="none" stroke="#444444" stroke-width="1.4" marker-end="url(#tip)"/>'


def down(above: Box, below: Box) -> str:
    """An arrow from a box to the one below it."""
    return arrow((above.centre[0], above.bottom), (below.centre[0], below.y))
