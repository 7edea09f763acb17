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
    text += "| source | exact objective, median (range) | against exact 1e-5 | in 0 and 1 | pieces "
    text += (
        "| seconds, median (range) | speed-up | over loose | seconds to quality | exact solves | linear iterations |\n"
    )
    text += "|---|---|---|---|---|---|---|---|---|---|---|\n"
    for entry in record["sources"]:
        objective, seconds = (_range(entry["spread"][k], d) for k, d in (("objective", ".6g"), ("wall_seconds", ".2f")))
        thresholded, pieces = (_known(entry["spread"][k][1], ".5g") for k in ("thresholded", "pieces"))
        name = f"{entry['source']}{' *' if entry['source'] == record['loose'] else ''}{_ends(entry['runs'])}"
        text += (
            f"| {name} | {objective} | {_known(entry['difference'], '+.2%')} | {thresholded} | {pieces} | {seconds} "
        )
        text += f"| {_known(entry['speedup'], '.2f')} | {_known(entry['speedup_loose'], '.2f')} "
        text += f"| {_known(entry['seconds_to_quality'], '.2f')} "
        text += f"| {entry['exact_solves']} | {entry['linear_iterations']} |\n"
    if record["loose"]:
        text += (
            "\n\\* the loose exact run: the cheapest that ends within 0.5 % of exact gradients to 1e-5. Quality: an "
        )
        text += "exact objective within 0.5 % of its last one, constraints met. In 0 and 1: the same at equal volume.\n"
    return text


def _known(value: float | None, digits: str) -> str:
    """A number, empty if it is not known (local)."""
    return "" if value is None else format(value, digits)


def _ends(runs: list[Record]) -> str:
    """How those that did not end well ended, or miss their constraints, empty if there are none (local)."""
    counts = Counter(run["status"] for run in runs if not ended_well(run))
    counts += Counter("constraints missed" for run in runs if ended_well(run) and not run["feasible"])
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
        points = entry["judged"] or [s for s in entry["steps"] if s["step"] in ("exact", "correction", "jump")]
        known = [(s["seconds"], s["objective"]) for s in points if s["objective"] is not None]
        if known:
            left.loglog(*zip(*known, strict=True), ".-", label=entry["source"])
        seen = [(s["since"], s["error"]) for run in entry["runs"] for s in run["steps"] if s["error"] is not None]
        if seen:
            right.loglog(*zip(*seen, strict=True), "o", alpha=0.6, label=entry["source"])
    left.set(xlabel="seconds", ylabel="exact objective", title=record["problem"])
    right.set(xlabel="iterations since the last exact update", ylabel="relative error of the gradient before learning")
    for axes in (left, right):
        axes.grid(True, which="both", alpha=0.3)
        if axes.has_data():
            axes.legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)
