"""Measure the voxel engine beside the assembled one: scripts/env python3 scripts/bench_engine.py [part ...]

Parts, all of them by default; each runs in processes of its own, one at a time, and prints as it goes:

    kernel      the operator on one core: ns per element, distance to the core's limits, dense rows, assembled product
    sizes       design iterations at 65k to 4.2M elements on 1 and 2 ranks: iterations, seconds by part, memory
    huge        five design iterations at 17M elements on 2 ranks
    memory      every field, its bytes per element and its lifetime, beside the measured peak: 1.0M, 4.2M and 17M
                elements on 2 ranks with exact gradients, secant and onsg
    mma         ten design iterations at 524k elements on 1 rank with MMA instead of OC
    assembled   65k elements, 60 design iterations on 2 ranks, both engines at the same tolerance
    dilute      524k elements on 2 ranks, radius 1.5 elements, beta to 32: volume 0.01 and 0.03 beside 0.3

Results go to docs/bench/engine.json (parts that did not run keep theirs), the tables to docs/bench/engine.md, the plot
to docs/images/engine.png. Nothing else should run on the machine meanwhile.
"""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from morpho.problem import Problem

ROOT = Path(__file__).resolve().parent.parent
FIGURES = ROOT / "docs" / "bench" / "engine.json"
TABLES = ROOT / "docs" / "bench" / "engine.md"
PLOT = ROOT / "docs" / "images" / "engine.png"

SIZES = {65: (64, 32, 32), 524: (128, 64, 64), 1024: (160, 80, 80), 1475: (192, 96, 80), 4194: (256, 128, 128)}
HUGE = (432, 216, 180)
MEMORY = {"exact": 3, "secant": 8, "onsg": 12}  #: sources, and design iterations until all of their fields are there
FLOPS = 195  #: of one element in kernels_3d.add_stiffness
MATRIX_ROWS = (64, 32, 32)
LITTLE = (32, 16, 16)  #: a run in which the processes are all that takes memory
Record = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="part", help="kernel, sizes, huge, memory, mma, assembled, dilute")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        work(json.loads(arguments.worker))
        return
    known = {
        "kernel": kernel,
        "sizes": sizes,
        "huge": huge,
        "memory": memory,
        "mma": mma,
        "assembled": assembled,
        "dilute": dilute,
    }
    if unknown := set(arguments.parts) - set(known):
        parser.error(f"no part {', '.join(unknown)}; use {', '.join(known)}")
    figures = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    for name in arguments.parts or known:
        print(f"--- {name}", flush=True)
        figures[name] = known[name]()
        FIGURES.parent.mkdir(parents=True, exist_ok=True)
        FIGURES.write_text(json.dumps(figures, indent=1) + "\n")
    TABLES.write_text(tables(figures))
    plot(figures)
    print(TABLES.read_text())


def kernel() -> list[Record]:
    return [run(1, kind="kernel", cells=(128, 64, 64)), run(1, kind="kernel", cells=(192, 96, 80))]


def sizes() -> list[Record]:
    found = []
    for cells in SIZES.values():
        for ranks in (2, 1):
            if ranks == 2 or np.prod(cells) < 2e6:
                iterations = 60 if np.prod(cells) < 2e6 else 30
                found.append(run(ranks, kind="design", cells=cells, radius=2.0, iterations=iterations))
    return found


def huge() -> Record:
    return run(2, kind="design", cells=HUGE, radius=2.0, iterations=5)


def memory() -> list[Record]:
    found = []
    for source, iterations in MEMORY.items():
        for cells in (SIZES[1024], SIZES[4194], HUGE):
            found.append(run(2, kind="memory", cells=cells, source=source, iterations=iterations))
    return found


def mma() -> Record:
    return run(1, kind="design", cells=SIZES[524], radius=2.0, iterations=10, optimizer="mma")


def assembled() -> list[Record]:
    case = {"kind": "design", "cells": SIZES[65], "radius": 2.56, "iterations": 60}
    return [run(2, engine=engine, **case) for engine in ("voxel", "assembled")]


def dilute() -> list[Record]:
    return [run(2, kind="dilute", cells=SIZES[524], fraction=fraction) for fraction in (0.3, 0.03, 0.01)]


