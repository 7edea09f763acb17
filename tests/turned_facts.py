"""A part in a turned box on any number of ranks: what should not depend on them."""

from pathlib import Path
from typing import Any

from mpi4py import MPI

import numpy as np
from helpers import main, plane

from morpho.parallel import global_dot
from morpho.parts import Parts
from morpho.problem.load import parse_problem


def given(path: Path) -> dict[str, Any]:
    """A bracket that is held at its foot and pulled at an end."""
    return {
        "mesh": {"voxelize": str(path), "spacing": 0.5},
        "supports": [{"region": plane("z", 9)}],
        "loads": [{"forces": [{"region": plane("x", 6), "total": [1, 2, -3]}]}],
        "constraints": [{"volume_fraction": 0.4}],
        "design": {"filter": {"radius": 1.2}},
        "solver": {"rtol": 1e-10},
    }


def facts(comm: MPI.Comm, path: str) -> dict[str, float]:
    with Parts(parse_problem(given(Path(path)), "bracket", Path(path).parent), comm) as parts:
        mesh, physics = parts.mesh, parts.physics
        rho, pull = parts.design.at(1).apply(0.3 + 0.4 * np.cos(0.7 * mesh.key) ** 2)
        state = physics.solve(rho)
        wave = np.sin(mesh.key)
        return {
            "turn": mesh.turn,
            "compliance": float(state.compliance[0]),
            "slope": float(global_dot(comm, pull(state.d_compliance[0]), wave)),
            "moved": float(global_dot(comm, physics.displacement(0) @ np.array([1.0, 2.0, 3.0]), wave)),
            "stress": float(global_dot(comm, physics.von_mises(0), wave)),
            "bodies": physics.pieces(rho > 0.5),
        }


if __name__ == "__main__":
    import sys

    main(facts, *sys.argv[1:])
