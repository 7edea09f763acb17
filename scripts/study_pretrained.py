"""Does it help if the network was trained before? scripts/env python3 scripts/study_pretrained.py

Trains networks of the default source `onsg` on made-up problems: small boxes with supports, loads, volumes and filters
drawn at random, optimized with exact gradients and the penalty continued. A network for blocks of 2, 4 and 8 each. Then
compares on problems that had no part in it, for the same exact gradients (the first three designs, then every tenth):

    neither   the secant: no network
    online    as by default: trained in the run, from nothing
    before    the network of the made-up problems, not trained on
    both      that network, trained on in the run

Results go to docs/bench/pretrained.md. `--ship` also puts the networks into the package.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from mpi4py import MPI

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
PAGE = ROOT / "docs" / "bench" / "pretrained.md"

PROBLEMS_MADE, HELD_BACK = 48, 6
STEPS, BATCH, HIDDEN = 20_000, 4096, 24
BLOCKS = (2, 4, 8)
WARM_UP, EVERY, ITERATIONS = 3, 10, 60
WAYS = ("neither", "online", "before", "both")
TIGHT = ["solver.rtol=1e-5", "optimizer.objective_tolerance=0", "optimizer.tolerance=0"]
PROBLEMS: dict[str, list[str]] = {
    "cantilever_3d": ["mesh.box.cells=[64,32,32]", "design.filter.radius=0.0625"],
    "set/torsion": ["mesh.box.cells=[96,24,24]", "design.filter.radius=0.0833"],
    "set/chair": ["mesh.box.cells=[32,32,40]", "design.filter.radius=0.0625"],
    "set/tower": ["mesh.box.cells=[24,24,96]", "design.filter.radius=0.0833"],
}


def made_up(seed: int) -> Any:
    """A problem on a small box."""
    from morpho.problem.load import parse_problem

    random = np.random.default_rng(seed)
    cells = [int(n) for n in random.choice([16, 24, 32], 3)]
    size = [float(n) for n in cells]
    x, y, z = size

    def patch(face: str) -> dict[str, Any]:
        """A part of a face across x, or of the top, in the middle or at an edge."""
        width = random.uniform(0.1, 0.6)
        low = random.uniform(0, 1 - width, 2)
        if face == "top":
            return {"box": {"min": [low[0] * x, low[1] * y, z], "max": [(low[0] + width) * x, (low[1] + width) * y, z]}}
        at = 0 if face == "left" else x
        return {"box": {"min": [at, low[0] * y, low[1] * z], "max": [at, (low[0] + width) * y, (low[1] + width) * z]}}

    feet = [
        {"region": {"box": {"min": [a * (x - 3), b * (y - 3), 0], "max": [a * (x - 3) + 3, b * (y - 3) + 3, 0]}}}
        for a in (0, 1)
        for b in (0, 1)
    ]
    supports = [
        [{"region": {"plane": {"axis": "x", "at": 0}}}],
        [{"region": patch("left")}, {"region": patch("right")}],
        feet,
        [{"region": {"plane": {"axis": "x", "at": 0}}}, {"region": {"plane": {"axis": "y", "at": 0}}, "fix": "y"}],
    ][seed % 4]
    face = "top" if seed % 4 in (1, 2) else random.choice(["right", "top"])
    direction = [[*random.normal(0, 1, 3).round(3)] for _ in range(int(random.integers(1, 3)))]
    return parse_problem(
        {
            "name": f"made_up_{seed}",
            "mesh": {"box": {"size": size, "cells": cells}},
            "material": {"E": 1, "nu": 0.3, "penalty": {"start": 1, "max": 3, "every": 6, "step": 0.5}},
            "supports": supports,
            "loads": [
                {"name": f"case_{i}", "forces": [{"region": patch(face), "total": [float(f) for f in force]}]}
                for i, force in enumerate(direction)
            ],
            "constraints": [{"volume_fraction": float(random.uniform(0.06, 0.35))}],
            "design": {"filter": {"kind": "cone", "radius": float(random.uniform(1.5, 3.0))}},
            "optimizer": {"kind": "oc", "max_iterations": 42, "objective_tolerance": 0, "tolerance": 0},
            "solver": {"rtol": 1e-4},
        },
        f"made_up_{seed}",
        Path(),
    )


def samples_of(seed: int) -> dict[int, list[np.ndarray]]:
    """Features after and before, and target, of a made-up problem, by size of the blocks."""
    from morpho.gradients.onsg import Onsg
    from morpho.gradients.two_scale import TwoScale
    from morpho.parts import Parts

    problem = made_up(seed)
    with Parts(problem, MPI.COMM_SELF) as parts:
        sources = {}
        for block in BLOCKS:
            sources[block] = Onsg(parts.physics, TwoScale(parts.physics, block), steps=0, first_steps=0, samples=300)
            sources[block]._pool = deque()
        for iteration, (rho, exact) in enumerate(record(parts), start=1):
            if iteration in (1, 2, 3) or iteration % 5 == 0:
                for source in sources.values():
                    source.learn(rho, exact)
        return {
            block: [np.concatenate(part) for part in zip(*source._pool, strict=True)]
            for block, source in sources.items()
        }


def record(parts: Any) -> Iterator[tuple[np.ndarray, Any]]:
    """Density and exact gradient of every design of the exact loop."""
    from morpho.gradients.exact import Exact

    exact, restart = Exact(parts.physics), parts.start()
    x, state = restart.x, restart.state
    for iteration in range(1, parts.problem.optimizer.max_iterations + 1):
        parts.enter_iteration(iteration)
        rho, pullback = parts.design.at(iteration).apply(x)
        gradient = exact.estimate(rho)
        yield rho, gradient
        evaluation = parts.responses.evaluate(rho, gradient, pullback, lambda d: d)
        x, state = parts.optimizer.step(x, evaluation, state)


def trained(data: list[list[np.ndarray]], unseen: list[list[np.ndarray]]) -> tuple[dict[str, Any], float]:
    """A network from samples of many problems, and its mean error on unseen ones, relative to none at all."""
    from morpho.gradients import adam
    from morpho.gradients.features import NAMES
    from morpho.gradients.network import Network

    after, before, target = (np.concatenate(part) for part in zip(*data, strict=True))
    network = Network(len(NAMES), HIDDEN, BATCH, seed=0)
    for rate, share in ((3e-3, 0.5), (1e-3, 0.3), (3e-4, 0.2)):
        adam.LEARNING_RATE = rate
        network.train(after, before, target, int(share * STEPS))
    adam.LEARNING_RATE = 3e-3
    found = []
    for after, before, target in unseen:
        error = network.infer(after) - network.infer(before) - target
        found.append(float(np.abs(error).mean() / np.abs(target).mean()))
    return network.save(), float(np.mean(found))


def networks(cache: Path) -> dict[int, dict[str, Any]]:
    """The trained networks, by size of the blocks."""
    file = cache / "networks.json"
    if file.exists():
        return {int(block): state for block, state in json.loads(file.read_text()).items()}
    cache.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(2) as pool:
        everything = []
        for seed, part in enumerate(pool.map(samples_of, range(PROBLEMS_MADE + HELD_BACK))):
            everything.append(part)
            print(f"made-up problem {seed}: {len(part[2][2])} samples", flush=True)
    result = {}
    for block in BLOCKS:
        data = [part[block] for part in everything]
        result[block], error = trained(data[:PROBLEMS_MADE], data[PROBLEMS_MADE:])
        print(f"blocks of {block}: error on {HELD_BACK} made-up problems held back {error:.3f}", flush=True)
    file.write_text(json.dumps(result))
    return result


def ship(states: dict[int, dict[str, Any]]) -> None:
    """Write the networks, with the scaling of their features taken in, to where the package looks for them."""
    from morpho.gradients.anchored import SHIPPED
    from morpho.gradients.features import NAMES

    blocks = {}
    for block, state in states.items():
        mean, spread = np.array(state["mean"]), np.array(state["spread"])
        W, b, w = (np.array(part) for part in state["parameters"])
        W = W / spread
        parts = {"W": W, "b": b - W @ mean, "w": w[0]}
        blocks[str(block)] = {name: [float(f"{v:.6g}") for v in part.ravel()] for name, part in parts.items()}
        blocks[str(block)]["W"] = np.reshape(blocks[str(block)]["W"], W.shape).tolist()
    SHIPPED.write_text(json.dumps({"features": list(NAMES), "blocks": blocks}) + "\n")


def source_of(way: str, physics: Any, two_scale: Any, state: dict[str, Any]) -> Any:
    from morpho.gradients.onsg import Onsg
    from morpho.gradients.secant import Secant

    if way == "neither":
        return Secant(physics, two_scale)
    steps = {"steps": 0, "first_steps": 0} if way == "before" else {}
    source = Onsg(physics, two_scale, hidden=HIDDEN, **steps)  # trained no further, it is the form `pretrained`
    if way != "online":
        source.take_network({"network": state})
    return source


def compare(name: str, states: dict[int, dict[str, Any]]) -> dict[int, dict[str, list[float]]]:
    """Errors half way to the next exact gradient and there, by size of the blocks and way."""
    import morpho
    from morpho.gradients.two_scale import TwoScale
    from morpho.parts import Parts

    limit = [f"optimizer.max_iterations={ITERATIONS}", "gradient.source=exact"]
    problem = morpho.load_problem(ROOT / "problems" / f"{name}.yaml", [*TIGHT, *PROBLEMS[name], *limit])
    with Parts(problem, MPI.COMM_SELF) as parts:
        sources, scales = {}, {}
        for block in BLOCKS:
            scales[block] = TwoScale(parts.physics, block)
            for way in WAYS:
                sources[block, way] = source_of(way, parts.physics, scales[block], states[block])
        errors: dict[int, dict[str, list[float]]] = {block: {way: [] for way in WAYS} for block in BLOCKS}
        for iteration, (rho, exact) in enumerate(record(parts), start=1):
            since = (iteration - WARM_UP) % EVERY
            if iteration > WARM_UP and since in (0, EVERY // 2):
                for (block, way), source in sources.items():
                    errors[block][way].append(error(source.estimate(rho), exact))
            if iteration <= WARM_UP or since == 0:
                for source in sources.values():
                    source.learn(rho, exact)
        return errors


def error(estimate: Any, exact: Any) -> float:
    """Relative, of the worst load case."""
    pairs = zip(estimate.d_cases, exact.d_cases, strict=True)
    return max(float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)) for ours, theirs in pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, default=ROOT / "runs" / "pretrained", help="where the networks are kept")
    parser.add_argument("--ship", action="store_true", help="put the networks into the package")
    arguments = parser.parse_args()
    states = networks(arguments.cache)
    if arguments.ship:
        ship(states)
    text = (
        "# A network that was trained before\n\nMade by `scripts/env python3 scripts/study_pretrained.py`. Relative "
        "error of the gradient\non exact ones that the source has not seen: median over the run (mean of the first "
        "three).\n\n"
        f"| problem | block | {' | '.join(WAYS)} |\n|---|---|{'---|' * len(WAYS)}\n"
    )
    for name in PROBLEMS:
        for block, found in compare(name, states).items():
            cells = [f"{np.median(found[way]):.3f} ({np.mean(found[way][:3]):.3f})" for way in WAYS]
            row = f"| {name.removeprefix('set/')} | {block} | {' | '.join(cells)} |\n"
            print(row, end="", flush=True)
            text += row
    PAGE.write_text(text)


if __name__ == "__main__":
    main()
