"""What the readers of mesh files hand over, in the numbering of the file."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Cells = NDArray[np.int64]

DIMENSIONS = {"vertex": 0, "line": 1, "triangle": 2, "quad": 2, "tetra": 3, "hexahedron": 3}
#: Higher-order cells are read by their vertices, as straight-sided ones.
ORDERS = {"line3": "line", "triangle6": "triangle", "quad8": "quad", "quad9": "quad", "tetra10": "tetra",
          "hexahedron20": "hexahedron", "hexahedron27": "hexahedron"}  # fmt: skip


@dataclass
class Raw:
    """Points, blocks of cells by meshio's type names, and named groups of rows of these blocks."""

    points: NDArray[np.float64]  #: (p, 2 or 3)
    blocks: list[tuple[str, Cells]] = field(default_factory=list)  #: (type, nodes as rows of `points`)
    groups: list[tuple[str, int, Cells]] = field(default_factory=list)  #: (name, block, rows of it)
    notes: list[str] = field(default_factory=list)  #: what the user should know

    def add_points(self, name: str, nodes: Cells) -> None:
        """A named group of points."""
        self.blocks.append(("vertex", np.asarray(nodes, dtype=np.int64).reshape(-1, 1)))
        self.groups.append((name, len(self.blocks) - 1, np.arange(len(nodes))))
