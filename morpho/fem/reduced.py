"""Galerkin projection of a state equation onto a few displacements."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from morpho.interfaces import Array

RCOND = 1e-12  #: directions that add less than this to the others are left out


def best_combination(
    basis: Sequence[Array], f: Array, apply: Callable[[Array], Array], dot: Callable[[Array, Array], float]
) -> tuple[Array, float]:
    """The combination u of the basis with the least energy, and |f - K u| / |f| (collective).

    Args:
        basis: displacements that vanish at held dofs.
        f: the load there, held entries zero.
        apply: K times a displacement, held entries zero.
        dot: inner product over all ranks.
    """
    images = [apply(v) for v in basis]
    gram = np.array([[dot(v, image) for image in images] for v in basis])
    rhs = np.array([dot(v, f) for v in basis])
    scale = 1 / np.sqrt(np.maximum(np.diag(gram), 1e-300))
    a = scale * np.linalg.lstsq(gram * np.outer(scale, scale), rhs * scale, rcond=RCOND)[0]
    u, rest = np.zeros_like(f), f.copy()
    for weight, v, image in zip(a, basis, images, strict=True):
        u += weight * v
        rest -= weight * image
    return u, float(np.sqrt(dot(rest, rest) / max(dot(f, f), 1e-300)))
