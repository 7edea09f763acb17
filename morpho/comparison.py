"""The figures of a benchmark of gradient sources: medians over the starts, and what they are compared with."""

from __future__ import annotations

import math
from statistics import median
from typing import Any

from morpho.results.bench import ended_well

Record = dict[str, Any]

BASELINES = ("exact 1e-5", "exact 1e-2", "exact 1e-1")  #: what `exact` stands for; the first one is the reference
NEAR = 5e-3  #: relative rise of the objective up to which a design is as good


def compared(runs: dict[str, list[Record]]) -> Record:
    """What bench.json says: an entry for each row, and the name of the loose exact row (local)."""
    tight = runs.get(BASELINES[0], [])
    loose = loose_row(runs)
    rivals = runs[loose] if loose else []
    return {
        "loose": loose,
        "sources": [_entry(name, own, tight, rivals) for name, own in runs.items() if own],
    }


def loose_row(runs: dict[str, list[Record]]) -> str | None:
    """The cheapest exact row that keeps the constraints, with objectives as good as the first one's (local).

    None if the first one is not there, or misses them itself.
    """
    tight = runs.get(BASELINES[0], [])
    fit = []
    for name in BASELINES:
        own = runs.get(name, [])
        against = _against(own, tight)
        if against["difference"] is not None and against["difference"] <= NEAR and all(run["feasible"] for run in own):
            fit.append((against["speedup"], name))
    return max(fit)[1] if fit else None


def _entry(name: str, runs: list[Record], tight: list[Record], loose: list[Record]) -> Record:
    """The median run of a row, how far the others are from it, and against the exact rows (local).

    Runs that did not end well count only where there is no other; in comparisons they never do.
    """
    counted = [run for run in runs if ended_well(run)] or runs
    middle = sorted(counted, key=lambda run: run["wall_seconds"])[(len(counted) - 1) // 2]
    keys = ("objective", "wall_seconds", "thresholded", "pieces")
    spread = {key: _spread([run.get(key) for run in counted]) for key in keys}
    entry = middle | {"source": name} | _against(runs, tight)
    entry |= {f"{key}_loose": value for key, value in _against(runs, loose).items()}
    entry |= {"seconds_to_quality": _to_quality(runs, loose), "feasible_runs": sum(run["feasible"] for run in runs)}
    return entry | {"spread": spread, "runs": runs}


def _spread(values: list[float | None]) -> list[float | None]:
    """Smallest, median and largest of what is known (local)."""
    known = [value for value in values if value is not None]
    return [min(known), median(known), max(known)] if known else [None] * 3


def _against(runs: list[Record], exact: list[Record]) -> Record:
    """Speed-up and relative difference of the objective, over the starts from which both ended well (local)."""
    both = [pair for pair in zip(runs, exact, strict=False) if all(ended_well(run) for run in pair)]
    if not both:
        return {"speedup": None, "difference": None}
    seconds, objective = (
        [median(run[key] for run in part) for part in zip(*both, strict=True)] for key in ("wall_seconds", "objective")
    )
    difference = (objective[0] - objective[1]) / abs(objective[1]) if objective[1] else None
    return {"speedup": seconds[1] / seconds[0], "difference": difference}


def _to_quality(runs: list[Record], loose: list[Record]) -> float | None:
    """Median over the starts of the seconds until a design is as good as the loose exact run's last one (local).

    None if that was not reached from most starts.
    """
    pairs = [(run, other) for run, other in zip(runs, loose, strict=False) if other["objective"] is not None]
    if not pairs:
        return None
    targets = [other["objective"] + NEAR * abs(other["objective"]) for _, other in pairs]
    seconds = median(_reached(run, target) for (run, _), target in zip(pairs, targets, strict=True))
    return seconds if math.isfinite(seconds) else None


def _reached(run: Record, target: float) -> float:
    """Seconds until the first design that keeps the constraints with an objective of at most `target` (local)."""
    good = [at["seconds"] for at in run["judged"] if at["feasible"] and (at["objective"] or math.inf) <= target]
    return min(good, default=math.inf)
