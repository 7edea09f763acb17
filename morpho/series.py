"""Several problems, solved one after the other."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from mpi4py import MPI

from morpho.gradients import sharing
from morpho.interrupt import Clock
from morpho.parallel import on_root, raise_together
from morpho.parts import complaints
from morpho.problem.spec import Problem
from morpho.result import Result
from morpho.results import run_folder
from morpho.run import solve


def solve_in_turn(
    problems: list[Problem],
    output: Path,
    comm: MPI.Comm | None = None,
    share_network: bool = False,
    overwrite: bool = False,
    time_limit: float | None = None,
) -> list[Result]:
    """Solve each problem into output/NAME, until one is interrupted (collective).

    Args:
        share_network: whether each goes on with the network of the last one that did not fail.
        overwrite: whether results that are in the folders are replaced.
        time_limit: seconds for all of them.

    Raises:
        InputError: before any solve, but for what only the mesh of a later problem can tell.
    """
    comm = comm or MPI.COMM_WORLD
    raise_together(comm, _complaints(problems, share_network))
    shown = [output / problem.name for problem in problems]
    taken = on_root(comm, lambda: [text for folder in shown for text in run_folder.complaints(folder, overwrite)])
    raise_together(comm, taken)
    folders = on_root(comm, lambda: [folder.absolute() for folder in shown])  # own code may change the working folder
    results: list[Result] = []
    network, clock = None, Clock(time_limit)
    for problem, folder in zip(problems, folders, strict=True):
        result = solve(problem, folder, comm, network=network, overwrite=overwrite, time_limit=clock.left())
        results.append(result)
        if result.status.is_cut_short:
            break
        if share_network and result.status.exit_code == 0:
            network = result.network
    return results


def _complaints(problems: list[Problem], share_network: bool) -> list[str]:
    said = [f"{problem.name}: {text}" for problem in problems for text in complaints(problem)]
    counts = Counter(problem.name for problem in problems)
    said += [f"name: {n} problems are called {name}; each needs its own" for name, n in counts.items() if n > 1]
    if share_network and len(problems) < 2:
        said.append("--share-network: there is one problem file only; give several")
    elif share_network and not said:
        said = [f"--share-network, {text}" for text in sharing.complaints(problems)]
    return said