def run(ranks: int, **case: Any) -> Record:
    """One case in its own processes; its record."""
    command = ["mpirun", "-n", str(ranks), sys.executable, __file__, "--worker", json.dumps(case)]
    shown = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT).stdout
    record = case | {"ranks": ranks} | json.loads(shown.splitlines()[-1])
    print(json.dumps({k: v for k, v in record.items() if k != "steps"}), flush=True)
    return record


def work(case: Record) -> None:
    """What runs on the ranks; the last line of rank 0 is the record."""
    from mpi4py import MPI

    sys.path.insert(0, str(ROOT))
    kinds = {"kernel": time_kernel, "design": time_design, "dilute": time_dilute, "memory": weigh}
    record = kinds[case.pop("kind")](**case)
    if MPI.COMM_WORLD.rank == 0:
        print(json.dumps(record))


def cantilever(cells: tuple[int, ...], radius: float, *more: str) -> Problem:
    """The 2 x 1 x 1 like cantilever with the radius in elements, penalty 3, tolerance 1e-5."""
    import morpho

    size = 2 / cells[0]
    return morpho.load_problem(
        ROOT / "problems" / "cantilever_3d.yaml",
        [
            f"mesh.box.cells={list(cells)}",
            f"mesh.box.size={[n * size for n in cells]}",
            f"design.filter.radius={radius * size}",
            "material.penalty=3",
            "solver.rtol=1e-5",
            *more,
        ],
    )


def time_dilute(cells: tuple[int, ...], fraction: float) -> Record:
    """A whole run to black and white, with the linear iterations of a design at each sharpness."""
    from mpi4py import MPI

    import morpho

    problem = cantilever(
        cells,
        1.5,
        "design.projection={eta: 0.5, beta: {start: 1, max: 32, factor: 2, every: 20}}",
        f"constraints[0].volume_fraction={fraction}",
        "optimizer={kind: oc, max_iterations: 130, tolerance: 0, objective_tolerance: 0}",
    )
    done, taken, start = 0, [], time.perf_counter()
    for step in morpho.iterate(problem, MPI.COMM_WORLD):
        taken.append(step.linear_iterations - done)
        done = step.linear_iterations
    return {
        "elements": int(np.prod(cells)),
        "seconds": time.perf_counter() - start,
        "most": [max(taken[i : i + 20]) for i in range(0, 120, 20)],
        "mean": float(np.mean(taken)),
        "objective": step.objective,
        "greyness": step.greyness,
    }


def time_design(
    cells: tuple[int, ...], radius: float, iterations: int, engine: str = "voxel", optimizer: str = "oc"
) -> Record:
    """Design iterations at volume 0.12, with the seconds of their parts."""
    from mpi4py import MPI

    from morpho.outcome import peak_memory
    from morpho.parts import Parts

    problem = cantilever(cells, radius, f"engine={engine}", f"optimizer.kind={optimizer}")
    comm = MPI.COMM_WORLD
    start = time.perf_counter()
    with Parts(problem, comm) as parts:
        setup = time.perf_counter() - start
        restart = parts.start()
        x, state = restart.x, restart.state
        steps = []
        for iteration in range(1, iterations + 1):
            laps = Laps(comm)
            parts.enter_iteration(iteration)
            rho, pullback = parts.design.at(iteration).apply(x)
            laps.end("filter")
            gradient = parts.source.estimate(rho)
            laps.end("solve")
            evaluation = parts.responses.evaluate(rho, gradient, pullback, lambda d: d)
            laps.end("filter")
            x, state = parts.optimizer.step(x, evaluation, state)
            laps.end("update")
            steps.append(laps.seconds | {"its": gradient.linear_iterations, "objective": gradient.compliance})
        last = split_of_solve(parts, comm, rho) if engine == "voxel" else {}
        return {
            "elements": int(np.prod(cells)),
            "compile_and_setup": setup,
            "its_first": steps[0]["its"],
            "its_last": int(np.median([s["its"] for s in steps[-5:]])),
            "mean_seconds": float(np.mean([s["solve"] + s["filter"] + s["update"] for s in steps[1:]])),
            "settled": {k: float(np.median([s[k] for s in steps[-5:]])) for k in ("solve", "filter", "update")},
            "objective": steps[-1]["objective"],
            "bytes_per_element": peak_memory(comm) / float(np.prod(cells)),
            "steps": steps,
            **last,
        }


