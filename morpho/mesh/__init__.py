"""Meshes: boxes, files, uniform refinement that keeps parents, and the entities that a region selects."""

from morpho.mesh.build import build_mesh
from morpho.mesh.mesh import Mesh

__all__ = ["Mesh", "build_mesh"]
