"""Writes a run folder while the run goes on: fields, history, checkpoints, log, progress."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mpi4py import MPI

import numpy as np

from morpho import numba_cache
from morpho.describe import describe, displacement_slips
from morpho.errors import InputError, StorageError
from morpho.feasibility import missed, names
from morpho.fem.assembled import AssembledEquation
from morpho.fem.voxel.equation import VoxelEquation
from morpho.interfaces import Status
from morpho.mesh import VoxelMesh
from morpho.parallel import on_root, raise_together
from morpho.parts import Parts
from morpho.problem import dump_problem
from morpho.progress import Progress
from morpho.restart import contents, load_restart
from morpho.result import Result
from morpho.results import checkpoint, run_folder
from morpho.results.grid import Grid, ImageGrid
from morpho.results.history import History, HistoryRow, check_history
from morpho.results.inside import save_surface
from morpho.results.side_pictures import SidePictures
from morpho.results.storage import as_storage_error, replace_file, write_on_root
from morpho.results.vtk import VtkSeries
from morpho.rows import history_row
from morpho.step import Restart, Step
from morpho.version import VERSION

log = logging.getLogger("morpho")

#: dolfinx cell -> VTK cell type, vertices in VTK order
VTK_CELLS = {
    "triangle": (5, [0, 1, 2]),
    "quadrilateral": (9, [0, 1, 3, 2]),
    "tetrahedron": (10, [0, 1, 2, 3]),
    "hexahedron": (12, [0, 1, 3, 2, 4, 5, 7, 6]),
}


def check_folder(comm: MPI.Comm, folder: Path, overwrite: bool, bench: bool = False) -> Path:
    """The folder from the root, as own code may change the working folder (collective).

    Raises:
        InputError: results may not be written there.
    """
    raise_together(comm, on_root(comm, lambda: run_folder.complaints(folder, overwrite, bench)))
    return on_root(comm, folder.absolute)


def check_idle(comm: MPI.Comm, folder: Path) -> Path:
    """The folder from the root, as own code may change the working folder (collective).

    Raises:
        InputError: a run is writing there, or would write outside of it.
    """
    raise_together(comm, on_root(comm, lambda: run_folder.misplaced(folder)))
    said = on_root(comm, lambda: run_folder.holder(folder))
    raise_together(comm, [said] if said else [])
    return on_root(comm, folder.absolute)


@contextmanager
def holding(comm: MPI.Comm, folder: Path) -> Iterator[None]:
    """Hold the lock of a folder, made if it is not there, and gone again if it stays empty (collective).

    Raises:
        InputError: another process has it, or it cannot be made.
    """
    held: list[run_folder.Lock] = []

    def take() -> None:
        folder.mkdir(parents=True, exist_ok=True)
        held.append(run_folder.lock(folder))
        held[0].sign()

    try:
        on_root(comm, lambda: as_storage_error(folder, take))
    except StorageError as error:
        raise InputError(f"--output: {error} Choose a folder that can be written.") from None
    try:
        yield
    finally:
        for lock in held:
            if {path.name for path in folder.iterdir()} <= {run_folder.LOCK}:
                lock.withdraw()
                with suppress(OSError):
                    folder.rmdir()
            else:
                lock.release()


class LogFile(logging.FileHandler):
    """log.txt, never through a link; when the disk is full the history says so, which is written next."""

    def _open(self) -> Any:
        def opener(path: str, flags: int) -> int:
            return os.open(path, flags | os.O_NOFOLLOW, 0o666)

        return open(self.baseFilename, self.mode, encoding="utf-8", opener=opener)

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
    """Everything a run leaves behind; with no folder it only shows progress.

    A context manager, which holds the lock of the folder meanwhile. Methods are collective.
    """

    def __init__(self, parts: Parts, folder: Path | None, start: float, shown: str | Path | None = None) -> None:
        self.parts, self.folder, self.start = parts, folder, start
        self._shown = folder if shown is None else shown
        self.wall_before, self.setup_seconds = 0.0, 0.0
        self._notes = [numba_cache.note] if numba_cache.note else []
        self._start_notes: list[str] = []
        self._progress = Progress(parts.comm, parts.problem.optimizer.max_iterations)
        self._vtk: VtkSeries | None = None
        self._pictures = None if folder is None else SidePictures(folder)
        self._lock: run_folder.Lock | None = None
        self._log_file: logging.Handler | None = None
        self._log_level = log.level
        self._first: int | None = None  #: iteration of a run that begins
        self._saved: int | None = None
        self._saved_at = start

    @classmethod
    def create(
        cls,
        parts: Parts,
        folder: Path | None,
        start: float,
        overwrite: bool = False,
        shown: str | Path | None = None,
        notes: Sequence[str] = (),
    ) -> Recorder:
        """A new run folder, or one whose results are replaced; the log calls it as shown, and says the notes.

        Raises:
            InputError: the folder is not to be written to.
        """
        recorder = cls(parts, folder, start, shown)
        recorder._start_notes = list(notes)
        if recorder.folder is not None:
            with recorder._leaving_nothing("--output: "):
                recorder._on_root(lambda target: recorder._claim(target, overwrite))
                recorder._open(recorder.folder, None)
        return recorder

    @classmethod
    def reopen(
        cls, parts: Parts, folder: Path, start: float, shown: str | Path | None = None
    ) -> tuple[Recorder, Restart]:
        """Go on in a run folder, and where its newest checkpoint left off; the log calls it as shown.

        Raises:
            InputError: there is nothing to go on from; the folder is as it was.
        """
        recorder = cls(parts, folder, start, shown)
        with recorder._leaving_nothing():
            recorder._on_root(recorder._retake)
            found = load_restart(parts, folder)
            restart = found.restart
            if restart.iteration + restart.ahead >= parts.problem.optimizer.max_iterations:
                raise InputError(
                    f"{folder}: {restart.iteration} iterations are done already; go on with e.g. "
                    f"--set optimizer.max_iterations={2 * restart.iteration + restart.ahead}"
                )
            on_root(parts.comm, lambda: check_history(folder / "history.csv"))
            checkpoint.set_aside(parts.comm, found.damaged)
            recorder.wall_before, recorder._notes = found.wall_seconds, recorder._notes + found.notes
            recorder._open(folder, restart.iteration)
        return recorder, restart

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *_: object) -> None:
        self._close_log()
        if self._lock is not None:
            self._lock.release()

    @contextmanager
    def _leaving_nothing(self, place: str = "") -> Iterator[None]:
        """Give the folder back where it is refused (collective)."""
        try:
            yield
        except StorageError as error:
            self._withdraw()
            raise InputError(f"{place}{error} Choose a folder that can be written.") from None
        except BaseException:
            self._withdraw()
            raise

    def _withdraw(self) -> None:
        self._close_log()
        if self._lock is not None:
            self._lock.withdraw()

    def _on_root(self, work: Callable[[Path], object]) -> None:
        """Work on the folder on rank 0, and raise what it raises on all ranks (collective)."""
        folder = self.folder
        assert folder is not None
        on_root(self.parts.comm, lambda: as_storage_error(folder, lambda: work(folder)))

    def _take(self, folder: Path) -> None:
        self._lock = run_folder.lock(folder)

    def _retake(self, folder: Path) -> None:
        if not folder.is_dir():
            raise InputError(f"{folder}: there is no such folder, and there is no usable checkpoint")
        if said := run_folder.misplaced(folder):
            raise InputError(said)
        self._take(folder)

    def _claim(self, folder: Path, overwrite: bool) -> None:
        if said := run_folder.complaints(folder, overwrite):
            raise InputError(said)
        folder.mkdir(parents=True, exist_ok=True)
        self._take(folder)
        if run_folder.is_run(folder):
            log.warning(f"replacing the results of an earlier run in {folder}")
            run_folder.clear(folder)

    def _open(self, folder: Path, done: int | None) -> None:
        """Start the files of the run, or go on with those of the first iterations (collective)."""
        self._saved = done
        self._on_root(lambda _: self._open_texts(folder, resumed=done is not None))
        columns = names(self.parts.responses.bounds)
        self._history = History(folder / "history.csv", self.parts.comm, append_from=done, responses=columns)
        self._vtk = VtkSeries(folder, make_grid(self.parts), append_from=done)

    def _open_texts(self, folder: Path, resumed: bool) -> None:
        assert self._lock is not None
        self._lock.sign()
        (folder / "result.json").unlink(missing_ok=True)
        run_folder.clear_derived(folder)
        text = f"# morpho {VERSION}\n{dump_problem(self.parts.problem)}"
        replace_file(folder / "problem.yaml", text)
        mesh = self.parts.mesh
        if isinstance(mesh, VoxelMesh) and mesh.surface is not None:
            save_surface(folder, mesh.surface)
        self._log_file = LogFile(folder / "log.txt", mode="a" if resumed else "w")
        self._log_file.setFormatter(logging.Formatter("%(message)s"))
        log.addHandler(self._log_file)
        if not log.isEnabledFor(logging.INFO):  # called from a program that shows nothing on its terminal
            log.setLevel(logging.INFO)

    def _close_log(self) -> None:
        if self._log_file is not None:
            log.removeHandler(self._log_file)
            log.setLevel(self._log_level)
            self._log_file.close()
            self._log_file = None

    def begin(self, done: int, rows: Sequence[HistoryRow] = ()) -> None:
        """After the set-up, before the first iteration that is not done; rows are those of coarser grids."""
        self.setup_seconds = time.perf_counter() - self.start
        for note in self._notes:
            log.warning(note)
        for line in [*describe(self.parts), *self._start_notes]:
            log.info(line)
        if self._saved is not None:
            log.info(f"resumed after iteration {done}")
        else:
            self._first = done + 1
        log.info(f"set-up took {self.setup_seconds:.2f} s")
        self._progress.begin(done)
        for row in rows if self.folder is not None else ():
            self._history.add(row)

    def add(self, step: Step) -> None:
        """Write down one iteration.

        Raises:
            StorageError: on all ranks, if any could not write.
        """
        parameters = self.parts.parameters(step.place)
        self._progress.show(step, parameters)
        if step.iteration == self._first:
            for line in displacement_slips(self.parts):
                log.warning(line)
        if self.folder is None:
            return
        self._history.add(history_row(self.parts, step))
        output = self.parts.problem.output
        pictured = output.picture_every is not None and (step.status or step.iteration % output.picture_every == 0)
        if step.status or step.iteration <= output.first or step.iteration % output.every == 0 or pictured:
            self._write_fields(step)
        if pictured and self.parts.comm.rank == 0:
            self._picture(step.iteration)
        if step.status or step.iteration % output.checkpoint_every == 0 or self._is_overdue():
            self._save(step.restart)

    def _picture(self, iteration: int) -> None:
        """Start to draw the design that has just been written, and say once if that fails (on rank 0)."""
        assert self._pictures is not None
        before = self._pictures.note
        self._pictures.draw(iteration)
        if self._pictures.note != before:
            log.warning(f"warning: {self._pictures.note}")

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
        not_met = missed(result.responses)
        for line in not_met:
            log.warning(line)
        if self.folder is not None:
            self._write_end(self.folder, result, last)
            caveats = ["not converged"] * (result.status is not Status.CONVERGED) + ["not feasible"] * bool(not_met)
            log.info(f"results are in {self._shown}" + (f" ({', '.join(caveats)})" if caveats else ""))

    def _write_end(self, folder: Path, result: Result, last: Step | None) -> None:
        if last is not None and self._saved != last.iteration:
            with _only_said():
                self._write_fields(last)
            with _only_said():
                self._save(last.restart)
        with _only_said():
            text = json.dumps(_plain(result.to_dict()), indent=2) + "\n"
            path = folder / "result.json"
            write_on_root(self.parts.comm, path, lambda: replace_file(path, text))

    def _is_overdue(self) -> bool:
        """Whether the last checkpoint is too many minutes old, by rank 0's clock (collective)."""
        minutes = (time.perf_counter() - self._saved_at) / 60
        return bool(self.parts.comm.bcast(minutes > self.parts.problem.output.checkpoint_minutes, root=0))

    def _write_fields(self, step: Step) -> None:
        assert self._vtk is not None
        physics = self.parts.physics
        cells = {"density": step.x, "physical_density": step.rho}
        if len(step.gradient.d_cases):
            cells["sensitivity"] = self.parts.responses.sensitivity(step.gradient)
        if step.grown is not None:
            cells |= {"eroded_density": step.solved, "dilated_density": step.grown}
        state, points = state_fields(physics)
        cells |= state
        self._vtk.write(step.iteration, cells, points)

    def _save(self, restart: Restart) -> None:
        assert self.folder is not None
        mesh = self.parts.mesh
        fields, meta = contents(self.parts, restart, self.wall_before + time.perf_counter() - self.start)
        checkpoint.save(self.folder, mesh.comm, mesh.key, mesh.n_global, fields, meta)
        self._saved, self._saved_at = restart.iteration, time.perf_counter()


