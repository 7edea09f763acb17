"""Whether quadrilaterals and hexahedra have a shape that can be computed with."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from morpho.errors import InputError
from morpho.late import basix

Coordinates = NDArray[np.float64]

GAUSS = 0.5 - 0.5 / np.sqrt(3)  #: the lower point of the Gauss rule of two points on (0, 1)
ZERO = 1e-9  #: what is no more than rounding, relative to the largest determinant in a cell


def check_shapes(x: Coordinates, path: str) -> list[str]:
    """Notes on concave cells among quadrilaterals (n, 4, 3) or hexahedra (n, 8, 3), vertices in dolfinx order (local).

    Raises:
        InputError: some are twisted, with two corners or more that turn the other way, or turned inside out where the
            stiffness is integrated.
    """
    dim = x.shape[1].bit_length() - 1
    corners = _determinants(x, [0.0, 1.0], dim)
    small = ZERO * np.abs(corners).max(axis=1, keepdims=True)
    against = np.minimum((corners > small).sum(axis=1), (corners < -small).sum(axis=1))
    inner = _determinants(x, [GAUSS, 1 - GAUSS], dim)
    inner *= np.sign(inner.sum(axis=1, keepdims=True))
    inside_out = ((inner <= small) & (small > 0)).any(axis=1) & (against <= 1)
    twisted = int(np.count_nonzero(against > 1))
    complaints = []
    if twisted:
        complaints.append(
            f"mesh.file: {_cells(twisted)} of {path} cross themselves or are folded: list their nodes around the cell, "
            "in 3-D the lower face before the upper one, or mesh it anew"
        )
    if inside_out.any():
        count = int(np.count_nonzero(inside_out))
        centre = ", ".join(f"{c:.4g}" for c in x[np.argmax(inside_out), :, :dim].mean(axis=0))
        complaints.append(
            f"mesh.file: {_cells(count)} of {path} {'is' if count == 1 else 'are'} so concave, such as at ({centre}), "
            "that the Jacobian determinant is not positive at a Gauss point; move their nodes, or mesh it anew"
        )
    if complaints:
        raise InputError(complaints)
    concave = int(np.count_nonzero(against == 1))
    return [f"{_cells(concave)} of {path} are concave at a corner: their stiffness is inexact"] if concave else []


def _determinants(x: Coordinates, at: list[float], dim: int) -> Coordinates:
    """(n, 2**dim) Jacobian determinants at the points whose coordinates in the unit cell are each one of two."""
    cell = "quadrilateral" if dim == 2 else "hexahedron"
    points = np.array(list(itertools.product(at, repeat=dim)))
    slopes = basix.ufl.element("Lagrange", cell, 1).tabulate(1, points)[1:]  # (dim, points, vertices)
    found = []
    for slope in slopes.swapaxes(0, 1):
        tangents = slope @ x
        normal = np.cross(tangents[:, 0], tangents[:, 1])
        found.append(normal[:, 2] if dim == 2 else np.einsum("ni,ni->n", normal, tangents[:, 2]))
    return np.stack(found, axis=1)


def _cells(count: int) -> str:
    return f"{count} cell{'s' * (count != 1)}"
