"""Pictures of a run: the design, and the history."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from morpho.errors import InputError, MorphoError, StorageError
from morpho.results.history import read_history
from morpho.results.run_folder import check_target

_INPUT_ERROR, _STORAGE_ERROR = 2, 3  #: exit statuses of morpho.results.scene, the message on standard output
_TIMEOUT = 600.0  #: seconds for one picture, by software rendering
_ADVICE = "Install Xvfb, or set DISPLAY to a working display."


def pictures(run_dir: Path, symmetric: bool = False) -> tuple[Path, Path]:
    """Draw the last design and the history of a run into its folder, and give their paths; local.

    Raises InputError, before anything is drawn, for what it can tell beforehand; else see `render`, `plot_history`.
    """
    design, history = run_dir / "design.png", run_dir / "history.png"
    check_target(design)
    check_target(history)
    _drawable(run_dir / "history.csv")
    render(run_dir, design, symmetric=symmetric)
    plot_history(run_dir, history)
    return design, history


def render(
    run_dir: Path,
    output_png: Path,
    level: float = 0.5,
    size: tuple[int, int] = (1200, 900),
    symmetric: bool = False,
) -> None:
    """Draw the last design of a run, off-screen and without a display; local.

    2-D: physical density in grey and the outline of the domain; 3-D: the part of density >= level in the box
    of the domain. With symmetric, the mirror image at the side of lowest x is drawn too.
    A process of its own does it, as VTK ends the process it is in when the display fails.
    Raises InputError if there is nothing to draw, StorageError if the PNG could not be written.
    """
    _draw("morpho.results.scene", run_dir, output_png, level, *size, symmetric)


def draw_album(run_dir: Path, folder: Path, symmetric: bool = False) -> None:
    """Draw what `morpho.results.album` says into a folder; local, raises as `render` does."""
    _draw("morpho.results.album", run_dir, folder, symmetric)


def picture_faces(faces: dict[int, NDArray], output_png: Path) -> None:
    """Draw triangles (t, 3, 3) by the number of their face from two sides; local, raises as `render` does."""
    with tempfile.TemporaryDirectory() as folder:
        stored = Path(folder) / "faces.npz"
        np.savez(stored, **{str(number): triangles for number, triangles in faces.items()})  # type: ignore[arg-type]
        _draw("morpho.results.faces_scene", stored, output_png)


def _draw(module: str, *arguments: object) -> None:
    """Run a module that draws in a process of its own."""
    with _display() as environment:
        root = str(Path(__file__).resolve().parents[2])
        environment["PYTHONPATH"] = os.pathsep.join([root, *filter(None, [environment.get("PYTHONPATH")])])
        try:
            done = subprocess.run(
                [sys.executable, "-m", module, *map(str, arguments)],
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_TIMEOUT,
            )
        except subprocess.TimeoutExpired as error:
            raise MorphoError(f"The picture was not drawn in {_TIMEOUT:.0f} s. {_ADVICE}") from error
    if done.returncode in (_INPUT_ERROR, _STORAGE_ERROR):
        raise (InputError if done.returncode == _INPUT_ERROR else StorageError)(done.stdout.strip())
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"it ended with status {done.returncode}"])[-1]
        raise MorphoError(f"The picture could not be drawn ({last}). {_ADVICE}")


@contextmanager
def _display() -> Iterator[dict[str, str]]:
    """Environment for a process that draws, with a virtual display of its own where Xvfb is installed."""
    environment = dict(os.environ, PYVISTA_OFF_SCREEN="true")
    if shutil.which("Xvfb") is None:
        yield environment
        return
    answer, number = os.pipe()
    # -terminate: should this process be killed, the server goes with its last client.
    command = [
        "Xvfb",
        "-displayfd",
        str(number),
        "-screen",
        "0",
        "1280x1024x24",
        "-nolisten",
        "tcp",
        "-terminate",
    ]
    server = subprocess.Popen(
        command,
        pass_fds=[number],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(number)
    try:
        ready, _, _ = select.select([answer], [], [], 30.0)
        display = os.read(answer, 16).decode().strip() if ready else ""
        if display:
            environment["DISPLAY"] = f":{display}"
        yield environment
    finally:
        os.close(answer)
        server.terminate()
        try:
            server.wait(10.0)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def plot_history(run_dir: Path, output_png: Path) -> None:
    """Draw objective, volume and greyness against the iteration, exact and estimated steps marked; local.

    Raises InputError if the run has no history, StorageError if the PNG could not be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    table = _drawable(Path(run_dir) / "history.csv")
    iteration, exact = table["iteration"], table["kind"] == "exact"
    figure = Figure(figsize=(8.0, 7.0), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    panels = figure.subplots(3, 1, sharex=True, height_ratios=[2, 1, 1])
    for panel, name, colour in zip(panels, ("objective", "volume", "greyness"), ("C0", "C2", "C3"), strict=True):
        values = table[name]
        panel.plot(iteration, values, color=colour, linewidth=1.2)
        panel.plot(iteration[exact], values[exact], "o", color=colour, markersize=4, label="exact")
        panel.plot(iteration[~exact], values[~exact], "o", color=colour, mfc="white", markersize=3, label="estimated")
        panel.set_ylabel(name)
        panel.grid(alpha=0.3)
    finite = table["objective"][np.isfinite(table["objective"])]
    if len(finite) and finite.min() > 0.0 and finite.max() > 10.0 * finite.min():
        panels[0].set_yscale("log")
    for panel in panels[1:]:
        panel.set_ylim(0.0, None)
        panel.ticklabel_format(useOffset=False)
    if not exact.all():
        panels[0].legend(frameon=False)
    panels[-1].set_xlabel("iteration")
    try:
        canvas.print_figure(output_png, format="png", dpi=150)
    except OSError as error:
        raise StorageError(f"Could not write {output_png}: {error.strerror}.") from error


def _drawable(path: Path) -> dict[str, NDArray]:
    """The columns of a history.csv, if all that is drawn is there."""
    table = read_history(path)
    if missing := [name for name in ("iteration", "kind", "objective", "volume", "greyness") if name not in table]:
        raise InputError(f"{path}: not a readable history (it has no {', '.join(missing)}).")
    if not len(table["iteration"]):
        raise InputError(f"{path}: the run has no iterations yet.")
    return table
