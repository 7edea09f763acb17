"""Where a run starts: from the volume alone, from an array, or from the design of another run."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mpi4py import MPI

import numpy as np

from morpho.errors import InputError
from morpho.fem import engine
from morpho.gradients import registry
from morpho.interfaces import Array
from morpho.mesh import Mesh, VoxelMesh, build_mesh, voxel_mesh, voxelized
from morpho.mesh.fingerprint import fingerprint
from morpho.optimizers.one_constraint import by_secants, find_zero
from morpho.parallel import global_dot, on_root, raise_together
from morpho.parts import Parts
from morpho.problem import Problem, load_problem
from morpho.problem.spec import VolumeConstraint
from morpho.results import checkpoint, restart_sets, run_folder
from morpho.results.history import HistoryRow
from morpho.step import Restart
from morpho.stopping import FEASIBLE
from morpho.transfer import transfer

LEAST = 1e-3  #: of a designed cell that is not taken as it was: what is zero would stay zero under OC
CLOSE = 1e-6  #: of a volume, relative, that counts as met
NOTHING = 1e-6  #: that a design is scaled down to at most
MOST = 1e3  #: that a design is scaled up by before its void is filled, too


@dataclass(frozen=True)
class Start:
    """What the first iteration starts from, and what is to be said of it."""

    restart: Restart
    notes: list[str] = field(default_factory=list)
    rows: list[HistoryRow] = field(default_factory=list)  #: of the iterations on coarser grids


def complaints(problem: Problem) -> list[str]:
    """Why a problem cannot start from the run that it names, as far as it shows without a mesh (local)."""
    return [] if problem.start is None else _seen(Path(problem.start.run), problem)[1]


def check(problem: Problem, comm: MPI.Comm) -> None:
    """Raise InputError where a problem cannot start from the run that it names (collective)."""
    raise_together(comm, on_root(comm, lambda: complaints(problem)))


def begin(parts: Parts, x0: Array | None = None) -> Start:
    """The start of a problem: x0 (n,) of the owned cells where it is given, the run it names, or its own (collective).

    Raises:
        InputError: x0 or the run does not fit the problem.
    """
    own, named = parts.start(), parts.problem.start
    if x0 is not None:
        return Start(replace(own, x=_checked(parts, x0)), ["start: from the array that was given"])
    if named is None:
        return Start(own)
    x, notes = _from_run(parts, Path(named.run))
    return Start(replace(own, x=x), notes)


def _checked(parts: Parts, x0: Array) -> Array:
    """The array with passive cells as they have to be (collective)."""
    values = np.asarray(x0, np.float64)
    said = []
    if values.shape != (parts.mesh.n,):
        said = [f"x0: got an array of shape {values.shape}, this rank has {parts.mesh.n} cells"]
    elif not (np.isfinite(values).all() and values.min(initial=0) >= 0 and values.max(initial=0) <= 1):
        said = ["x0: its values should be finite, and between 0 and 1"]
    raise_together(parts.comm, said)
    return np.array(parts.design.passive.apply(values)[0])


def _seen(folder: Path, problem: Problem) -> tuple[dict[str, Any] | None, list[str]]:
    """The record of the newest checkpoint of a run, and why a problem cannot start there (local)."""
    place = f"start.run: {folder}"
    if not folder.is_dir():
        return None, [f"{place}: there is no such folder; give that of a run (relative to the problem file)"]
    if not run_folder.is_run(folder):
        return None, [f"{place}: is no run folder; give one that `morpho solve` wrote"]
    found, bad = restart_sets.find(folder / "checkpoint")
    if not found:
        return None, [f"{place}: there is no usable checkpoint{''.join(f'; {text}' for text in bad)}"]
    record = found[0][1]
    if not isinstance(record["meta"], dict) or not isinstance(record["meta"].get("mesh"), dict):
        return None, [f"{place}: its checkpoint does not say of what mesh it is; run it again with this version"]
    try:
        old = load_problem(folder / "problem.yaml", allow_code=True)
    except InputError as error:
        return record, [f"{place}: its problem cannot be read again ({text})" for text in error.complaints[:1]]
    dims = old.mesh.dim, problem.mesh.dim
    if None not in dims and dims[0] != dims[1]:
        return record, [f"{place}: is {dims[0]}-dimensional, the problem {dims[1]}-dimensional"]
    if old.mesh.box is not None:
        split = {"triangle": 2, "tetrahedron": 6}.get(old.mesh.box.cell or "", 1)
        if record["n_global"] != split * math.prod(n * 2**old.mesh.refine for n in old.mesh.box.cells):
            return record, [f"{place}: its checkpoint is not of the mesh that its problem.yaml says"]
    return record, []


def _from_run(parts: Parts, folder: Path) -> tuple[Array, list[str]]:
    """The design of a run on this mesh, with the volume that is asked for (collective)."""
    comm, mesh = parts.comm, parts.mesh
    record, said = on_root(comm, lambda: _seen(folder, parts.problem))
    raise_together(comm, said)
    assert record is not None
    if record["meta"]["mesh"] == parts.fingerprint:
        (x, note), exact = (_read(parts.mesh, folder), f"start: from the design of {folder}, on the same mesh"), True
    else:
        old = _mesh_of(parts, folder, record)
        if old.dim != mesh.dim:
            raise InputError(f"start.run: {folder}: is {old.dim}-dimensional, the problem {mesh.dim}-dimensional")
        moved = transfer(old, _read(old, folder), mesh)
        if moved.found == 0:
            raise InputError(f"start.run: {folder}: its mesh does not lie where that of the problem is")
        x, exact = moved.values, False
        note = f"start: from the design of {folder}, {old.n_global} cells onto {mesh.n_global}"
        if moved.found < 1 - CLOSE:
            note += f"; {100 * (1 - moved.found):.2g} % of the volume lies outside of it and takes the mean"
    x = np.array(parts.design.passive.apply(np.clip(x, 0.0, 1.0))[0])
    return with_volume(parts, x, exact, note)


def _mesh_of(parts: Parts, folder: Path, record: dict[str, Any]) -> Mesh | VoxelMesh:
    """The mesh that a run was made on, on the ranks of this one (collective)."""
    problem = on_root(parts.comm, lambda: load_problem(folder / "problem.yaml", allow_code=True))
    place = f"start.run: {folder}"
    mesh: Mesh | VoxelMesh
    try:
        if not engine.uses_voxels(problem):
            mesh = build_mesh(problem.mesh, parts.comm)
        elif problem.mesh.box is not None:
            mesh = voxel_mesh(problem.mesh.box, problem.mesh.refine, parts.comm)
        else:
            block = problem.gradient.block if registry.uses_blocks(problem.gradient.source) else 1
            mesh = voxelized(problem.mesh, parts.comm, block)
    except InputError as error:
        raise InputError([f"{place}: {text}" for text in error.complaints]) from None
    if record["meta"]["mesh"] != fingerprint(problem.mesh, mesh):
        raise InputError(f"{place}: its mesh is not that of its checkpoint any more; the file of the mesh has changed")
    return mesh


def _read(mesh: Mesh | VoxelMesh, folder: Path) -> Array:
    """The design variable (n,) of a run on its own mesh (collective)."""
    arrays, _, _ = checkpoint.read(folder, mesh.comm, mesh.key, mesh.n_global, ["x"])
    x = arrays["x"]
    usable = x.shape == (mesh.n,) and bool(np.isfinite(x).all())
    raise_together(mesh.comm, [] if usable else [f"start.run: {folder}: its design is no array of finite numbers"])
    return x


def with_volume(parts: Parts, x: Array, exact: bool, note: str) -> tuple[Array, list[str]]:
    """The design scaled to the least volume that a constraint on the whole asks for; an exact one that has it already
    stays as it is (collective)."""
    limits = [
        c.volume_fraction for c in parts.problem.constraints if isinstance(c, VolumeConstraint) and c.region is None
    ]
    passive = parts.design.passive
    if not limits:
        return x, [note]
    wanted = min(limits)

    def miss(scaled: Array) -> float:
        rho = parts.design.realise(1, scaled).rho
        return global_dot(parts.comm, parts.mesh.volumes, rho) / parts.mesh.total_volume / wanted - 1

    before = miss(x)
    if exact and abs(before) <= FEASIBLE:
        return x, [note]
    x = np.array(passive.apply(np.maximum(x, LEAST))[0])

    def at(s: float) -> Array:
        """Scaled and cut off at 1; beyond MOST times void fills up, too."""
        grown = np.minimum(1.0, x * min(s, MOST))
        return np.array(passive.apply(grown + max(0.0, s / MOST - 1) * (1 - grown))[0])

    def off(s: float) -> tuple[float, float]:
        value = miss(at(s))
        return value, (1 + value) / s

    near = 1 / max(1 + before, NOTHING)
    x = at(find_zero(by_secants(off), NOTHING, 2 * MOST, near, CLOSE, CLOSE, reach=4.0))
    scaled = f"; scaled from the volume fraction {(1 + before) * wanted:.4g} to {(1 + miss(x)) * wanted:.4g}"
    return x, [note + (scaled if abs(before) > FEASIBLE else "")]
