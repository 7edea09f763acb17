"""What guided_es finds on small problems, on any number of ranks."""

from __future__ import annotations

import sys
from typing import Any

from mpi4py import MPI

from helpers import box, main, make_problem, plane
from two_scale_problems import cantilever, finished, two_cases

from morpho.problem import Problem

SETTINGS: dict[str, Any] = {"pairs": 2, "alpha": 0.1, "sigma": 0.05}


def stiff(dim: int, iterations: int, **own: Any) -> Problem:
    """The cantilever, with compliance by values alone."""
    return cantilever("guided_es", dim, iterations, guided_es=SETTINGS | own)


def cases(iterations: int, **own: Any) -> Problem:
    """Two load cases with self weight on triangles, with compliance by values alone."""
    given = two_cases("guided_es", iterations)
    settings = given.gradient.guided_es.model_copy(update=SETTINGS | own)
    return given.model_copy(update={"gradient": given.gradient.model_copy(update={"guided_es": settings})})


def box_of_values(value: str = "thresholded", iterations: int = 20, kind: str = "oc", **own: Any) -> Problem:
    """A cantilever whose objective is a black box."""
    end = {"all_of": [plane("x", 2), plane("y", 0)]}
    return make_problem(
        box([24, 12], [2.0, 1.0]),
        loads=[{"forces": [{"region": end, "total": [0, -1]}]}],
        objective={"kind": "black_box", "value": value},
        design={"filter": {"kind": "cone", "radius": 0.15}},
        material={"E_min_ratio": 1e-4},
        gradient={"source": "guided_es", "guided_es": {"pairs": 2} | own},
        optimizer={
            "kind": kind,
            "max_iterations": iterations,
            "tolerance": 0,
            "objective_tolerance": 0,
            "move_limit": 0.1,
        },
    )


KINDS = ("2", "3", "triangles", "thresholded")


def small(kind: str, **own: Any) -> Problem:
    """A short run of each kind."""
    return {
        "2": lambda: stiff(2, 6, **own),
        "3": lambda: stiff(3, 5, **own),
        "triangles": lambda: cases(5, **own),
        "thresholded": lambda: box_of_values(iterations=4, **own),
    }[kind]()


def facts(comm: MPI.Comm, kind: str, groups: str = "1") -> dict[str, Any]:
    """The last design and its objective."""
    (*_, last), rho = finished(small(kind, groups=int(groups)), comm)
    return {"objective": last.objective, "rho": rho}


if __name__ == "__main__":
    main(facts, *sys.argv[1:])
