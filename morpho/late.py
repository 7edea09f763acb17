"""The libraries of the assembled engine and parts of scipy, imported when something of them is used first.

A run on the voxel engine mostly needs none of them, and they take 100 MB and 15 MB on every rank.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__all__ = [
    "PETSc",
    "basix",
    "common",
    "dio",
    "dmesh",
    "dolfinx",
    "fem",
    "fem_petsc",
    "graph",
    "la",
    "optimize",
    "spatial",
    "ufl",
]

if TYPE_CHECKING:
    from petsc4py import PETSc

    import basix
    import dolfinx
    import ufl
    from dolfinx import common, fem, graph, la
    from dolfinx import io as dio
    from dolfinx import mesh as dmesh
    from dolfinx.fem import petsc as fem_petsc
    from scipy import optimize, spatial
else:

    class _Late:
        """Stands for a module."""

        def __init__(self, name: str, *others: str) -> None:
            self._names = name, *others

        def __getattr__(self, key: str) -> Any:
            modules = [importlib.import_module(name) for name in self._names]
            value = getattr(modules[0], key)
            setattr(self, key, value)
            return value

    PETSc, ufl, basix, dolfinx = _Late("petsc4py.PETSc"), _Late("ufl"), _Late("basix", "basix.ufl"), _Late("dolfinx")
    fem, fem_petsc, la, dmesh = (_Late(f"dolfinx.{name}") for name in ("fem", "fem.petsc", "la", "mesh"))
    graph, dio, common = _Late("dolfinx.graph"), _Late("dolfinx.io"), _Late("dolfinx.common")
    spatial, optimize = _Late("scipy.spatial"), _Late("scipy.optimize")
