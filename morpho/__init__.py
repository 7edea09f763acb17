"""morpho: parallel topology optimization on FEniCSx.

    import morpho

    problem = morpho.load_problem("problems/mbb_2d.yaml")
    result = morpho.solve(problem)

Importing this package is cheap: dolfinx, PETSc, torch and pyvista are imported where they are used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from morpho import numba_cache
from morpho.version import VERSION

__version__ = VERSION

if TYPE_CHECKING:
    from morpho import gradients, responses
    from morpho.analysis import Analysis, analyse
    from morpho.interfaces import Gradient, Status
    from morpho.problem import Problem, load_problem
    from morpho.result import Result
    from morpho.run import iterate, resume, solve
    from morpho.step import Step

_HOMES = {
    "Analysis": "morpho.analysis",
    "Gradient": "morpho.interfaces",
    "Status": "morpho.interfaces",
    "Problem": "morpho.problem",
    "load_problem": "morpho.problem",
    "Result": "morpho.result",
    "Step": "morpho.step",
    "analyse": "morpho.analysis",
    "iterate": "morpho.run",
    "resume": "morpho.run",
    "solve": "morpho.run",
}

__all__ = [
    "Analysis",
    "Gradient",
    "Problem",
    "Result",
    "Status",
    "Step",
    "analyse",
    "gradients",
    "iterate",
    "load_problem",
    "responses",
    "resume",
    "solve",
]


def __getattr__(name: str) -> Any:
    if name in ("gradients", "responses"):
        return importlib.import_module(f"morpho.{name}")
    if name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'morpho' has no attribute {name!r}")


def __dir__() -> list[str]:
    """Also what is imported at first use."""
    return sorted({*globals(), *__all__})


numba_cache.choose()
