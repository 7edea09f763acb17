"""One analysis of a density, without an optimization: what the part does under each load."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mpi4py import MPI

import numpy as np
from numpy.typing import NDArray

from morpho.errors import InputError
from morpho.fem.assembled_reactions import reactions as assembled_reactions
from morpho.fem.voxel.equation import VoxelEquation
from morpho.fem.voxel.reactions import reactions as voxel_reactions
from morpho.gradients.physics import from_state
from morpho.gradients.values import thresholded
from morpho.interfaces import Array
from morpho.judge import SOLID, finished_parts
from morpho.loop import TIGHT
from morpho.mesh import Mesh, VoxelMesh
from morpho.pads import away_from_pads
from morpho.parallel import global_dot, global_max, on_root, raise_together
from morpho.parts import Parts
from morpho.problem.spec import Problem
from morpho.record import check_folder, make_grid, state_fields
from morpho.redistribute import Redistribution
from morpho.results.vtk import VtkSeries


@dataclass(frozen=True)
class CaseFigures:
    """What a load case does to a part. Equal on all ranks."""

    compliance: float
    displacement: float  #: the largest of a node of solid cells; of heat the highest temperature
    von_mises: float  #: the highest, times the root of the density; nan in heat
    von_mises_away: float  #: the highest away from loads and supports (`pads`); nan in heat and where no cell is left
    reactions: tuple[tuple[float, ...], ...]  #: of each support, on the body by component; in heat what flows in


@dataclass(frozen=True)
class Analysis:
    """What a density is worth. Scalars are equal on all ranks."""

    objective: float  #: the compliance where the objective does not depend on the state
    volume: float  #: fraction of the mesh
    mass: float  #: volume times material.density
    pieces: int  #: that hang together by the faces of cells
    cases: dict[str, CaseFigures]
    rho: Array  #: (n,) owned cells
    key: NDArray[np.int64]  #: (n,) number of each owned cell


def analyse(
    problem: Problem,
    density: Array | str | Path | None = None,
    comm: MPI.Comm | None = None,
    threshold: bool = False,
    output: str | Path | None = None,
) -> Analysis:
    """Solve every load case once for a density, at the final values of every continuation (collective).

    Args:
        density: (n,) of the owned cells, in the order of `Result.rho` on as many ranks; a run folder, whose last
            written design counts; a .npy file of all cells in the order of their numbers (`Result.whole`); None: the
            full body, without its passive void.
        threshold: whether to take the part in 0 and 1 that has the volume of the density.
        output: folder for the fields, design.pvd; it has to be new or empty.

    Raises:
        InputError: the problem, or the density, cannot be.
        SolverError: a load case could not be solved.
    """
    comm = comm or MPI.COMM_WORLD
    folder = None if output is None else check_folder(comm, Path(output), overwrite=False)
    with finished_parts(problem, comm) as parts:
        rho = density_of(parts, density)
        found = figures(parts, thresholded(comm, rho, parts.mesh.volumes) if threshold else rho)
        if folder is not None:
            cells, points = state_fields(parts.physics)
            series = VtkSeries(folder, make_grid(parts), append_from=None)
            series.write(0, {"physical_density": found.rho, **cells}, points)
        return found


def table(found: Analysis) -> list[str]:
    """The figures in lines (local)."""
    width = max(len("load case"), *map(len, found.cases))
    lines = [
        f"{'load case':<{width}}  {'compliance':>12}  {'displacement':>12}  {'von Mises':>12}  {'off the pads':>12}"
    ]
    for name, case in found.cases.items():
        row = case.compliance, case.displacement, case.von_mises, case.von_mises_away
        lines.append(f"{name:<{width}}  " + "  ".join(f"{value:12.6g}" for value in row))
    for name, case in found.cases.items():
        rows = [", ".join(f"{value:.6g}" for value in row) for row in case.reactions]
        lines += [f"{name}: supports[{s}] exerts ({row})" for s, row in enumerate(rows)]
    pieces = f"{found.pieces} piece{'s' * (found.pieces != 1)}"
    figures = f"objective {found.objective:.7g}, volume fraction {found.volume:.4f}, mass {found.mass:.6g}, {pieces}"
    return [*lines, figures]


def figures(parts: Parts, rho: Array) -> Analysis:
    """Of one density (n,), by an exact solve (collective)."""
    comm, mesh, physics = parts.comm, parts.mesh, parts.physics
    exact = from_state(physics, physics.solve(rho, TIGHT))
    solid = rho > SOLID
    nodes = _nodes_of(mesh, solid if global_max(comm, solid.astype(float)) else np.ones(len(rho), bool))
    cases = {}
    for i, name in enumerate(physics.cases):
        moved = np.linalg.norm(physics.vertex_displacement(i)[nodes], axis=1)
        stress = np.sqrt(rho) * physics.von_mises(i) if physics.components > 1 else np.full(1, np.nan)
        away = away_from_pads(parts, i) if physics.components > 1 else np.zeros(1, bool)
        inside = global_max(comm, np.where(away, stress, -1.0))
        held = tuple(tuple(map(float, row)) for row in _reactions(parts, i, rho))
        cases[name] = CaseFigures(
            compliance=float(exact.cases[i]),
            displacement=global_max(comm, moved),
            von_mises=global_max(comm, stress),
            von_mises_away=inside if inside >= 0 else float("nan"),
            reactions=held,
        )
    volume = global_dot(comm, mesh.volumes, rho)
    return Analysis(
        objective=parts.responses.stiffness(rho, exact),
        volume=volume / mesh.total_volume,
        mass=volume * parts.problem.material.density,
        pieces=physics.pieces(solid),
        cases=cases,
        rho=rho,
        key=np.asarray(mesh.key, np.int64),
    )


def _reactions(parts: Parts, i: int, rho: Array) -> Array:
    """(supports, components) of load case i after a solve (collective)."""
    physics, supports = parts.physics, parts.problem.supports
    if isinstance(physics, VoxelEquation):
        return voxel_reactions(physics, supports, i, rho)
    return assembled_reactions(physics, supports, i)


def density_of(parts: Parts, given: Array | str | Path | None) -> Array:
    """(n,) of the owned cells (collective)."""
    if isinstance(given, str | Path):
        return _stored(parts, Path(given)) if Path(given).suffix == ".npy" else _read(parts, Path(given))
    if given is None:
        rho = np.ones(parts.mesh.n)
        rho[parts.design.passive.void] = 0.0
        return rho
    fits = np.shape(given) == (parts.mesh.n,)
    said = f"density: got an array of shape {np.shape(given)}, this rank has {parts.mesh.n} cells"
    raise_together(parts.comm, [] if fits else [said])
    return np.asarray(given, np.float64)


def _stored(parts: Parts, file: Path) -> Array:
    """The own cells of an array of all; each rank reads its pieces of the file (collective)."""
    rho: Array = np.zeros(parts.mesh.n)
    said: list[str] = []
    try:
        stored = np.load(file, mmap_mode="r", allow_pickle=False)
        if stored.shape != (parts.mesh.n_global,) or not np.issubdtype(stored.dtype, np.floating):
            said = [f"{file}: holds {stored.dtype} {stored.shape}; the mesh takes numbers ({parts.mesh.n_global},)"]
        else:
            rho = np.asarray(stored[np.asarray(parts.mesh.key)], np.float64)
            if not (np.isfinite(rho).all() and rho.min(initial=0) >= 0 and rho.max(initial=0) <= 1):
                said = [f"{file}: its densities should be finite, and between 0 and 1"]
    except (OSError, ValueError) as error:
        said = [f"{file}: cannot be read ({error})"]
    raise_together(parts.comm, said)
    return rho


def _read(parts: Parts, folder: Path) -> Array:
    """The last written design of a run; rank 0 reads it (collective)."""

    def load() -> tuple[Array, NDArray[np.int64]]:
        from morpho.results.designs import load_design
        from morpho.results.inside import INSIDE
        from morpho.results.vtk import CELL_NUMBER

        design = load_design(folder)
        rho = np.asarray(design.cell_data["physical_density"], np.float64)
        if INSIDE in design.cell_data:
            rho = rho[np.asarray(design.cell_data[INSIDE]) > 0]
        numbers = design.cell_data.get(CELL_NUMBER)
        if numbers is None and isinstance(parts.mesh, Mesh):
            raise InputError(f"{folder}: its design does not say the numbers of its cells; run it again.")
        return rho, np.arange(len(rho)) if numbers is None else np.asarray(numbers, np.int64)

    found: list[tuple[Array, NDArray[np.int64]]] = []  # on rank 0

    def count_cells() -> int:
        found.append(load())
        return len(found[0][0])

    count = on_root(parts.comm, count_cells)
    if count != parts.mesh.n_global:
        raise InputError(f"{folder}: its design has {count} cells, the mesh of the problem {parts.mesh.n_global}.")
    rho, numbers = found[0] if found else (np.zeros(0), np.zeros(0, np.int64))
    return Redistribution(parts.comm, numbers, np.asarray(parts.mesh.key, np.int64)).apply(rho)


def _nodes_of(mesh: Mesh | VoxelMesh, cells: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which of this rank's nodes are corners of some cells (local)."""
    if isinstance(mesh, Mesh):
        nodes = np.zeros(len(mesh.domain.geometry.x), dtype=bool)
        nodes[mesh.domain.geometry.dofmap[: mesh.n][cells]] = True
        return nodes
    marked, inside = np.zeros(mesh.node_shape, dtype=bool), mesh.grid(cells)
    ends = (slice(None, -1), slice(1, None))
    for z in ends if mesh.dim == 3 else (slice(None),):
        for y in ends:
            for x in ends:
                marked[z, y, x] |= inside
    return marked.reshape(-1)
