"""Arrays that take memory only where something is written, and only as long as they are needed."""

from __future__ import annotations

import math
import mmap
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray


def zeros(shape: tuple[int, ...], dtype: DTypeLike = np.float64, sparse: bool = False) -> NDArray[Any]:
    """Zeros; of `sparse` ones the pages that are never written are never taken from the machine (local).

    numpy asks for pages of 2 MB, of which a part in its box leaves hardly one untouched; here they have 4 kB, which is
    about a row of nodes.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if not sparse or size == 0:
        return np.zeros(shape, dtype)
    return np.frombuffer(pages(size, sparse), dtype).reshape(shape)


def pages(size: int, sparse: bool) -> mmap.mmap:
    """Memory that is zero, and is taken when it is written; `sparse`: in small pages (local)."""
    found = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with suppress(OSError):  # a kernel without large pages
        found.madvise(mmap.MADV_NOHUGEPAGE if sparse else mmap.MADV_HUGEPAGE)
    return found
