"""Compliances against values that others published or computed: mpirun -n 2 python3 scripts/check_references.py

Writes docs/bench/references.md: morpho, the other value, the difference and what is allowed. Ends with status 1 if a
row misses. `--quick` leaves out the rows of minutes, and writes nothing; the suite runs the others too.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mpi4py import MPI

import morpho
from morpho import Problem
from morpho.problem.load import parse_problem

PAGE = Path(__file__).resolve().parent.parent / "docs" / "bench" / "references.md"
STOP_BY_CHANGE = {"move_limit": 0.2, "tolerance": 0.01, "objective_tolerance": 0, "max_iterations": 2000}


@dataclass(frozen=True)
class Row:
    """A problem that somebody else has a value of."""

    name: str
    source: str
    problem: Problem
    values: dict[int, float]  #: their compliance by iteration; 0 is the end of the run
    tolerance: float = 0.01
    slow: bool = False
    remark: str = ""
    counts: bool = True  #: whether a miss is one; not if the other code solves a slightly different problem


def parsed(name: str, **parts: Any) -> Problem:
    return parse_problem({"name": name, **parts}, name, Path())


# --- two-dimensional: 60 x 20 squares, E 1, nu 0.3, p 3, volume 0.5, until no variable changes by more than 0.01 -----

PAPER_88 = "88-line paper (Andreassen et al. 2011)"
TOPOPTLAB = "topoptlab, tests/test_compliance.py"
LEFT = {"region": {"plane": {"axis": "x", "at": 0}}}
HALF_MBB = {
    "supports": [LEFT | {"fix": "x"}, {"region": {"points": [[60, 0]]}, "fix": "y"}],
    "loads": [{"forces": [{"region": {"points": [[0, 20]]}, "total": [0, -1]}]}],
}


def at_the_far_end(y: float, force: float, name: str = "tip") -> dict[str, Any]:
    return {"name": name, "forces": [{"region": {"points": [[60, y]]}, "total": [0, force]}]}


def in_2d(kind: str, update: str = "oc", design: dict[str, Any] | None = None, **task: Any) -> Problem:
    return parsed(
        "reference",
        mesh={"box": {"size": [60, 20], "cells": [60, 20]}},
        constraints=[{"volume_fraction": 0.5}],
        design={"filter": {"kind": kind, "radius": 2.4}} | (design or {}),
        optimizer={"kind": update} | STOP_BY_CHANGE,
        **task,
    )


def rows_2d() -> Iterator[Row]:
    tip = {"supports": [LEFT], "loads": [at_the_far_end(0, -1)]}
    both = {"supports": [LEFT], "loads": [at_the_far_end(0, -1, "down"), at_the_far_end(20, 1, "up")]}
    disc = {"passive": {"void": [{"sphere": {"center": [19.5, 10.5], "radius": 20 / 3}}]}}
    yield Row("half MBB, sensitivity filter", PAPER_88, in_2d("sensitivity", **HALF_MBB), {0: 216.81})
    yield Row("half MBB, cone filter", PAPER_88, in_2d("cone", **HALF_MBB), {0: 233.71})
    yield Row(
        "half MBB, Helmholtz filter", TOPOPTLAB, in_2d("helmholtz", **HALF_MBB), {0: 237.60}, 0.03, remark="its filter "
        "is wider, by h^2/6 in the second moment"
    )  # fmt: skip
    yield Row("half MBB, cone filter, MMA", TOPOPTLAB, in_2d("cone", "mma", **HALF_MBB), {0: 233.71})
    yield Row("cantilever, load at the far lower corner", TOPOPTLAB, in_2d("sensitivity", **tip), {0: 208.4429})
    yield Row(
        "the same around a hole", "topoptlab, tests/test_passive.py", in_2d("sensitivity", design=disc, **tip),
        {0: 221.9721},
    )  # fmt: skip
    yield Row("cantilever, two load cases, their sum", TOPOPTLAB, in_2d("sensitivity", **both), {0: 510.3728})


# --- three-dimensional: the 2 x 1 x 1 cantilever of TopOpt_in_PETSc ------------------------------------------------

PETSC = "TopOpt_in_PETSc"


def cantilever(nodes: int, kind: str, iterations: int, penalty: Any = 3.0, radius: float = 0.08) -> Problem:
    """Clamped at x = 0, a line load along the lower far edge, volume 0.12, MMA."""
    n = nodes - 1
    edge = {"all_of": [{"plane": {"axis": "x", "at": 2}}, {"plane": {"axis": "z", "at": 0}}]}
    return parsed(
        "cantilever",
        mesh={"box": {"size": [2, 1, 1], "cells": [n, n // 2, n // 2]}},
        material={"penalty": penalty},
        supports=[LEFT],
        loads=[{"forces": [{"region": edge, "total": [0, 0, -0.001 * (n // 2)]}]}],
        constraints=[{"volume_fraction": 0.12}],
        design={"filter": {"kind": kind, "radius": radius}},
        solver={"rtol": 1e-5},
        optimizer={"kind": "mma", "max_iterations": iterations, "tolerance": 0, "objective_tolerance": 0},
    )


def rows_3d() -> Iterator[Row]:
    yield Row("65x33x33, cone", PETSC, cantilever(65, "cone", 60), {60: 0.5112}, 0.005, slow=True)
    steps = {"start": 1, "max": 3, "step": 0.5, "every": 5}
    name = "129x65x65, cone, p 1 to 3 by 0.5 every 5"
    yield Row(name, PETSC, cantilever(129, "cone", 40, steps), {40: 1.808}, 0.005, slow=True)
    wider = "same radius; its filter is wider, by h^2/6 in the second moment"
    wide = "radius such that both filters are equally wide: sqrt(r^2 + h^2)"
    coarse, fine = {40: 0.5699, 60: 0.5580}, {40: 2.1645}
    yield Row("65x33x33, Helmholtz", PETSC, cantilever(65, "helmholtz", 60), coarse, 0.03, True, wider, counts=False)
    equal = cantilever(65, "helmholtz", 60, radius=(0.08**2 + 2**-10) ** 0.5)
    yield Row("65x33x33, Helmholtz", PETSC, equal, coarse, slow=True, remark=wide)
    yield Row("129x65x65, Helmholtz", PETSC, cantilever(129, "helmholtz", 40), fine, 0.03, True, wider, counts=False)
    equal = cantilever(129, "helmholtz", 40, radius=(0.08**2 + 2**-12) ** 0.5)
    yield Row("129x65x65, Helmholtz", PETSC, equal, fine, slow=True, remark=wide)


# --- three-dimensional, projected: 50 steps of OC at each beta of 1, 2, 4, 8, 16, 32 -------------------------------

INDEPENDENT = "an independent implementation of projected OC"


def projected(cells: list[int], supports: list[Any], load: dict[str, Any], until: int) -> Problem:
    return parsed(
        "projected",
        mesh={"box": {"size": cells, "cells": cells}},
        supports=supports,
        loads=[{"forces": [load]}],
        constraints=[{"volume_fraction": 0.3}],
        design={
            "filter": {"kind": "cone", "radius": 2.5},
            "projection": {"beta": {"start": 1, "max": 32, "factor": 2, "every": 50}},
        },
        solver={"rtol": 1e-6},
        optimizer={"kind": "oc", "max_iterations": until, "tolerance": 0, "objective_tolerance": 0},
    )


def rows_projected() -> Iterator[Row]:
    far = {"region": {"plane": {"axis": "x", "at": 24}}, "point": [0, 0, -1 / 81]}
    middle = {"all_of": [{"plane": {"axis": "x", "at": 24}}, {"plane": {"axis": "z", "at": 8}}]}
    right = {"region": {"plane": {"axis": "x", "at": 48}}}
    yield Row(
        "cantilever 24x8x8, ends of beta 1 and 8", INDEPENDENT, projected([24, 8, 8], [LEFT], far, 200),
        {50: 85.1862, 200: 50.5527},
    )  # fmt: skip
    yield Row(
        "clamped beam 48x8x8, ends of beta 1 and 8", INDEPENDENT,
        projected([48, 8, 8], [LEFT, right], {"region": middle, "point": [0, 0, -1 / 9]}, 200),
        {50: 16.3526, 200: 9.0150},
    )  # fmt: skip
    yield Row(
        "clamped beam 48x8x8, end of beta 32", INDEPENDENT,
        projected([48, 8, 8], [LEFT, right], {"region": middle, "point": [0, 0, -1 / 9]}, 300),
        {300: 7.4821}, 0.05, slow=True,
    )  # fmt: skip


SECTIONS: dict[str, Callable[[], Iterator[Row]]] = {
    "Two-dimensional, 60 x 20 squares": rows_2d,
    "Three-dimensional, the 2 x 1 x 1 cantilever at 12 % volume, MMA": rows_3d,
    "Three-dimensional with projection, OC, volume of the projected density 0.3": rows_projected,
}


def compliances(problem: Problem, iterations: list[int]) -> list[float]:
    """Sum of the compliances of all load cases in some iterations, 0 is the last one (collective)."""
    found = {}
    for step in morpho.iterate(problem):
        found[step.iteration] = found[0] = step.objective
    return [found[i] for i in iterations]


def lines(row: Row) -> Iterator[tuple[str, bool]]:
    """The table rows of a problem, and whether each is within its tolerance (collective)."""
    found = compliances(row.problem, list(row.values))
    for (iteration, theirs), ours in zip(row.values.items(), found, strict=True):
        off, name = ours / theirs - 1, row.name + (f", iteration {iteration}" if iteration else "")
        right = abs(off) <= row.tolerance
        allowed = f"{row.tolerance:.1%}" + ("" if right else " **missed**")
        remark = f" ({row.remark})" if row.remark else ""
        yield (
            f"| {name}{remark} | {row.source} | {theirs:.6g} | {ours:.6g} | {off:+.2%} | {allowed} |",
            right or not row.counts,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    quick, root = parser.parse_args().quick, MPI.COMM_WORLD.rank == 0
    page = ["# Values that others have found", ""]
    page += ["Made by `scripts/env mpirun -n 2 python3 scripts/check_references.py`.", ""]
    all_right = True
    for title, rows in SECTIONS.items():
        page += [
            f"## {title}",
            "",
            "| problem | source | theirs | morpho | difference | allowed |",
            "|---|---|---|---|---|---|",
        ]
        for row in rows():
            for text, right in lines(row) if not (quick and row.slow) else ():
                all_right &= right
                page.append(text)
                if root:
                    print(text, flush=True)
        page.append("")
    if root and not quick:
        PAGE.write_text("\n".join(page[:-1]) + "\n", encoding="utf-8")
    sys.exit(0 if all_right else 1)


if __name__ == "__main__":
    main()
