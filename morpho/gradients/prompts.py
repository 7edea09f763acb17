"""What the newest exact gradient says, as the few numbers that a second network sees, from samples of cells."""

from __future__ import annotations

import numpy as np

from morpho.gradients.features import LARGEST_LOG, NAMES
from morpho.gradients.physics import Floats

ENERGY, BLOCK_ENERGY, RATIO = (
    NAMES.index(name)
    for name in (
        "log coarse energy",
        "log coarse energy of the block, corner mean",
        "log of exact over coarse energy at the anchor",
    )
)
QUANTILES = (0.1, 0.3, 0.5, 0.7, 0.9)
SIZE = 3 + 2 * len(QUANTILES) + len(NAMES)  #: numbers in a prompt


def prompt(density: float, features: Floats, scaled: Floats, target: Floats, residual: Floats) -> Floats:
    """(SIZE,) mean density, quantiles of energies, and the residual: mean, spread, what it goes along with (local).

    Args:
        features, scaled: (m, features) of cells at the new exact design, as they are and scaled.
        target: (m,) change of log(e / eH) since the last exact design.
        residual: (m,) log of exact over estimated energy, by the weights in force until now.
    """
    exact = features[:, ENERGY] + features[:, RATIO] + target
    energies = np.quantile(np.stack([features[:, BLOCK_ENERGY], exact]), QUANTILES, axis=1) / LARGEST_LOG
    along = residual @ scaled / len(residual)
    few = np.array([density, float(residual.mean()), float(residual.std())])
    return np.concatenate([few, energies.ravel(), along]).astype(np.float32)
