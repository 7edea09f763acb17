"""The table and the plot of a benchmark of gradient sources."""

from __future__ import annotations

from pathlib import Path
from typing import Any

Record = dict[str, Any]


def table(record: Record) -> str:
    """bench.json as Markdown (local)."""
    text = f"\n{record['problem']}, {record['ranks']} ranks, {record['repeat']} starts\n\n"
    text += "| source | exact objective, median (range) | against exact | seconds, median (range) | speed-up "
    text += "| exact solves | linear iterations |\n|---|---|---|---|---|---|---|\n"
    reference = next((e["spread"]["objective"][1] for e in record["sources"] if e["source"] == "exact"), None)
    for entry in record["sources"]:
        low, middle, high = entry["spread"]["objective"]
        fast, usual, slow = entry["spread"]["wall_seconds"]
        against = f"{middle / reference - 1:+.2%}" if reference else ""
        speedup = f"{entry['speedup']:.2f}" if entry["speedup"] else ""
        text += f"| {entry['source']} | {middle:.6g} ({low:.6g} to {high:.6g}) | {against} "
        text += f"| {usual:.2f} ({fast:.2f} to {slow:.2f}) | {speedup} "
        text += f"| {entry['exact_solves']} | {entry['linear_iterations']} |\n"
    return text


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
