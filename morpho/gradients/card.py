"""What a source is, in words, for the documentation and its diagrams."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from morpho.gradients.architectures import Layers


@dataclass(frozen=True)
class Card:
    """Data flow of a gradient source."""

    summary: str
    formula: str
    inputs: tuple[str, ...]  #: what `estimate` takes in
    steps: tuple[str, ...]  #: what it does, one after the other
    learns: str  #: what an exact gradient is used for
    blocks: bool = False  #: whether it needs the solution on blocks
    corrected: bool = True  #: whether the supervisor asks for exact updates between the first and the last iterations
    warm_up: int = 3  #: exact updates at the start, if the problem does not say
    loose: bool = True  #: whether updates may be solved loosely
    rival: bool = False  #: whether the secant is the fallback while the source loses to it
    carries: Literal["compliance", "linear", "any"] = "linear"  #: responses: linear ones are displacements and the like
    networks: Mapping[str, Layers] = field(default_factory=dict)  #: by architecture, the default one first
