"""A network as a picture: its layers, one below the other, with the links past them."""

from __future__ import annotations

from itertools import pairwise

from morpho.gradients.architectures import Layer, Layers, parameters
from morpho.gradients.shapes import GAP, LINE, PAD, Box, arrow, down, frame, text

SUM = 28  #: width of the box where a residual link ends


def layer_by_layer(name: str, network: Layers, x: int, y: int, width: int) -> tuple[list[Box], list[str]]:
    """Boxes, and the frame and arrows around them, from (x, y) down."""
    across, left = width - 4 * PAD, x + 2 * PAD
    first, last = network[0], network[-1]
    cells = "each cell of a block" if first.window else "a cell"
    boxes = [Box(f"{first.inputs} features of {cells}", left, y + LINE + PAD, across, "input")]
    links: list[str] = []  # by turns on the right and on the left, so that no two meet at a sum
    for layer in network:
        before = boxes[-1]
        boxes.append(Box(described(layer), left, before.bottom + GAP, across))
        if layer.residual:
            boxes.append(Box("+", left + (across - SUM) // 2, boxes[-1].bottom + GAP, SUM, "result"))
            links.append(past(before, boxes[-1], left + across + PAD if len(links) % 2 == 0 else left - PAD))
    numbers = "number" if last.outputs == 1 else "numbers"
    boxes.append(Box(f"{last.outputs} {numbers} for {cells}", left, boxes[-1].bottom + GAP, across, "result"))
    title = f"network {name}: {parameters(network):,} parameters, the same for all cells"
    height = boxes[-1].bottom + 2 * PAD - y
    around = [
        frame(x, y, width, height, 'rx="8" fill="#f5f5f5" stroke="#9a9a9a" stroke-dasharray="5 4"'),
        text([title], x + 12, y + 18, 'fill="#5a5a5a" font-style="italic"'),
    ]
    return boxes, around + [down(above, below) for above, below in pairwise(boxes)] + links


def described(layer: Layer) -> str:
    """What a layer is, in words."""
    size = f"{layer.inputs} to {layer.outputs}{' channels' if layer.window else ''}"
    after = f"; a(z) = {layer.activation}" if layer.activation else ""
    return f"{layer.kind}, {size}, {layer.parameters:,} parameters{after}"


def past(start: Box, end: Box, side: int) -> str:
    """An arrow around the box between two, by way of a place beside all of them."""
    on_right = side > start.right
    edges = (start.right, end.right) if on_right else (start.x, end.x)
    heights = start.centre[1], end.centre[1]
    return arrow((edges[0], heights[0]), (side, heights[0]), (side, heights[1]), (edges[1], heights[1]))
