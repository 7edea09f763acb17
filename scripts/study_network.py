"""Does the network see more than the secant? scripts/env python3 scripts/study_network.py [problem ...]

Runs the exact loop on four problems (cantilever and bridge in 3-D at 65k elements, the MBB beam in 2-D, a plate of
triangles around a hole), and shows every source only what it would have known: the first ten exact gradients, then one
every N iterations. Half way to the next one and there, the error of each source is measured on the exact gradient
before it learns from it, as the relative 2-norm of the difference of the derivatives with respect to the physical
density.

Results go to docs/bench/network.json and docs/bench/network.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from mpi4py import MPI

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
FIGURES, TABLES = (ROOT / "docs" / "bench" / f"network.{end}" for end in ("json", "md"))

WARM_UP, ITERATIONS = 10, 60
TIGHT = ["material.penalty=3", "solver.rtol=1e-6", "optimizer.objective_tolerance=0", "optimizer.tolerance=0"]
PROBLEMS: dict[str, tuple[str, list[str]]] = {
    "cantilever": ("cantilever_3d", ["mesh.box.cells=[64,32,32]", "design.filter.radius=0.0625"]),
    "bridge": ("bridge_3d", ["mesh.box.cells=[80,20,40]", "design.filter.radius=0.05"]),
    "mbb_2d": ("mbb_2d", ["design.projection=null", "optimizer.move_limit=0.2"]),
    "plate": ("plate", []),
}
PLATE = """
mesh: {file: plate.msh, refine: 3}
supports: [{region: {plane: {axis: x, at: 0}}}]
loads: [{forces: [{region: {box: {min: [2, 0], max: [2, 0.2]}}, total: [0, -1]}]}]
constraints: [{volume_fraction: 0.35}]
design: {filter: {kind: cone, radius: 0.03}}
"""
Record = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("problems", nargs="*", metavar="problem", help=", ".join(PROBLEMS))
    names = parser.parse_args().problems or list(PROBLEMS)
    figures: dict[str, list[Record]] = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    for name in names:
        figures[name] = study(name)
        FIGURES.parent.mkdir(parents=True, exist_ok=True)
        FIGURES.write_text(json.dumps(figures, indent=1) + "\n")
    TABLES.write_text(table(figures))
    print(TABLES.read_text())


def study(name: str) -> list[Record]:
    """All checks of one problem."""
    import morpho
    from morpho.gradients import Tools, create
    from morpho.gradients.exact import Exact
    from morpho.parts import Parts

    file, overrides = PROBLEMS[name]
    with tempfile.TemporaryDirectory() as folder:
        home = plate(Path(folder)) if name == "plate" else ROOT / "problems"
        limit = [f"optimizer.max_iterations={ITERATIONS}"]
        problem = morpho.load_problem(home / f"{file}.yaml", [*TIGHT, *overrides, *limit])
        with Parts(problem, MPI.COMM_SELF) as parts:
            recorded = record(parts, Exact(parts.physics))
            print(f"{name}: {parts.mesh.n_global} cells, objective {recorded[-1][1].compliance:.6g}", flush=True)
            found = []
            for block in (4, 8):
                for every in (10, 20):
                    spec = problem.gradient.model_copy(update={"block": block})
                    tools = Tools(parts.physics, spec)
                    sources = {kind: create(kind, parts.physics, tools) for kind in ("secant", "onsg")}
                    found += replay(recorded, sources, every, {"block": block, "every": every})
            return found


def record(parts: Any, exact: Any) -> list[tuple[np.ndarray, Any]]:
    """Density and exact gradient of every design of the exact loop."""
    restart, steps = parts.start(), []
    x, state = restart.x, restart.state
    for iteration in range(1, ITERATIONS + 1):
        parts.enter_iteration(iteration)
        rho, pullback = parts.design.at(iteration).apply(x)
        gradient = exact.estimate(rho)
        steps.append((rho, gradient))
        evaluation = parts.responses.evaluate(rho, gradient, pullback, lambda d: d)
        x, state = parts.optimizer.step(x, evaluation, state)
    return steps


def replay(recorded: list[tuple[np.ndarray, Any]], sources: dict[str, Any], every: int, case: Record) -> list[Record]:
    """Errors of the sources half way to and at each new exact gradient."""
    checks = []
    for iteration, (rho, exact) in enumerate(recorded, start=1):
        last = WARM_UP + max(0, iteration - 1 - WARM_UP) // every * every
        since = iteration - last
        if iteration > WARM_UP and since in (every // 2, every):
            errors = {kind: error(source.estimate(rho), exact) for kind, source in sources.items()}
            checks.append(case | {"iteration": iteration, "since": since} | errors)
            print(json.dumps(checks[-1]), flush=True)
        if iteration <= WARM_UP or since == every:
            for source in sources.values():
                source.learn(rho, exact)
    return checks


def error(estimate: Any, exact: Any) -> float:
    return float(np.linalg.norm(estimate.d_compliance - exact.d_compliance) / np.linalg.norm(exact.d_compliance))


def plate(folder: Path) -> Path:
    """A cantilever of triangles with a hole, refined three times from a mesh that gmsh makes."""
    import gmsh

    gmsh.initialize(interruptible=False)
    try:
        gmsh.option.setNumber("General.Terminal", 0)
        occ = gmsh.model.occ
        occ.cut([(2, occ.addRectangle(0, 0, 0, 2, 1))], [(2, occ.addDisk(0.7, 0.5, 0, 0.2, 0.2))])
        occ.synchronize()
        gmsh.option.setNumber("Mesh.MeshSizeMax", 0.1)
        gmsh.model.mesh.generate(2)
        gmsh.write(str(folder / "plate.msh"))
    finally:
        gmsh.finalize()
    (folder / "plate.yaml").write_text(PLATE)
    return folder


def table(figures: dict[str, list[Record]]) -> str:
    text = (
        "# Error of the anchored network beside the secant\n\nMade by `scripts/env python3 scripts/study_network.py`.\n"
    )
    for name, checks in figures.items():
        text += f"\n## {name}\n\n| block | exact every | iteration (since) | secant | network | ratio |\n"
        text += "|---|---|---|---|---|---|\n"
        for c in checks:
            text += f"| {c['block']} | {c['every']} | {c['iteration']} ({c['since']}) | {c['secant']:.3f} "
            text += f"| {c['onsg']:.3f} | {c['onsg'] / c['secant']:.2f} |\n"
    text += "\n## Ratio of the errors\n\n| problem | block | exact every | median | largest |\n|---|---|---|---|---|\n"
    for name, checks in figures.items():
        for block, every in sorted({(c["block"], c["every"]) for c in checks}):
            ratios = [c["onsg"] / c["secant"] for c in checks if (c["block"], c["every"]) == (block, every)]
            text += f"| {name} | {block} | {every} | {np.median(ratios):.2f} | {max(ratios):.2f} |\n"
    everything = [c["onsg"] / c["secant"] for checks in figures.values() for c in checks]
    text += f"\nAll {len(everything)} checks: median {np.median(everything):.2f}, largest {max(everything):.2f}.\n"
    return text


if __name__ == "__main__":
    main()
