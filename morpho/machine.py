"""What the machine has."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from pathlib import Path

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4  #: of malloc.h


def physical_memory() -> int:
    """Bytes of the machine, or the share of them that a container may use (local)."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):
            physical = min(physical, int(Path(limit).read_text()))
    return physical


def give_back_freed_memory() -> None:
    """Let arrays of a megabyte and more go back to the machine as soon as they are freed (local).

    PETSc turns that off for its process; a run would keep all it ever had. It is glibc that can be told.
    """
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in ((M_MMAP_MAX, 1 << 16), (M_MMAP_THRESHOLD, 1 << 20), (M_TRIM_THRESHOLD, 1 << 20)):
            mallopt(option, value)
