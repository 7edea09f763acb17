"""How far does a Koopman jump carry, from which window? scripts/env python3 scripts/study_koopman_window.py

Records the exact trajectory of the MBB beam (problems/mbb_2d.yaml, with and without its projection) and that of a small
network under gradient descent, and predicts from windows of w successive states ending at t2 the state T steps later:
by one operator of low rank for everything, by one operator per patch of cells (per node of the network), by repeating
the last step, and along the least-squares line of the window. The error is the 2-norm of what the prediction misses,
relative to the distance from t2 to t2 + T: with 1 one could as well stay at t2. Then the source `koopman` runs in the
loop, as it is and with its operator replaced by the last step or the line, beside `exact`: how many exact solves does
it take to come to the objective of `exact`?

Results go to docs/bench/koopman.json, docs/bench/koopman.md and docs/images/koopman.png.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from mpi4py import MPI

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
FIGURES, TABLES = (ROOT / "docs" / "bench" / f"koopman.{end}" for end in ("json", "md"))
PLOT = ROOT / "docs" / "images" / "koopman.png"

METHODS = {"global": "one operator", "patch": "per patch", "linear": "last step", "line": "line"}
RANK, PATCH = 4, 9
ITERATIONS = 200
VARIANTS = {"mbb_2d": [], "mbb_2d without projection": ["design.projection=null"]}
#: where windows end: phases of the trajectory with constant parameters
PHASES = {
    "mbb_2d": {"last stage, 20 iterations in": range(120, 128), "late": range(150, 168, 2)},
    "mbb_2d without projection": {"early": range(25, 45, 2), "middle": range(70, 90, 2), "late": range(150, 168, 2)},
}
WINDOWS, STEPS = (4, 8, 16), (1, 2, 4, 8, 16, 32)
#: of the network
START, NODE_WINDOWS, NODE_STEPS = 6000, (20, 200, 2000), (50, 200, 500, 2000)
SIZES, RATE, SAMPLES = (1, 10, 10, 1), 0.05, 64
LOOPS = {
    "mbb_2d": ("mbb_2d", []),
    "mbb_2d without projection": ("mbb_2d", ["design.projection=null"]),
    "cantilever_2d": ("cantilever_2d", []),
}
LENGTH = 120  #: iterations of a run
RUNS = {
    "koopman": [],
    "koopman, patches": [f"gradient.koopman.patch={PATCH}"],
    "last step instead": [],
    "line instead": [],
    "koopman, of gradients": ["gradient.koopman.of=gradients"],
}
Array = NDArray[np.float64]
Record = dict[str, Any]


def main() -> None:
    designs = {name: study(name, trajectory(name)) for name in VARIANTS}
    figures = {"designs": designs, "network": network_study(), "runs": {name: runs(name) for name in LOOPS}}
    FIGURES.write_text(json.dumps(figures, indent=1) + "\n")
    TABLES.write_text(table(figures))
    plot(figures)
    print(TABLES.read_text())


def trajectory(name: str) -> list[Array]:
    """x of every iteration of the exact loop."""
    import morpho

    rule = [f"optimizer.max_iterations={ITERATIONS}", "optimizer.tolerance=0", "optimizer.objective_tolerance=0"]
    problem = morpho.load_problem(ROOT / "problems" / "mbb_2d.yaml", [*VARIANTS[name], *rule])
    return [step.x for step in morpho.iterate(problem, MPI.COMM_SELF)]


def study(name: str, recorded: list[Array]) -> list[Record]:
    """Median errors by phase, window and steps ahead; `recorded` begins at iteration 1."""
    from morpho.gradients import dmd

    keys = np.arange(len(recorded[0]))
    found = []
    for phase, ends in PHASES[name].items():
        for w in WINDOWS:
            windows = [(end - 1, dmd.window(recorded[end - w : end])) for end in ends]
            for steps in STEPS:
                errors: dict[str, list[float]] = {method: [] for method in METHODS}
                for newest, D in windows:
                    x, truth = recorded[newest], recorded[newest + steps]
                    changes = {
                        "global": dmd.Extrapolation(MPI.COMM_SELF, keys, RANK)(D, steps)[0],
                        "patch": dmd.Extrapolation(MPI.COMM_SELF, keys, RANK, PATCH)(D, steps)[0],
                        "linear": dmd.linear(D, steps),
                        "line": line(D, steps),
                    }
                    for method, change in changes.items():
                        miss = np.clip(x + change, 0, 1) - truth
                        errors[method].append(float(np.linalg.norm(miss) / np.linalg.norm(truth - x)))
                medians = {method: float(np.median(values)) for method, values in errors.items()}
                found.append({"phase": phase, "window": w, "steps": steps} | medians)
    return found


def line(D: Array, steps: int) -> Array:
    """(..., q) change in so many steps along the least-squares line of the window (..., q, w)."""
    t = np.arange(D.shape[-1]) - (D.shape[-1] - 1) / 2
    return np.asarray(D @ (steps * t / (t @ t)))


def network_trajectory(steps: int, seed: int = 0) -> tuple[list[Array], Callable[[list[Array]], float]]:
    """Full-batch gradient descent of a 2 x 10 tanh network: [W b] of each layer (steps + 1, out, in + 1), the loss."""
    rng = np.random.default_rng(seed)
    X = np.linspace(-1, 1, SAMPLES)[None]
    Y, one = np.sin(np.pi * X), np.ones_like(X)

    def loss(layers: list[Array]) -> float:
        return float(np.mean((layers[-1] @ activations(layers)[-1] - Y) ** 2) / 2)

    def activations(layers: list[Array]) -> list[Array]:
        values = [np.vstack([X, one])]
        for W in layers[:-1]:
            values.append(np.vstack([np.tanh(W @ values[-1]), one]))
        return values

    now = [rng.normal(0, (n + 1) ** -0.5, (m, n + 1)) for n, m in pairwise(SIZES)]
    recorded = [np.empty((steps + 1, *W.shape)) for W in now]
    for step in range(steps + 1):
        for layer, W in zip(recorded, now, strict=True):
            layer[step] = W
        values = activations(now)
        delta = (now[-1] @ values[-1] - Y) / SAMPLES
        for i in reversed(range(len(now))):
            slope = delta @ values[i].T
            delta = (now[i].T @ delta)[:-1] * (1 - values[i][:-1] ** 2)
            now[i] = now[i] - RATE * slope
    return recorded, loss


def network_ahead(layers: list[Array], steps: int) -> dict[str, list[Array]]:
    """The weights (out, in + 1) of each layer so many steps after a window (w, out, in + 1), by every method."""
    from morpho.gradients import dmd

    windows = [np.moveaxis(layer - layer[-1], 0, -1) for layer in layers]
    shapes = [D.shape[:-1] for D in windows]
    together = np.concatenate([D.reshape(-1, D.shape[-1]) for D in windows])
    change = together @ dmd.Operator.fit(together, RANK).ahead(steps)
    parts = np.split(change, np.cumsum([np.prod(shape) for shape in shapes])[:-1])
    nodes = [dmd.Operator.fit(D, D.shape[1]).ahead(steps) for D in windows]
    changes = {
        "global": [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)],
        "patch": [np.einsum("oiw,ow->oi", D, c) for D, c in zip(windows, nodes, strict=True)],
        "linear": [dmd.linear(D, steps) for D in windows],
        "line": [line(D, steps) for D in windows],
    }
    return {k: [layer[-1] + d for layer, d in zip(layers, change, strict=True)] for k, change in changes.items()}


def network_study() -> list[Record]:
    """Errors and losses of the network, all windows ending at the same step."""
    end = START + max(NODE_WINDOWS)
    recorded, loss = network_trajectory(end + max(NODE_STEPS))
    now = [layer[end] for layer in recorded]
    found = []
    for w in NODE_WINDOWS:
        window = [layer[end - w + 1 : end + 1] for layer in recorded]
        for steps in NODE_STEPS:
            truth = [layer[end + steps] for layer in recorded]
            record: Record = {"window": w, "steps": steps, "loss now": loss(now), "loss": loss(truth)}
            for method, predicted in network_ahead(window, steps).items():
                record[method] = distance(predicted, truth) / distance(now, truth)
                record[f"loss, {method}"] = loss(predicted)
            found.append(record)
    return found


def distance(a: list[Array], b: list[Array]) -> float:
    return float(np.sqrt(sum(np.sum((one - other) ** 2) for one, other in zip(a, b, strict=True))))


def runs(name: str) -> list[Record]:
    """The source in the loop, with what it jumps by as in `RUNS`; the first one is `exact`."""
    from morpho.gradients import dmd

    steps = loop(name, ["gradient.source=exact"])
    goal = steps[-1].objective
    found = [{"run": "exact", "objective": goal, "solves": len(steps), "goal": len(steps), "kept": 0, "discarded": 0}]
    usual = dmd.Extrapolation.__call__
    for run, overrides in RUNS.items():
        control = {"last step instead": dmd.linear, "line instead": line}.get(run)
        dmd.Extrapolation.__call__ = usual if control is None else replaced_by(control)
        steps = loop(name, ["gradient.source=koopman", *overrides])
        dmd.Extrapolation.__call__ = usual
        found.append(
            {
                "run": run,
                "objective": steps[-1].objective,
                "solves": steps[-1].exact_solves,
                "goal": next(
                    (s.exact_solves for s in steps if s.gradient.kind == "exact" and s.objective <= goal), None
                ),
                "kept": sum(s.advice.how == "jump" for s in steps),
                "discarded": sum(s.advice.extra_solves for s in steps),
            }
        )
        print(name, found[-1], flush=True)
    return found


def loop(name: str, overrides: list[str]) -> list[Any]:
    import morpho

    file, own = LOOPS[name]
    rule = [f"optimizer.max_iterations={LENGTH}", "optimizer.tolerance=0", "optimizer.objective_tolerance=0"]
    rule.append("material.penalty=3")
    problem = morpho.load_problem(ROOT / "problems" / f"{file}.yaml", [*rule, *own, *overrides])
    return list(morpho.iterate(problem, MPI.COMM_SELF))


def replaced_by(control: Callable[[Array, int], Array]) -> Callable[..., tuple[Array, float]]:
    """A prediction in place of an operator, which is always taken to fit."""
    return lambda self, D, steps, weight=None: (control(D, steps), 0.0)


def table(figures: Record) -> str:
    text = "# Koopman jumps: windows and distances\n\nMade by `scripts/env python3 scripts/study_koopman_window.py`.\n"
    text += "Error of the landing relative to the distance travelled: with 1 one could as well have stayed.\n"
    head = " | ".join(METHODS.values())
    for name, records in figures["designs"].items():
        text += f"\n## {name}\n\nMedians over 8 to 10 windows; operators of rank {RANK}, patches of {PATCH} cells.\n\n"
        text += f"| phase | window | steps ahead | {head} |\n|---|---|---|{'---|' * len(METHODS)}\n"
        for r in records:
            errors = " | ".join(f"{r[method]:.2f}" for method in METHODS)
            text += f"| {r['phase']} | {r['window']} | {r['steps']} | {errors} |\n"
    text += f"\n## A 2 x 10 tanh network under gradient descent, after {START + max(NODE_WINDOWS)} steps\n\n"
    text += "A patch is a node; errors as above, then the loss there.\n\n"
    text += f"| window | steps ahead | {head} | true loss | {head} |\n|---|---|{'---|' * (2 * len(METHODS) + 1)}\n"
    for r in figures["network"]:
        errors = " | ".join(f"{r[method]:.3g}" for method in METHODS)
        losses = " | ".join(f"{r[f'loss, {method}']:.5g}" for method in METHODS)
        text += f"| {r['window']} | {r['steps']} | {errors} | {r['loss']:.5g} | {losses} |\n"
    text += f"\n## In the loop\n\n{LENGTH} iterations with the settings that are the defaults. In the controls the "
    text += "operator is\n"
    text += "replaced by the last step or the line, with the same windows and the same check at the landing.\n\n"
    text += (
        "| problem | run | objective | exact solves | until the last objective of exact | jumps kept | discarded |\n"
    )
    text += "|---|---|---|---|---|---|---|\n"
    for name, records in figures["runs"].items():
        for r in records:
            text += f"| {name} | {r['run']} | {r['objective']:.6g} | {r['solves']} | {r['goal'] or 'not reached'} "
            text += f"| {r['kept']} | {r['discarded']} |\n"
    return text


def plot(figures: Record) -> None:
    """Error against steps ahead: designs late in the run, and the network."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    chosen = {
        f"{name}, late, window 4": [r for r in records if (r["phase"], r["window"]) == ("late", 4)]
        for name, records in figures["designs"].items()
    } | {"network, window 2000": [r for r in figures["network"] if r["window"] == 2000]}
    figure, panels = plt.subplots(1, len(chosen), figsize=(12, 4), constrained_layout=True)
    for axes, (title, records) in zip(panels, chosen.items(), strict=True):
        for method, label in METHODS.items():
            axes.loglog([r["steps"] for r in records], [r[method] for r in records], ".-", label=label)
        axes.axhline(1, color="grey", linewidth=0.8)
        axes.set(title=title, xlabel="steps ahead", ylabel="error of the landing over distance travelled")
        axes.grid(True, which="both", alpha=0.3)
    panels[0].legend()
    figure.savefig(PLOT, dpi=120)


if __name__ == "__main__":
    main()