def weigh(cells: tuple[int, ...], source: str, iterations: int) -> Record:
    """A run that writes its results, with its peak, that of the processes alone, and the table of fields."""
    from mpi4py import MPI

    import morpho
    from morpho.fields import at_solve, at_update, fields
    from morpho.outcome import peak_memory

    def solved(shape: tuple[int, ...], count: int) -> Any:
        texts = ["design.projection={eta: 0.5, beta: 2}", f"gradient.source={source}"]
        texts += [f"optimizer.max_iterations={count}", "output={first: 0, every: 1000}"]
        problem = cantilever(shape, 1.5, *texts)
        with tempfile.TemporaryDirectory() as folder:
            morpho.solve(problem, output=Path(MPI.COMM_WORLD.bcast(folder)) / "run")
        return problem

    logging.getLogger("morpho").setLevel(logging.ERROR)
    solved(LITTLE, iterations)
    processes, n = peak_memory(MPI.COMM_WORLD), int(np.prod(cells))
    found = fields(solved(cells, iterations), len(cells), n / MPI.COMM_WORLD.size)
    return {
        "elements": n,
        "source": source,
        "processes": processes / n,
        "solve": at_solve(found),
        "update": at_update(found),
        "measured": peak_memory(MPI.COMM_WORLD) / n,
        "fields": [vars(field) for field in found],
    }


class Laps:
    """Seconds of the parts of an iteration, the slowest rank each."""

    def __init__(self, comm: Any) -> None:
        self.comm, self.seconds = comm, {"filter": 0.0, "solve": 0.0, "update": 0.0}
        self._last = time.perf_counter()

    def end(self, part: str) -> None:
        self.comm.Barrier()
        now = time.perf_counter()
        self.seconds[part] += now - self._last
        self._last = now


def split_of_solve(parts: Any, comm: Any, rho: np.ndarray) -> Record:
    """Set-up and gradient kernels of the last design, timed alone; iterations to 1e-5 from a start at zero."""
    physics = parts.physics
    physics.u[0][:] = 0
    its_cold = physics.solve(rho).linear_iterations
    energy = np.empty(parts.mesh.n)
    grid = physics._cg.preconditioner
    return {
        "its_cold": its_cold,
        "refresh_seconds": best(grid.refresh, comm),
        "energy_seconds": best(lambda: physics.put_energy(energy, physics.u[0]), comm),
        "cycle_seconds": best(grid.cycle, comm),
    }


def best(call: Callable[[], Any], comm: Any = None, repeat: int = 5) -> float:
    seconds = []
    for _ in range(repeat + 1):
        if comm is not None:
            comm.Barrier()
        start = time.perf_counter()
        call()
        if comm is not None:
            comm.Barrier()
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])


def time_kernel(cells: tuple[int, ...]) -> Record:
    """The operator in float64 and float32, the dense row kernel, an assembled product, and the core's limits."""
    from dense_rows import add_dense_rows, copy_rate, fma_rate

    from morpho.fem.elasticity import stiffness
    from morpho.fem.voxel import kernels_3d
    from morpho.fem.voxel.element import mode_stiffness
    from morpho.fem.voxel.present import find_pieces

    nx, ny, nz = cells
    K = stiffness(np.ones(3), 0.3, "strain")
    rng = np.random.default_rng(0)
    record: Record = {"elements": nx * ny * nz}

    def measure(kind: type) -> Record:
        E = rng.random((nz, ny, nx)).astype(kind)
        u = rng.random((nz + 1, ny + 1, 3, nx + 1)).astype(kind)
        y, m, dense = np.zeros_like(u), mode_stiffness(K, 3).astype(kind), K.astype(kind)
        rows, out = np.ascontiguousarray(u.transpose(2, 0, 1, 3)), np.zeros((3, nz + 1, ny + 1, nx + 1), kind)
        pieces = find_pieces(E)
        kernels_3d.add_stiffness(y, u, E, m, pieces)
        add_dense_rows(out, rows, E, dense)
        error = np.abs(y - out.transpose(1, 2, 0, 3)).max() / np.abs(y).max()
        seconds = best(lambda: kernels_3d.add_stiffness(y, u, E, m, pieces), repeat=15)
        fma, copy = fma_rate(kind), copy_rate(kind)
        touched = np.dtype(kind).itemsize * 10  # u read, y read and written, E read
        return {
            "ns": seconds / E.size * 1e9,
            "dense_ns": best(lambda: add_dense_rows(out, rows, E, dense), repeat=8) / E.size * 1e9,
            "difference": float(error),
            "fma_share": FLOPS * E.size / seconds / fma,
            "copy_share": touched * E.size / seconds / copy,
            "peak_gflops": fma / 1e9,
            "copy_gbytes": copy / 1e9,
        }

    for kind in (np.float64, np.float32):
        record[np.dtype(kind).name] = measure(kind)
    record["assembled_ns"] = time_assembled_product(MATRIX_ROWS)
    return record


