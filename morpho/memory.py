"""How much memory a problem takes, from what was measured, and how much there is."""

from __future__ import annotations

import math

from mpi4py import MPI

from morpho.fem import engine
from morpho.fields import at_solve, at_update, fields
from morpho.gradients import registry
from morpho.machine import physical_memory
from morpho.problem.spec import Problem

PROCESS = {"voxel": 0.26e9, "assembled": 0.33e9}  #: bytes of a rank with its libraries, by engine
TORCH = 0.25e9  #: bytes of a rank more where a source imports torch
EDGES = 1.06  #: bytes of a field over those that its elements alone would take
CASE = 90  #: bytes per element and load case of the assembled engine
BLOCKS = 550  #: bytes per element more of a source that works on blocks, there
UPDATES = {"mma": 100, "simpl": 24}  #: bytes per element more of these optimizers, there
MATRIX = {2: 2000, 3: 4000}  #: bytes per unknown of an assembled matrix with its solver
NEIGHBOUR = 12  #: bytes per element and neighbour in a cone filter of the assembled engine
CELLS = 2**31  #: more of them no rank can number

_SPLIT = {"triangle": 2, "tetrahedron": 6}  #: cells that a cell of a box is cut into
_WITH_TORCH = {"onsg", "prosg", "sobolev", "dni"}


def expected(problem: Problem, n_cells: int, n_dofs: int, cell_size: float, dim: int, ranks: int) -> float:
    """Bytes on all ranks together, about (local)."""
    cases = len(problem.loads)
    if engine.uses_voxels(problem):
        found = fields(problem, dim, n_cells / ranks)
        return EDGES * max(at_solve(found), at_update(found)) * n_cells + ranks * _process(problem, "voxel")
    total = float(MATRIX[dim]) * n_dofs + CASE * cases * n_cells
    for radius in set(problem.radii.values()) if problem.design.filter.kind != "helmholtz" else ():
        reach = radius / cell_size
        within = math.pi * reach**2 if dim == 2 else 4 / 3 * math.pi * reach**3
        total += NEIGHBOUR * n_cells * min(within, n_cells)
    total += (BLOCKS if registry.uses_blocks(problem.gradient.source) else 0) * n_cells
    total += UPDATES.get(problem.update, 0) * n_cells
    return total + ranks * _process(problem, "assembled")


def _process(problem: Problem, name: str) -> float:
    return PROCESS[name] + (TORCH if problem.gradient.source in _WITH_TORCH else 0)


def available(comm: MPI.Comm) -> float:
    """Bytes of memory of the machines that the ranks are on, as far as they may use it (collective)."""
    machine = comm.Split_type(MPI.COMM_TYPE_SHARED)
    own = float(physical_memory()) if machine.rank == 0 else 0.0
    machine.Free()
    return float(comm.allreduce(own))


def complaints(problem: Problem, comm: MPI.Comm) -> list[str]:
    """Why the box of a problem does not fit into the machine (collective)."""
    box = problem.mesh.box
    if box is None:
        return []
    dim, times = len(box.size), 2**problem.mesh.refine
    n_cells = math.prod(n * times for n in box.cells) * _SPLIT.get(box.cell or "", 1)
    nodes = math.prod(n * times * problem.solver.degree + 1 for n in box.cells)
    size = math.prod(length / n / times for length, n in zip(box.size, box.cells, strict=True)) ** (1 / dim)
    components = 1 if problem.physics == "heat" else dim
    bytes_needed = expected(problem, n_cells, nodes * components, size, dim, comm.size)
    there = available(comm)
    if bytes_needed > there:
        return [
            f"mesh.box.cells: {_counted(n_cells)} cells take about {gigabytes(bytes_needed)} of memory, there are "
            f"{gigabytes(there)} for {comm.size} rank{'s' * (comm.size > 1)}; take fewer cells, or more machines"
        ]
    if n_cells / comm.size > CELLS / 2:
        return [f"mesh.box.cells: {_counted(n_cells)} cells are too many for {comm.size} ranks; start more of them"]
    return []


def gigabytes(size: float) -> str:
    """A number of bytes to read."""
    return f"{size / 1e9:.1f} GB" if size < 1e13 else f"{size / 1e9:.2g} GB"


def _counted(n: int) -> str:
    return f"{n:,}" if n < 10**15 else f"{float(n):.2g}"
