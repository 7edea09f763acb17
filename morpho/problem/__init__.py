"""Problem files: YAML to a frozen, typed `Problem`. Imports neither dolfinx nor MPI."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from morpho.problem.load import dump_problem, load_problem
    from morpho.problem.spec import Problem

_HOMES = {"Problem": "spec", "dump_problem": "load", "load_problem": "load"}

__all__ = ["Problem", "dump_problem", "load_problem"]


def __getattr__(name: str) -> Any:
    """Imported at first use: the problem's parts import `morpho.functionals`, whose parts import ours."""
    if name not in _HOMES:
        raise AttributeError(f"module 'morpho.problem' has no attribute {name!r}")
    return getattr(importlib.import_module(f"morpho.problem.{_HOMES[name]}"), name)
