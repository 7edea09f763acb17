"""Pictures that are drawn beside a run, by processes of their own that it does not wait for. Local."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

FOLDER = "pictures"
#: variables by which a process would take itself for one of the ranks
_OF_RANKS = ("OMPI_", "PMIX_", "PMI_", "PRTE_", "MPI_", "SLURM_")


class SidePictures:
    """At most one picture at a time; when one is still being drawn the next is left out."""

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._drawing: subprocess.Popen[bytes] | None = None
        self.note = ""  #: what went wrong, once

    def draw(self, iteration: int) -> None:
        """Start to draw the newest written design; whatever fails, the run goes on."""
        if self._drawing is not None:
            status = self._drawing.poll()
            if status is None:
                return
            if status:
                self.note = self.note or "a picture could not be drawn beside the run (output.picture_every)"
        folder = self._run_dir / FOLDER
        environment = {name: value for name, value in os.environ.items() if not name.startswith(_OF_RANKS)}
        root = str(Path(__file__).resolve().parents[2])
        environment["PYTHONPATH"] = os.pathsep.join([root, *filter(None, [environment.get("PYTHONPATH")])])
        try:
            folder.mkdir(exist_ok=True)
            self._drawing = subprocess.Popen(
                [sys.executable, "-m", __name__, str(self._run_dir), str(folder / f"design_{iteration:06d}.png")],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            self.note = self.note or f"a picture could not be drawn beside the run ({error.strerror})"


def _main(run_dir: str, output: str) -> int:
    """Draw under another name first, so that whoever looks sees whole pictures only."""
    from morpho.errors import MorphoError
    from morpho.results.render import render

    partial = Path(output + ".partial")
    with suppress(OSError):
        os.nice(10)
    try:
        render(Path(run_dir), partial)
        os.replace(partial, output)
    except (MorphoError, OSError):
        return 1
    finally:
        partial.unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))
