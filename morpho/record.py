"""Writes a run folder while the run goes on: fields, history, checkpoints, log, progress."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import morpho
from morpho.describe import describe, displacement_slips
from morpho.errors import InputError, StorageError
from morpho.interfaces import Array
from morpho.mesh import VoxelMesh
from morpho.parts import Parts, Restart, restore_state, state_arrays
from morpho.problem import Problem, dump_problem
from morpho.progress import Progress
from morpho.results import checkpoint
from morpho.results.grid import Grid, ImageGrid
from morpho.results.history import History, HistoryRow
from morpho.results.storage import replace_file, write_on_root
from morpho.results.vtk import VtkSeries

if TYPE_CHECKING:
    from morpho.result import Result
    from morpho.solve import Step

log = logging.getLogger("morpho")

#: dolfinx cell -> VTK cell type, vertices in VTK order
VTK_CELLS = {
    "triangle": (5, [0, 1, 2]),
    "quadrilateral": (9, [0, 1, 3, 2]),
    "tetrahedron": (10, [0, 1, 2, 3]),
    "hexahedron": (12, [0, 1, 3, 2, 4, 5, 7, 6]),
}


class _LogFile(logging.FileHandler):
    """log.txt; when the disk is full the history says so, which is written next."""

    def handleError(self, record: logging.LogRecord) -> None:
        pass

    def close(self) -> None:
        with suppress(OSError):
            super().close()


@contextmanager
def _only_said() -> Iterator[None]:
    """Say that something could not be written, and go on to what may still fit."""
    try:
        yield
    except StorageError as error:
        log.error(str(error))


class Recorder:
    """Everything a run leaves behind; with no folder it only shows progress. Methods are collective."""

    def __init__(self, parts: Parts, folder: Path | None, start: float, done: int | None, wall_before: float) -> None:
        self.parts, self.folder, self.start = parts, folder, start
        self.wall_before, self.setup_seconds = wall_before, 0.0
        self._progress = Progress(parts.comm, parts.problem.optimizer.max_iterations)
        self._vtk: VtkSeries | None = None
        self._log_file: logging.Handler | None = None
        self._log_level = log.level
        self._saved, self._saved_at = done, start
        if folder is None:
            return
        try:
            write_on_root(parts.comm, folder, lambda: self._open(folder, resumed=done is not None))
        except StorageError as error:
            raise InputError(f"--output: {error} Choose a folder that can be written.") from None
        self._history = History(folder / "history.csv", parts.comm, append_from=done)
        self._vtk = VtkSeries(folder, make_grid(parts), append_from=done)

    @classmethod
    def create(cls, parts: Parts, folder: str | Path | None, start: float) -> Recorder:
        """A new run folder, replacing the results of an earlier run there."""
        return cls(parts, None if folder is None else Path(folder), start, None, 0.0)

    @classmethod
    def reopen(cls, parts: Parts, folder: str | Path, start: float) -> tuple[Recorder, Restart]:
        """Go on in a run folder, and where its newest checkpoint left off."""
        restart, wall = load_restart(parts, Path(folder))
        if restart.iteration >= parts.problem.optimizer.max_iterations:
            raise InputError(
                f"{folder}: {restart.iteration} iterations are done already; go on with e.g. "
                f"--set optimizer.max_iterations={2 * restart.iteration}"
            )
        return cls(parts, Path(folder), start, restart.iteration, wall), restart

    def _open(self, folder: Path, resumed: bool) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        if not resumed and (folder / "history.csv").exists():
            log.warning(f"replacing the results of an earlier run in {folder}")
        (folder / "result.json").unlink(missing_ok=True)
        if not resumed:
            for old in (folder / "checkpoint").glob("*/meta.json"):
                old.unlink()
        text = f"# morpho {morpho.__version__}\n{dump_problem(self.parts.problem)}"
        replace_file(folder / "problem.yaml", text)
        self._log_file = _LogFile(folder / "log.txt", mode="a" if resumed else "w")
        self._log_file.setFormatter(logging.Formatter("%(message)s"))
        log.addHandler(self._log_file)
        if not log.isEnabledFor(logging.INFO):  # called from a program that shows nothing on its terminal
            log.setLevel(logging.INFO)

    def begin(self, restart: Restart) -> None:
        """After the set-up, before the first iteration."""
        self.setup_seconds = time.perf_counter() - self.start
        for line in describe(self.parts):
            log.info(line)
        if restart.iteration:
            log.info(f"resumed after iteration {restart.iteration}")
        log.info(f"set-up took {self.setup_seconds:.2f} s")
        self._progress.begin(restart.iteration)

    def add(self, step: Step) -> None:
        """Write down one iteration.

        Raises:
            StorageError: on all ranks, if any could not write.
        """
        parameters = self.parts.parameters(step.iteration)
        self._progress.show(step, parameters)
        if step.iteration == 1:
            for line in displacement_slips(self.parts):
                log.warning(line)
        if self.folder is None:
            return
        self._history.add(
            HistoryRow(
                iteration=step.iteration,
                objective=step.objective,
                kind=step.gradient.kind,
                volume=step.volume,
                change=step.change,
                greyness=step.greyness,
                exact_solves=step.exact_solves,
                linear_iterations=step.linear_iterations,
                seconds=step.seconds,
                max_constraint=step.max_constraint,
                move_limit=step.advice.move_limit,
                step=step.advice.how,
                since=step.advice.since,
                error=step.advice.error,
                secant_error=step.advice.rival_error,
                gap=step.advice.gap,
                coarse_iterations=step.gradient.coarse_iterations,
                rollback=int(step.advice.rollback),
                **parameters,
            )
        )
        output = self.parts.problem.output
        if step.status or step.iteration <= output.first or step.iteration % output.every == 0:
            self._write_fields(step)
        if step.status or step.iteration % output.checkpoint_every == 0 or self._is_overdue():
            self._save(step.restart)

    def end(self, result: Result, last: Step | None) -> None:
        """Write the result; after a failure also the last good design, as far as the disk lets it."""
        self._progress.end()
        log.info(result.message)
        log.info(
            f"objective {result.objective:.8g}, volume {result.volume:.4f}, {result.iterations} iterations, "
            f"{result.exact_solves} exact solves, {result.wall_seconds:.1f} s"
        )
        if spent := getattr(self.parts.source, "seconds", None):
            log.info("of it " + ", ".join(f"{part} {value:.2f} s" for part, value in spent.items()))
        if self.folder is None:
            return
        if last is not None and self._saved != last.iteration:
            with _only_said():
                self._write_fields(last)
            with _only_said():
                self._save(last.restart)
        with _only_said():
            text = json.dumps(_plain(result.to_dict()), indent=2) + "\n"
            path = self.folder / "result.json"
            write_on_root(self.parts.comm, path, lambda: replace_file(path, text))
            log.info(f"results are in {self.folder}")
        if self._log_file is not None:
            log.removeHandler(self._log_file)
            log.setLevel(self._log_level)
            self._log_file.close()

    def _is_overdue(self) -> bool:
        """Whether the last checkpoint is too many minutes old, by rank 0's clock (collective)."""
        minutes = (time.perf_counter() - self._saved_at) / 60
        return bool(self.parts.comm.bcast(minutes > self.parts.problem.output.checkpoint_minutes, root=0))

    def _write_fields(self, step: Step) -> None:
        assert self._vtk is not None
        physics = self.parts.physics
        cells = {"density": step.x, "physical_density": step.rho, "sensitivity": step.gradient.d_objective}
        one = len(physics.cases) == 1
        points = {
            "displacement" if one else f"displacement_{name}": physics.vertex_displacement(i)
            for i, name in enumerate(physics.cases)
        }
        self._vtk.write(step.iteration, cells, points)

    def _save(self, restart: Restart) -> None:
        assert self.folder is not None
        fields, scalars = _packed("", restart.x, restart.state)
        anchor: dict[str, Any] | None = None
        if restart.anchor is not None:
            anchored, anchor = _packed("anchor_", *restart.anchor)
            fields |= anchored
        for i in range(len(self.parts.physics.cases)):
            fields[f"u_{i}"] = self.parts.physics.displacement(i)
        source_arrays, source_values = self.parts.supervisor.save()
        fields |= {f"gradient_{name}": values for name, values in source_arrays.items()}
        meta = {
            "gradient": {"source": self.parts.problem.gradient.source, "values": source_values},
            "iteration": restart.iteration,
            "optimizer": scalars,
            "anchor": anchor,
            "task": _task(self.parts.problem),
            "objectives": list(restart.objectives),
            "exact_solves": restart.exact_solves,
            "linear_iterations": restart.linear_iterations,
            "wall_seconds": self.wall_before + time.perf_counter() - self.start,
            "morpho_version": morpho.__version__,
        }
        mesh = self.parts.mesh
        checkpoint.save(self.folder, mesh.comm, mesh.key, mesh.n_global, fields, meta)
        self._saved, self._saved_at = restart.iteration, time.perf_counter()


