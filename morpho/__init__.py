"""morpho: parallel topology optimization on FEniCSx.

    import morpho

    problem = morpho.load_problem("problems/mbb_2d.yaml")
    result = morpho.solve(problem)

Importing this package is cheap: dolfinx, PETSc, torch and pyvista are imported where they are used.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from morpho import numba_cache

__version__ = "0.1.0"

if TYPE_CHECKING:
    from morpho import gradients
    from morpho.interfaces import Gradient, Status
    from morpho.problem import Problem, load_problem
    from morpho.solve import Result, Step, iterate, resume, solve

_HOMES = {
    "Gradient": "morpho.interfaces",
    "Status": "morpho.interfaces",
    "Problem": "morpho.problem",
    "load_problem": "morpho.problem",
    "Result": "morpho.solve",
    "Step": "morpho.solve",
    "iterate": "morpho.solve",
    "resume": "morpho.solve",
    "solve": "morpho.solve",
}

__all__ = [
    "Gradient",
    "Problem",
    "Result",
    "Status",
    "Step",
    "gradients",
    "iterate",
    "load_problem",
    "resume",
    "solve",
]


def __getattr__(name: str) -> Any:
    if name == "gradients":
        return importlib.import_module("morpho.gradients")
    if name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'morpho' has no attribute {name!r}")


class _Package(ModuleType):
    """This package: importing the module `morpho.solve` does not hide the function `morpho.solve`."""

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
numba_cache.choose()
