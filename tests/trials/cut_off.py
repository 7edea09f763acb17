"""What is said of passive void that cuts a box, by both engines."""

from __future__ import annotations

from typing import Any

from mpi4py import MPI

from helpers import box, main, make_problem, plane

from morpho.errors import InputError
from morpho.parts import Parts

DOWN = [0, -1, 0]


def between(low: list[float], high: list[float], dim: int) -> dict[str, Any]:
    """Region: a box."""
    return {"box": {"min": low[:dim], "max": high[:dim]}}


#: name -> boxes of void in a box of 3 x 1 x 1
VOID = {
    "wall": [([1, 0, 0], [1.5, 1, 1])],
    "bridge": [([1, 0, 0], [1.5, 0.7, 1])],
    "diagonal": [([1, 0, 0], [1.5, 0.5, 1]), ([1.5, 0.5, 0], [2, 1, 1])],
}


def facts(comm: MPI.Comm) -> dict[str, Any]:
    """Complaints by name (collective)."""
    found: dict[str, Any] = {}
    for dim in (2, 3):
        part = box([12, 4, 4][:dim], [3.0, 1.0, 1.0][:dim])
        loads = [{"forces": [{"region": plane("x", 3), "total": DOWN[:dim]}]}]
        for name, regions in VOID.items():
            void = [between(low, high, dim) for low, high in regions]
            for engine in ("assembled", "voxel"):
                problem = make_problem(part, design={"passive": {"void": void}}, loads=loads, engine=engine)
                try:
                    Parts(problem, comm).__exit__()
                    said = "nothing"
                except InputError as error:
                    said = str(error)
                found[f"{name} {dim} {engine}"] = said
    return found


if __name__ == "__main__":
    main(facts)
