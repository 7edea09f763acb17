"""Numbers from 0 to 1 in 16 bits, for densities that are kept long and matter to five digits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from morpho.interfaces import Array

Shares = NDArray[np.uint16]

ONE = 65535


def packed(values: Array) -> Shares:
    """To the nearest of ONE + 1 numbers; 0 and 1 stay what they are (local)."""
    return np.rint(values * ONE).astype(np.uint16)


def unpacked(shares: Shares) -> Array:
    """What `packed` took, nearly (local)."""
    return np.asarray(shares / ONE)
