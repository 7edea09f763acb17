"""Which engine solves the state equation of a problem."""

from __future__ import annotations

from morpho.problem.spec import Problem


def obstacles(problem: Problem) -> list[str]:
    """Why the voxel engine cannot take a problem; empty if it can (local)."""
    said = []
    if problem.mesh.file is not None:
        said.append("the mesh is neither a box nor voxelized")
    elif problem.mesh.box is not None and problem.mesh.box.cell in ("triangle", "tetrahedron"):
        said.append(f"the cells are {problem.mesh.box.cell}s; use quadrilaterals or hexahedra")
    if problem.solver.degree != 1:
        said.append("solver.degree is 2; it has degree 1 only")
    if problem.solver.preset not in ("auto", "multigrid"):
        said.append(f"solver.preset is {problem.solver.preset}; it has its own multigrid")
    if problem.solver.petsc_options:
        said.append("solver.petsc_options are given; it does not use PETSc's solvers")
    return said


def uses_voxels(problem: Problem) -> bool:
    """Whether the voxel engine solves a problem (local)."""
    return problem.engine == "voxel" or (problem.engine == "auto" and not obstacles(problem))


def complaints(problem: Problem) -> list[str]:
    """What is wrong with the choice of the engine (local)."""
    if problem.engine == "voxel":
        return [f"engine: the voxel engine cannot be used: {reason}" for reason in obstacles(problem)]
    if problem.mesh.voxelize is not None and not uses_voxels(problem):
        reasons = "; ".join(obstacles(problem)) or "engine is assembled"
        return [f"mesh.voxelize: only the voxel engine takes voxels of a part (here: {reasons})"]
    if problem.solver.stop == "sensitivity" and not uses_voxels(problem):
        return ["solver.stop: the assembled engine stops on the residual only; leave it out, or use engine: voxel"]
    return []
