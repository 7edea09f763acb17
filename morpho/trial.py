"""A trial before a run: how far the full body moves, and what a run takes."""

from __future__ import annotations

import itertools
import time

import numpy as np

from morpho.analysis import density_of
from morpho.interrupt import Interrupt
from morpho.loop import TIGHT, design_loop
from morpho.memory import gigabytes
from morpho.outcome import peak_memory
from morpho.parallel import global_max
from morpho.parts import Parts

LARGE = 0.05  #: displacement of the full body, relative to its size, above which it is hardly small
TRIED = 3  #: design iterations, of which the last says what one takes


def trial(parts: Parts) -> list[str]:
    """Solve the full body, do a few design iterations without keeping them, and say what they tell (collective)."""
    mesh, physics = parts.mesh, parts.physics
    parts.enter_iteration(1)
    start = time.perf_counter()
    physics.solve(density_of(parts, None), TIGHT)
    lines = [f"trial: the full body took {time.perf_counter() - start:.2f} s to solve"]
    low, high = mesh.corners
    size = float(np.linalg.norm(high - low))
    for i, name in enumerate(physics.cases):
        moved = global_max(parts.comm, np.linalg.norm(physics.vertex_displacement(i), axis=1))
        if physics.components == 1:
            lines.append(f"trial: load case {name}: highest temperature {moved:.4g}")
            continue
        lines.append(
            f"trial: load case {name}: largest displacement {moved:.4g}, {moved / size:.2%} of the part's size"
        )
        if moved > LARGE * size:
            lines.append(
                f"warning: load case {name} moves the full body by more than {LARGE:.0%} of its size, while "
                "displacements are taken as small; check the units of lengths, loads and material.E"
            )
    most = parts.problem.optimizer.max_iterations
    with Interrupt(parts.comm) as interrupt:
        steps = itertools.islice(design_loop(parts, parts.start(), interrupt), min(TRIED, max(1, most)))
        seconds = [step.seconds for step in steps]
    lines.append(
        f"trial: a design iteration takes about {seconds[-1]:.2g} s, {most} of them "
        f"{max(seconds[-1], seconds[-1] * most):.3g} s at most; output comes to it"
    )
    return [*lines, f"trial: memory so far {gigabytes(peak_memory(parts.comm))}"]
