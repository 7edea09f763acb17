"""The table and the plot of a benchmark of gradient sources."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from morpho.interfaces import Status

Record = dict[str, Any]


def ended_well(run: Record) -> bool:
    """Whether a run came to its end (local)."""
    return Status[run["status"].upper()].exit_code == 0


def table(record: Record) -> str:
    """bench.json as Markdown (local)."""
    text = f"\n{record['problem']}, {record['ranks']} ranks, {record['repeat']} starts"
    text += f"{', interrupted' if record['interrupted'] else ''}\n\n"
    text += "| source | exact objective, median (range) | against exact | seconds, median (range) | speed-up "
    text += "| exact solves | linear iterations |\n|---|---|---|---|---|---|---|\n"
    for entry in record["sources"]:
        against = "" if entry["difference"] is None else f"{entry['difference']:+.2%}"
        speedup = "" if entry["speedup"] is None else f"{entry['speedup']:.2f}"
        objective, seconds = (_range(entry["spread"][k], d) for k, d in (("objective", ".6g"), ("wall_seconds", ".2f")))
        text += f"| {entry['source']}{_ends(entry['runs'])} | {objective} | {against} | {seconds} | {speedup} "
        text += f"| {entry['exact_solves']} | {entry['linear_iterations']} |\n"
    return text


def _ends(runs: list[Record]) -> str:
    """How those that did not end well ended, empty if all did (local)."""
    counts = Counter(run["status"] for run in runs if not ended_well(run))
    said = [status if len(runs) == 1 else f"{status} {n} of {len(runs)}" for status, n in counts.items()]
    return f" ({', '.join(said)})" if said else ""


def _range(spread: list[float | None], digits: str) -> str:
    """Median, smallest and largest, empty if they are not known (local)."""
    if None in spread:
        return ""
    low, middle, high = (format(value, digits) for value in spread)
    return f"{middle} ({low} to {high})"


def plot(record: Record, path: Path) -> None:
    """Objective against wall seconds, and error against distance from the last correction (local)."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), constrained_layout=True)
    for entry in record["sources"]:
        solved = [s for s in entry["steps"] if s["step"] in ("exact", "correction", "jump")]
        left.loglog([s["seconds"] for s in solved], [s["objective"] for s in solved], ".-", label=entry["source"])
        seen = [(s["since"], s["error"]) for run in entry["runs"] for s in run["steps"] if s["error"] is not None]
        if seen:
            right.loglog(*zip(*seen, strict=True), "o", alpha=0.6, label=entry["source"])
    left.set(xlabel="seconds", ylabel="objective at exact gradients and corrections", title=record["problem"])
    right.set(xlabel="iterations since the last correction", ylabel="relative error of the gradient before learning")
    for axes in (left, right):
        axes.grid(True, which="both", alpha=0.3)
        if axes.has_data():
            axes.legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)
