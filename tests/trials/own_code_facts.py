"""What own functions and callbacks that fail on all ranks come to; run by test_runs.py on two ranks."""

import sys
from pathlib import Path

from mpi4py import MPI

from helpers import main
from running import write_mbb

import morpho
from morpho.errors import OwnCodeError
from morpho.step import Step

FUNCTIONS = """
import sys

def total(rho, physics):
    return physics.comm.allreduce(float(rho.sum()))

def raises(rho, physics):
    raise ValueError("on purpose")

def leaves(rho, physics):
    sys.exit(0)

def nothing(rho, physics):
    return None

def text(rho, physics):
    return "12"

def field(rho, physics):
    return rho

def differs(rho, physics):
    return float(physics.comm.rank)

def writes(rho, physics):
    rho[:] = 0

def not_finite(rho, physics):
    return float("nan")

def huge(rho, physics):
    return -(10**400)

def characters(rho, physics):
    import numpy as np
    return np.str_("twelve")

def a_type(rho, physics):
    return float

class Speechless(Exception):
    def __str__(self):
        raise RuntimeError("nothing to say")

def speechless(rho, physics):
    raise Speechless
"""
NAMES = (
    *("raises", "leaves", "nothing", "text", "field", "differs", "writes", "not_finite"),
    *("huge", "characters", "a_type", "speechless"),
)


def facts(comm: MPI.Comm, folder: str) -> dict:
    """What is said of each function, and the status in its result.json."""
    file = Path(folder) / "mbb.yaml"
    if comm.rank == 0:
        (Path(folder) / "own.py").write_text(FUNCTIONS)
        write_mbb(Path(folder), "optimizer: {max_iterations: 3}")
    comm.Barrier()
    found = {}
    for name in NAMES:
        settings = [f"objective={{kind: black_box, value: own.py:{name}}}", "gradient.source=guided_es"]
        try:
            result = morpho.solve(morpho.load_problem(file, settings, allow_code=True), Path(folder) / name, comm)
            found[name] = result.message
        except OwnCodeError as error:
            found[name] = str(error)

    def fail(step: Step) -> None:
        if step.iteration == 2:
            raise KeyError("in a callback")

    try:
        morpho.solve(morpho.load_problem(file, allow_code=True), Path(folder) / "callback", comm, fail)
    except KeyError as error:
        found["callback"] = str(error)
    return found


if __name__ == "__main__":
    main(facts, *sys.argv[1:])
