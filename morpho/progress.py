"""What a person sees during a run: a bar on a terminal, plain lines in a batch job."""

from __future__ import annotations

import logging

from mpi4py import MPI

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from morpho.step import Step
from morpho.stopping import FEASIBLE

log = logging.getLogger("morpho")

#: how a gradient came about, where the column `step` of history.csv does not say it in common words
SAID = {"correction": "loose exact update", "fallback": "fallback to secant"}


class Progress:
    """One line per iteration in the log; on rank 0 with a terminal also a bar (local)."""

    def __init__(self, comm: MPI.Comm, total: int) -> None:
        console = Console(stderr=True)
        self.total = total
        self._bar: Bar | None = None
        if comm.rank == 0 and console.is_terminal and log.isEnabledFor(logging.INFO) and log.handlers:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
            times = (TimeElapsedColumn(), TextColumn("at most"), TimeRemainingColumn(), TextColumn("left"))
            self._bar = Bar(*columns, *times, console=console, transient=True)

    def begin(self, done: int) -> None:
        if self._bar is not None:
            self._task = self._bar.add_task("", total=self.total, completed=done)
            self._bar.start()

    def show(self, step: Step, parameters: dict[str, float]) -> None:
        log.info(line(step, parameters))
        if self._bar is not None:
            self._bar.update(self._task, completed=step.iteration, description=_summary(step))

    def end(self) -> None:
        if self._bar is not None:
            self._bar.stop()


def line(step: Step, parameters: dict[str, float]) -> str:
    """An iteration in one line (local)."""
    extra = "".join(f", {name} {value:.4g}" for name, value in parameters.items())
    if step.gradient.n_given > 1:
        given = step.gradient.cases[: step.gradient.n_given]
        extra += ", compliances " + " ".join(f"{value:.6g}" for value in given)
    how = SAID.get(step.advice.how, step.advice.how)
    return (
        f"it {step.iteration}, objective {step.objective:.6g}, constraint {step.max_constraint:.2e}, "
        f"volume {step.volume:.4f}, change {step.change:.3f}, grey {step.greyness:.3f}{extra}, "
        f"linear its {step.gradient.linear_iterations}, {how}, {step.seconds:.2f} s"
    )


def _summary(step: Step) -> str:
    met = step.max_constraint <= FEASIBLE
    return f"objective {step.objective:.6g}, limits {'met' if met else f'missed by {step.max_constraint:.1%}'}"