def time_assembled_product(cells: tuple[int, ...]) -> float:
    """ns per element of PETSc's product with the assembled matrix (three rows to a block, as the solver has it)."""
    from mpi4py import MPI

    import morpho
    from morpho.parts import Parts

    overrides = [f"mesh.box.cells={list(cells)}", "engine=assembled", "solver.preset=multigrid"]
    problem = morpho.load_problem(ROOT / "problems" / "cantilever_3d.yaml", overrides)
    with Parts(problem, MPI.COMM_SELF) as parts:
        physics = parts.physics
        physics.prepare()
        physics._set(physics._E, np.ones(parts.mesh.n))
        from dolfinx.fem import petsc

        physics._A.zeroEntries()
        petsc.assemble_matrix(physics._A, physics._a, physics.conditions)
        physics._A.assemble()
        x, y = physics._A.createVecs()
        x.set(1.0)
        seconds = best(lambda: physics._A.mult(x, y), repeat=10)
        x.destroy()
        y.destroy()
        return seconds / parts.mesh.n * 1e9


def tables(figures: Record) -> str:
    """All results as Markdown."""
    text = "# The voxel engine, measured\n\nMade by `scripts/env python3 scripts/bench_engine.py`.\n"
    if "kernel" in figures:
        text += "\n## Operator, one core\n\n"
        text += "| elements | precision | ns/element | dense rows | ratio | assembled product | ratio "
        text += "| of FMA peak | of copy rate |\n|---|---|---|---|---|---|---|---|---|\n"
        for r in figures["kernel"]:
            for kind in ("float64", "float32"):
                k = r[kind]
                text += f"| {r['elements']:,} | {kind} | {k['ns']:.1f} | {k['dense_ns']:.1f} "
                text += f"| {k['dense_ns'] / k['ns']:.1f} | {r['assembled_ns']:.0f} "
                text += f"| {r['assembled_ns'] / k['ns']:.0f} | {k['fma_share']:.0%} of {k['peak_gflops']:.0f} GFlop/s "
                text += f"| {k['copy_share']:.0%} of {k['copy_gbytes']:.0f} GB/s |\n"
    designs = figures.get("sizes", []) + ([figures["huge"]] if "huge" in figures else [])
    if designs:
        text += "\n## Design iterations, filter radius 2 elements, tolerance 1e-5\n\n"
        text += "Iterations of the first design, of the last ones from a warm start, and of the last one from zero; "
        text += "seconds of the last designs (median of five).\n\n"
        text += "| elements | ranks | design iterations | CG its first, last, last from zero | s per design iteration "
        text += "(mean) | settled: solve | of it set-up | gradient | filter | update | bytes/element |\n"
        text += "|---|---|---|---|---|---|---|---|---|---|---|\n"
        for r in designs:
            s = r["settled"]
            text += f"| {r['elements']:,} | {r['ranks']} | {r['iterations']} "
            text += f"| {r['its_first']}, {r['its_last']}, {r['its_cold']} "
            text += f"| {r['mean_seconds']:.3g} | {s['solve']:.3g} | {r['refresh_seconds']:.3g} "
            text += f"| {r['energy_seconds']:.3g} | {s['filter']:.3g} | {s['update']:.3g} "
            text += f"| {r['bytes_per_element']:.0f} |\n"
    if "memory" in figures:
        text += memory_tables(figures["memory"])
    if "mma" in figures:
        r = figures["mma"]
        text += (
            f"\nWith MMA instead of OC the update takes {r['settled']['update']:.2g} s at {r['elements']:,} elements "
        )
        text += "on 1 rank.\n"
    if "assembled" in figures:
        text += "\n## Both engines at 65,536 elements, 2 ranks, filter radius 2.56 elements, 60 design iterations\n\n"
        text += "| engine | s per design iteration (mean) | CG iterations first, last | compliance | bytes/element |\n"
        text += "|---|---|---|---|---|\n"
        for r in figures["assembled"]:
            text += f"| {r['engine']} | {r['mean_seconds']:.3g} | {r['its_first']}, {r['its_last']} "
            text += f"| {r['objective']:.5g} | {r['bytes_per_element']:.0f} |\n"
    if "dilute" in figures:
        text += "\n## Designs that fill little of their box, 2 ranks, filter radius 1.5 elements, tolerance 1e-5\n\n"
        text += "Whole runs of 130 design iterations, beta doubled every 20. Iterations are those of one design.\n\n"
        text += "| elements | volume | most iterations at beta 1, 2, 4, 8, 16, 32 | mean | seconds | compliance "
        text += "| greyness |\n|---|---|---|---|---|---|---|\n"
        for r in figures["dilute"]:
            text += f"| {r['elements']:,} | {r['fraction']:g} | {', '.join(map(str, r['most']))} | {r['mean']:.0f} "
            text += f"| {r['seconds']:.0f} | {r['objective']:.5g} | {r['greyness']:.3f} |\n"
    return text