def state_fields(physics: AssembledEquation | VoxelEquation) -> tuple[dict[str, Any], dict[str, Any]]:
    """The fields of cells and of points of the last solve, by load case where there are several (collective)."""
    one, field = len(physics.cases) == 1, physics.law.field
    cells = {}
    if field == "displacement":
        cells = {
            "von_mises" if one else f"von_mises_{name}": physics.von_mises(i) for i, name in enumerate(physics.cases)
        }
    points = {field if one else f"{field}_{name}": physics.vertex_rows(i) for i, name in enumerate(physics.cases)}
    return cells, points | {f"mode_{k + 1}": mode for k, mode in enumerate(physics.vertex_modes())}


def make_grid(parts: Parts) -> Grid | ImageGrid:
    """This rank's piece of the mesh for VTK (local)."""
    mesh = parts.mesh
    if isinstance(mesh, VoxelMesh):
        low, high = mesh.partition.box(parts.comm.rank)
        return ImageGrid(mesh.cells, low, high, mesh.origin, mesh.spacing, parts.comm, mesh.slots)
    geometry = mesh.domain.geometry
    kind, order = VTK_CELLS[mesh.cell_name]
    points = geometry.index_map()
    number = np.asarray(points.local_to_global(np.arange(len(geometry.x), dtype=np.int32)), np.int64)
    cells = geometry.dofmap[: mesh.n][:, order]
    return Grid(geometry.x, cells, kind, mesh.key, parts.comm, number, int(points.size_local))


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """JSON has no nan: null instead."""
    return {k: None if isinstance(v, float) and np.isnan(v) else v for k, v in values.items()}