def load_restart(parts: Parts, folder: Path) -> tuple[Restart, float]:
    """Newest checkpoint of a folder, and the wall seconds before it; sets the displacements (collective)."""
    mesh = parts.mesh
    arrays, meta = checkpoint.load(folder, mesh.comm, mesh.key, mesh.n_global)
    for i in range(len(parts.physics.cases)):
        parts.physics.set_displacement(i, arrays[f"u_{i}"])
    saved = meta.get("gradient", {})
    if saved.get("source") == parts.problem.gradient.source:
        own = {k.removeprefix("gradient_"): v for k, v in arrays.items() if k.startswith("gradient_")}
        if meta.get("task") != _task(parts.problem):
            own.pop("exact", None)  # no step is taken back to a design of another task
        parts.supervisor.restore(own, saved["values"])
    x, state = _unpacked("", parts, arrays, meta["optimizer"])
    anchor = meta.get("anchor")
    restart = Restart(
        iteration=meta["iteration"],
        x=x,
        state=state,
        objectives=tuple(meta["objectives"]),
        exact_solves=meta["exact_solves"],
        linear_iterations=meta["linear_iterations"],
        anchor=None if anchor is None else _unpacked("anchor_", parts, arrays, anchor),
    )
    return restart, float(meta["wall_seconds"])


