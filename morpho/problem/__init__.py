"""Problem files: YAML to a frozen, typed `Problem`. Imports neither dolfinx nor MPI."""

from morpho.problem.load import dump_problem, load_problem
from morpho.problem.spec import Problem

__all__ = ["Problem", "dump_problem", "load_problem"]
