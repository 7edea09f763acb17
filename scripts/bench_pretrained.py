"""The optimization itself with each form of onsg, beside the loose exact run (solver.rtol 0.1) and the secant.

    scripts/env mpirun -n 2 python3 scripts/bench_pretrained.py [set] [bracket] [large]

`set` are problems/set at 30k to 55k elements and the large ones at 65k, `bracket` 57k tetrahedra over 60 iterations,
`large` 1.4 to 1.5 million design variables (without the form that is trained in the run). 100 iterations but for the
bracket, everything included. Results go to docs/bench/pretrained_loop.md. Nothing else should run on the machine.
"""

from __future__ import annotations

import logging
import sys
import time
from pathlib import Path

from mpi4py import MPI

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]
PAGE = ROOT / "docs" / "bench" / "pretrained_loop.md"

ENDLESS = ["optimizer.tolerance=0", "optimizer.objective_tolerance=0"]
WAYS = {
    "exact 1e-1": ["gradient.source=exact", "solver.rtol=1e-1"],
    "secant": ["gradient.source=secant"],
    "onsg, in the run": ["gradient.source=onsg", "gradient.onsg.form=anchored"],
    "onsg, pretrained": ["gradient.source=onsg", "gradient.onsg.form=pretrained"],
}


def problems(part: str) -> dict[str, list[str]]:
    """Settings of the problems of a part, by file."""
    from bench_sources import SET, SMALL

    if part == "bracket":
        return {"bracket_3d": ["optimizer.max_iterations=60", *ENDLESS]}
    found = {f"set/{name}": own for name, own in SET.items()} | SMALL
    if part == "large":
        found = {name: [] for name in SMALL}
    return {name: ["optimizer.max_iterations=100", *ENDLESS, *own] for name, own in found.items()}


def main() -> None:
    import morpho

    logging.getLogger("morpho").setLevel(logging.ERROR)
    text = "# Forms of onsg in the optimization\n\n"
    text += "Made by `scripts/env mpirun -n 2 python3 scripts/bench_pretrained.py`.\n"
    text += "\nGrids are those of [sources.md](sources.md): a problem at 65k elements is another one than at "
    text += "1.4 million.\n"
    for part in sys.argv[1:] or ("set", "bracket", "large"):
        text += f"\n## {part}\n\n| problem | design variables | source | exact objective | against exact 1e-1 "
        text += "| seconds | linear iterations |\n|---|---|---|---|---|---|---|\n"
        for name, settings in problems(part).items():
            loose = None
            for way, own in WAYS.items():
                if part == "large" and way == "onsg, in the run":
                    continue
                MPI.COMM_WORLD.Barrier()
                start = time.perf_counter()
                given = [*settings, "solver.rtol=1e-5", *own]
                result = morpho.solve(morpho.load_problem(ROOT / "problems" / f"{name}.yaml", given))
                seconds = time.perf_counter() - start
                loose = loose or result.objective
                text += f"| {name.removeprefix('set/')} | {result.n_design:,} | {way} | {result.objective:.5g} "
                text += f"| {result.objective / loose - 1:+.2%} | {seconds:.1f} | {result.linear_iterations} |\n"
                if MPI.COMM_WORLD.rank == 0:
                    print(text.splitlines()[-1], flush=True)
    if MPI.COMM_WORLD.rank == 0:
        PAGE.write_text(text)


if __name__ == "__main__":
    main()