def _task(problem: Problem) -> dict[str, Any]:
    """All that the value of the objective and what is allowed depend on, as JSON values (local)."""
    return problem.model_dump(mode="json", exclude={"name", "output", "gradient", "optimizer"})


def _packed(prefix: str, x: Array, state: Any) -> tuple[dict[str, Array], dict[str, Any]]:
    """A design and the optimizer's state there, as named arrays and scalars (local)."""
    arrays, scalars = state_arrays(state)
    return {f"{prefix}x": x} | {f"{prefix}optimizer_{name}": values for name, values in arrays.items()}, scalars


def _unpacked(prefix: str, parts: Parts, arrays: dict[str, Array], scalars: dict[str, Any]) -> tuple[Array, Any]:
    """What `_packed` took (collective)."""
    x, start = arrays[f"{prefix}x"], f"{prefix}optimizer_"
    evolved = {name.removeprefix(start): values for name, values in arrays.items() if name.startswith(start)}
    return x, restore_state(parts.optimizer.init(x, 0.0, 1.0), evolved, scalars)


def make_grid(parts: Parts) -> Grid | ImageGrid:
    """This rank's piece of the mesh for VTK (local)."""
    mesh = parts.mesh
    if isinstance(mesh, VoxelMesh):
        low, high = mesh.partition.box(parts.comm.rank)
        return ImageGrid(mesh.cells, low, high, mesh.origin, mesh.spacing, parts.comm)
    geometry = mesh.domain.geometry
    kind, order = VTK_CELLS[mesh.cell_name]
    return Grid(geometry.x, geometry.dofmap[: mesh.n][:, order], kind, mesh.key, parts.comm)


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """JSON has no nan: null instead."""
    return {k: None if isinstance(v, float) and np.isnan(v) else v for k, v in values.items()}
