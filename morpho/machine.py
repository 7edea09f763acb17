"""What the machine has."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def physical_memory() -> int:
    """Bytes of the machine, or the share of them that a container may use (local)."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):
            physical = min(physical, int(Path(limit).read_text()))
    return physical
