"""Weak scaling, counted and on paper: scripts/env python3 scripts/bench_scaling.py [part ...]

Parts, all of them by default; each runs in processes of its own and prints as it goes:

    counts      messages and bytes of the busiest rank in an iteration and in a design update, on 8, 27 and 64 ranks
                (more than there are cores: nothing is timed), with coarse grids kept whole and moved to fewer ranks
    costs       what grids cost one core, in processor time
    cycle       iterations of conjugate gradients on 4.2M elements, 1 rank, when deep grids are visited once
    page        nothing but the page, from the results that are there

Results go to docs/bench/scaling.json (parts that did not run keep theirs), the tables to docs/bench/scaling.md, the
plot to docs/images/scaling.png. The model is `scaling_model.py`.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scaling_model import Costs, Iteration

ROOT = Path(__file__).resolve().parent.parent
FIGURES = ROOT / "docs" / "bench" / "scaling.json"
TABLES = ROOT / "docs" / "bench" / "scaling.md"
PLOT = ROOT / "docs" / "images" / "scaling.png"

RANKS = (8, 27, 64)
EDGE = 16  #: of a cube of as many cells as a rank has, where messages are counted
EDGES = {"1e5": 46, "1e6": 100}  #: in the model
MOST = 10_000  #: ranks
SHOWN = (1, 8, 27, 64, 125, 343, 1000, 2197, 4096, 9261)
DEEP_CELLS, DESIGNS = (256, 128, 128), (4, 12, 20)
WAYS = {"whole": "whole on all ranks", "moved": "on fewer ranks"}
Record = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="part", help="counts, costs, cycle, or none for the page only")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    logging.getLogger("morpho").setLevel(logging.ERROR)
    if arguments.worker:
        work(json.loads(arguments.worker))
        return
    known: dict[str, Callable[[], Any]] = {"counts": counts, "costs": costs, "cycle": cycle, "page": lambda: None}
    if unknown := set(arguments.parts) - set(known):
        parser.error(f"no part {', '.join(unknown)}; use {', '.join(known)}")
    figures = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    for name in arguments.parts or ("counts", "costs", "cycle"):
        if name != "page":
            print(f"--- {name}", flush=True)
            figures[name] = known[name]()
            figures.pop(f"{name}_note", None)
            FIGURES.write_text(json.dumps(figures, indent=1) + "\n")
    TABLES.write_text(page(figures))
    plot(figures)
    print(TABLES.read_text())


def run(ranks: int, kind: str, **case: Any) -> Any:
    """One case in its own processes; its record."""
    text = json.dumps({"kind": kind, **case})
    command = ["mpirun", "-n", str(ranks), sys.executable, __file__, "--worker", text]
    shown = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT).stdout
    record = json.loads(shown.splitlines()[-1])
    print(kind, ranks, case, flush=True)
    return record


def work(case: Record) -> None:
    """What runs on the ranks; the last line of rank 0 is the record."""
    from mpi4py import MPI

    kinds: dict[str, Callable[..., Any]] = {"count": _count, "measure": _measure, "message": _message, "cycle": _cycle}
    record = kinds[case.pop("kind")](**case)
    if MPI.COMM_WORLD.rank == 0:
        print(json.dumps(record))


def counts() -> Record:
    return {str(ranks): run(ranks, "count") for ranks in RANKS}


def costs() -> Record:
    return run(1, "measure") | {"message": run(2, "message")}


def cycle() -> Record:
    return run(1, "cycle")


def _count() -> Record:
    from mpi4py import MPI

    from bench_engine import cantilever
    from scaling_counts import count
    from scaling_model import replicated

    found = {}
    for way in WAYS:
        with replicated() if way == "whole" else nullcontext():
            found[way] = count(cantilever(cells_of(MPI.COMM_WORLD.size), 2.0, "solver.rtol=0.9"))
    return found


def _measure() -> Record:
    from scaling_costs import measure

    return measure()


def _message() -> float:
    from scaling_costs import message

    return message()


def _cycle() -> Record:
    """Iterations from zero for designs on the way, by the depth from which on grids are visited once."""
    from mpi4py import MPI

    from bench_engine import cantilever

    from morpho.fem.voxel.multigrid import DEEP
    from morpho.parts import Parts

    more = "design.projection={eta: 0.5, beta: {start: 1, max: 32, factor: 2, every: 8}}"
    found: Record = {}
    with Parts(cantilever(DEEP_CELLS, 1.5, more), MPI.COMM_SELF) as parts:
        restart = parts.start()
        x, state = restart.x, restart.state
        for iteration in range(1, DESIGNS[-1] + 1):
            parts.enter_iteration(iteration)
            rho, pullback = parts.design.at(iteration).apply(x)
            evaluation = parts.responses.evaluate(rho, parts.source.estimate(rho), pullback, lambda d: d)
            x, state = parts.optimizer.step(x, evaluation, state)
            if iteration not in DESIGNS:
                continue
            u, grids = parts.physics.u[0], parts.physics.cg.preconditioner.grids
            kept, before = u.copy(), [grid.visits for grid in grids]
            taken = {}
            for deep in (len(grids), DEEP, DEEP - 1):
                for depth, visits in enumerate(before):
                    grids[depth] = grids[depth]._replace(visits=visits if depth < deep else 1)
                u[:] = 0
                taken[str(deep)] = parts.physics.solve(rho).linear_iterations
            for depth, visits in enumerate(before):
                grids[depth] = grids[depth]._replace(visits=visits)
            u[:] = kept
            found[str(iteration)] = taken
    return found


def cells_of(ranks: int) -> tuple[int, int, int]:
    p = round(ranks ** (1 / 3))
    return EDGE * p, EDGE * p, EDGE * p


def costs_of(figures: Record) -> Costs:
    from scaling_model import Costs

    return Costs(**{key: value for key, value in figures["costs"].items() if key != "iterations"})


def model(figures: Record, edge: int, way: str) -> dict[int, Iteration]:
    """An iteration for every number of ranks."""
    from scaling_model import boxes, iteration, replicated, replicated_once, visited_twice

    with {"whole": replicated, "once": replicated_once, "twice": visited_twice, "moved": nullcontext}[way]():
        return {ranks: iteration(cells, ranks, costs_of(figures)) for ranks, cells in boxes(edge, MOST)}


def page(figures: Record) -> str:
    """All results as Markdown."""
    text = (
        "# Weak scaling, counted and on paper\n\n"
        "Made by `scripts/env python3 scripts/bench_scaling.py`. The machine has two cores. So "
        "messages are counted on\n"
        "more ranks than that, and the time on many machines is a model. No number here was measured on a cluster.\n\n"
        "Each rank has a box, cut in all three directions ([voxel_engine.md](../voxel_engine.md)). "
        "A rank talks to six\n"
        "others at most on the finest grid. Up to 8 ranks keep coarse grids whole. More than 8 "
        "leave them step by step\n"
        "to fewer ranks.\n"
    )
    if "counts" in figures and "costs" in figures:
        text += counted(figures)
    if "costs" in figures:
        text += modelled(figures)
    return text


def counted(figures: Record) -> str:
    """What was counted, beside the model."""
    from scaling_model import iteration, replicated

    text = f"\n## One iteration of conjugate gradients, {EDGE**3:,} elements per rank\n\n"
    text += (
        "The busiest rank, for each grid by its depth. In brackets is the model where it differs. Sums are collective\n"
    )
    text += "calls; bytes are those of one rank.\n"
    worst = 0.0
    for way, said in WAYS.items():
        text += f"\nCoarse grids {said}:\n\n| ranks (process grid) | grid | cycles | messages | kB | sums | kB |\n"
        text += "|---|---|---|---|---|---|---|\n"
        for ranks in map(int, figures["counts"]):
            record = figures["counts"][str(ranks)][way]
            with replicated() if way == "whole" else nullcontext():
                stages = {s.name: s for s in iteration(cells_of(ranks), ranks, costs_of(figures)).stages}
            first = f"{ranks} ({' x '.join(map(str, record['grid']))})"
            for name, found in record["iteration"].items():
                if name not in stages:
                    continue
                stage = stages[name]
                numbers = [
                    (found["message"], stage.messages, 1),
                    (found["message bytes"], stage.sent, 1e3),
                    (found["collective"], stage.collectives, 1),
                    (found["collective bytes"], stage.summed, 1e3),
                ]
                worst = max(worst, max(abs(a - b) / max(a, b, 1) for a, b, _ in numbers))
                shown = " | ".join(_beside(a, b, unit) for a, b, unit in numbers)
                text += f"| {first} | {name} | {stage.cycles} | {shown} |\n"
                first = ""
    text += "\nEvery number of the model is what was counted.\n" if worst == 0 else ""
    text += f"\nThe largest difference between what was counted and the model is {worst:.1%}.\n" if worst else ""
    text += "\n## One design update and the set-up of a solve, the busiest rank\n\n"
    text += "| ranks | stage | messages | kB | sums | bytes |\n|---|---|---|---|---|---|\n"
    for ranks in map(int, figures["counts"]):
        first = str(ranks)
        for name, found in figures["counts"][str(ranks)]["moved"]["update"].items():
            text += f"| {first} | {name} | {found['message']} | {found['message bytes'] / 1e3:.1f} "
            text += f"| {found['collective']} | {found['collective bytes']} |\n"
            first = ""
    return text


def _beside(counted: float, modelled: float, unit: float) -> str:
    digits = 0 if unit == 1 else 1
    own = f"{counted / unit:.{digits}f}"
    return own if abs(counted - modelled) < 1 else f"{own} ({modelled / unit:.{digits}f})"


def modelled(figures: Record) -> str:
    """Time, efficiency and memory up to many ranks."""
    from scaling_model import LATENCY, RATE

    c = costs_of(figures)
    text = "\n## Time of an iteration, on paper\n\n"
    text += f"Assumed: a message takes {LATENCY * 1e6:.0f} µs, and a rank sends {RATE / 1e9:.0f} GB/s. A sum over all "
    text += "ranks takes 2 log2(ranks) messages.\n\nMeasured on one core:\n\n"
    text += f"- {c.finest * 1e9:.0f} ns per element on the finest grid, {c.second * 1e9:.0f} on the next one, "
    text += f"{c.coarse * 1e9:.0f} per cycle on all others\n"
    text += f"- {c.call * 1e6:.0f} µs for the calls of a cycle, {c.message * 1e6:.1f} µs for those of a message\n"
    text += f"- {c.whole(4096) * 1e3:.2f} ms for a cycle from a whole grid of 4,096 cells on\n\n"
    text += "| elements, 1 rank | measured, ms | model, ms |\n|---|---|---|\n"
    from scaling_model import iteration

    for edge, seconds in figures["costs"]["iterations"].items():
        n = int(edge)
        text += f"| {n**3:,} | {seconds * 1e3:.1f} | {iteration((n, n, n), 1, c).seconds * 1e3:.1f} |\n"
    for edge in EDGES.values():
        ways = [model(figures, edge, way) for way in ("whole", "once", "twice", "moved")]
        text += (
            f"\n**{edge**3:,} elements per rank.** Milliseconds and efficiency; the share is that of whole grids.\n\n"
        )
        text += "| ranks | whole on all, W-cycle | share | whole, deep grids once | on fewer, W-cycle "
        text += "| on fewer, deep grids once (as built) | share |\n|---|---|---|---|---|---|---|\n"
        for ranks in SHOWN:
            cells = [f"{w[ranks].seconds * 1e3:.1f} ({w[1].seconds / w[ranks].seconds:.0%})" for w in ways]
            shares = [f"{w[ranks].coarse / w[ranks].seconds:.0%}" for w in (ways[0], ways[-1])]
            text += f"| {ranks:,} | {cells[0]} | {shares[0]} | {' | '.join(cells[1:])} | {shares[1]} |\n"
    text += (
        "\nEfficiency is that of one iteration. Visiting deep grids once takes up to 5 % more of them, which are not\n"
    )
    text += "in it. At 97,336 elements per rank all of the gain at 1,000 ranks is that, not the move to fewer ranks.\n"
    text += "27 to 125 ranks lose a little there. Up to 8 ranks nothing changes.\n\n"
    text += "The model takes the cycle within a whole grid as a W-cycle. So the column of whole grids with deep ones "
    text += "visited once\nis an upper bound.\n"
    text += thresholds(figures)
    if "cycle" in figures:
        text += visited(figures["cycle"])
        text += figures.get("cycle_note", "")
    return text + memory(figures) + limits(figures)


def thresholds(figures: Record) -> str:
    """From how many ranks on whole grids take a tenth and a half of an iteration."""
    text = "\n![Time of an iteration against ranks](../images/scaling.png)\n\n"
    text += "## Where whole coarse grids stop being cheap\n\n"
    text += "The fewest ranks at which they take that share of an iteration, when all ranks keep them:\n\n"
    text += "| elements per rank | 10 % | 25 % | 50 % | share at 10,000 |\n|---|---|---|---|---|\n"
    for edge in EDGES.values():
        found = model(figures, edge, "whole")
        shares = {ranks: at.coarse / at.seconds for ranks, at in found.items() if ranks > 1}
        firsts = [next((ranks for ranks in shares if shares[ranks] >= level), None) for level in (0.1, 0.25, 0.5)]
        shown = " | ".join("never" if first is None else f"{first:,}" for first in firsts)
        text += f"| {edge**3:,} | {shown} | {shares[max(shares)]:.0%} |\n"
    return text


def visited(record: Record) -> str:
    """Iterations when deep grids are visited once."""
    keys = list(next(iter(record.values())))
    text = "\n## Visiting deep grids once\n\n"
    text += (
        "A W-cycle visits a grid twice as often as the one before. On many ranks most of the time is messages of deep\n"
    )
    text += (
        f"grids, so more than 8 ranks go on with single visits from depth {keys[1]} on. Iterations from zero to 1e-5 "
    )
    text += f"at {math.prod(DEEP_CELLS):,} elements, 1 rank:\n\n"
    text += f"| design | W-cycle | once from depth {keys[1]} on | once from depth {keys[2]} on |\n|---|---|---|---|\n"
    for design, taken in record.items():
        text += f"| {design} | {' | '.join(str(taken[key]) for key in keys)} |\n"
    return text


def memory(figures: Record) -> str:
    """Bytes of a rank."""
    text = "\n## Memory of a rank\n\n"
    text += "Coarse grids of the cycle beside the 160 bytes per element that a run takes ([engine.md](engine.md)):\n\n"
    text += "| elements per rank | ranks | fields, MB | coarse grids whole, MB | moved, MB |\n|---|---|---|---|---|\n"
    for edge in EDGES.values():
        whole, moved = (model(figures, edge, way) for way in WAYS)
        for ranks in (64, 1000, 9261):
            own = [sum(s.memory for s in found[ranks].stages[2:]) / 1e6 for found in (whole, moved)]
            text += f"| {edge**3:,} | {ranks:,} | {160 * edge**3 / 1e6:.0f} | {own[0]:.1f} | {own[1]:.1f} |\n"
    return text


def limits(figures: Record) -> str:
    """Where the rest of the time goes."""
    text = "\n## What limits it then\n\n"
    text += "Milliseconds of an iteration that 1,000 ranks spend:\n\n"
    text += "| elements per rank | finest grid | other grids: compute | messages and sums |\n|---|---|---|---|\n"
    for edge in EDGES.values():
        at = model(figures, edge, "moved")[1000]
        waits = sum(s.waits for s in at.stages)
        fine = sum(s.seconds - s.waits for s in at.stages[:2])
        text += f"| {edge**3:,} | {fine * 1e3:.1f} | {(at.seconds - waits - fine) * 1e3:.1f} | {waits * 1e3:.1f} |\n"
    return text


def plot(figures: Record) -> None:
    """Time of an iteration against ranks."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    if "costs" not in figures:
        return
    fig, axes = plt.subplots(1, 2, figsize=(9, 4), constrained_layout=True)
    for ax, edge in zip(axes, EDGES.values(), strict=True):
        for way, style in (("whole", "s--"), ("moved", "o-")):
            found = model(figures, edge, way)
            ranks = [r for r in SHOWN if r in found]
            ax.loglog(ranks, [found[r].seconds * 1e3 for r in ranks], style, label=f"coarse grids {WAYS[way]}")
        ax.axhline(found[1].seconds * 1e3, color="grey", linewidth=0.8, label="ideal")
        ax.set(xlabel="ranks", title=f"{edge**3:,} elements per rank")
        ax.grid(True, which="both", alpha=0.3)
    axes[0].set_ylabel("ms per iteration (model)")
    axes[0].legend()
    PLOT.parent.mkdir(parents=True, exist_ok=True)
    fig.savefig(PLOT, dpi=120)


if __name__ == "__main__":
    main()