def memory_tables(records: list[Record]) -> str:
    """The fields of a run, and their sum beside what was measured."""
    text = "\n## Memory, 2 ranks, one load case, cone filter, projection, OC\n\n"
    text += "Bytes per element at the peak, results written. Fields are the larger of the two sums of the table below. "
    text += "Nodes are a few per cent more than elements. Little work arrays stay between solves, and count in both "
    text += "sums then; the second table is of large ones.\n\n"
    text += "| source | elements | processes | fields | sum | measured | sum over measured |\n"
    text += "|---|---|---|---|---|---|---|\n"
    for r in records:
        own = max(r["solve"], r["update"])
        both = own + r["processes"]
        text += f"| {r['source']} | {r['elements']:,} | {r['processes']:.0f} | {own:.0f} | {both:.0f} "
        text += f"| {r['measured']:.0f} | {both / r['measured']:.2f} |\n"
    shown = {r["source"]: r["fields"] for r in records}
    text += "\nBytes per element of every field. What secant and onsg have beside comes last.\n\n"
    text += "| field | solve | update | lifetime |\n|---|---|---|---|\n"
    for field in shown[list(shown)[-1]]:
        solve, update = (f"{field['size']:.3g}" if field[phase] else "-" for phase in ("solve", "update"))
        text += f"| {field['name']} | {solve} | {update} | {field['life']} |\n"
    return text


def plot(figures: Record) -> None:
    """Seconds per settled design iteration against size."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    if "sizes" not in figures:
        return
    fig, ax = plt.subplots(figsize=(6, 4), constrained_layout=True)
    for ranks in (1, 2):
        chosen = [r for r in figures["sizes"] if r["ranks"] == ranks]
        x = [r["elements"] for r in chosen]
        ax.loglog(x, [sum(r["settled"].values()) for r in chosen], "o-", label=f"voxel, {ranks} rank{'s'[: ranks - 1]}")
    for r in figures.get("assembled", []):
        if r["engine"] == "assembled":
            ax.loglog(r["elements"], sum(r["settled"].values()), "s", label="assembled, GAMG, 2 ranks")
    ax.set(xlabel="elements", ylabel="seconds per design iteration", title="Settled design, tolerance 1e-5")
    ax.grid(True, which="both", alpha=0.3)
    ax.legend()
    PLOT.parent.mkdir(parents=True, exist_ok=True)
    fig.savefig(PLOT, dpi=120)


if __name__ == "__main__":
    main()
