"""Meshes: boxes, files, uniform refinement that keeps parents, and the entities that a region selects."""

from morpho.mesh.build import build_mesh
from morpho.mesh.mesh import Mesh
from morpho.mesh.voxelize import voxelized
from morpho.mesh.voxels import VoxelMesh, voxel_mesh

__all__ = ["Mesh", "VoxelMesh", "build_mesh", "voxel_mesh", "voxelized"]
