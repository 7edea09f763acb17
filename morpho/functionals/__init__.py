"""Responses that are not linear in the state, one small file each.

A module here is found by itself. It holds a `SPEC`, what the problem file says of it, and a `FUNCTIONAL`, the class
that follows the contract in `functional`; nothing else has to be changed for another one.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

_SHARED = ("functional", "registry")

#: kind -> module of each
KINDS: dict[str, Any] = {
    found.name: importlib.import_module(f"morpho.functionals.{found.name}")
    for found in pkgutil.iter_modules(__path__)
    if found.name not in _SHARED
}
