"""What the machine has."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from pathlib import Path

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4  #: of malloc.h
SPARED = 10 << 20  #: bytes of an array up to which it is worth keeping the memory: a million doubles and some


def physical_memory() -> int:
    """Bytes of the machine, or the share of them that a container may use (local)."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):
            physical = min(physical, int(Path(limit).read_text()))
    return physical


def share_out_freed_memory() -> None:
    """Let small arrays have the memory of those that are freed, and that of large ones go back to the machine (local).

    What is fresh comes in pages of 4 kB, and taking one costs as much as ten passes through it. Large arrays get large
    pages, and are what counts at the peak: PETSc lets a process keep all it ever had. It is glibc that can be told.
    """
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in ((M_MMAP_MAX, 1 << 16), (M_MMAP_THRESHOLD, SPARED), (M_TRIM_THRESHOLD, 1 << 30)):
            mallopt(option, value)


def give_back_freed_memory() -> None:
    """Let the machine have what small arrays have left, too (local)."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
