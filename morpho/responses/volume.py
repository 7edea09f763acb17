"""The volume fraction of the design."""

from __future__ import annotations

import numpy as np

from morpho.interfaces import Array, Gradient
from morpho.mesh import Mesh, VoxelMesh
from morpho.mesh.select import advice, cells_in
from morpho.parallel import global_dot, global_sum
from morpho.problem.regions import Region
from morpho.responses.response import Value


class Volume:
    """Share of the mesh, or of a region, that is solid; every cell counts, passive ones included."""

    of_state = False

    def __init__(self, mesh: Mesh | VoxelMesh, region: Region | None = None, place: str = "objective") -> None:
        """Of the whole mesh or a region; `place` in the problem file is for complaints (collective)."""
        self.mesh, self.complaints = mesh, list[str]()
        self.name = "volume" if region is None else f"volume[{region}]"
        inside = np.ones(mesh.n)
        if region is not None:
            inside[:] = 0
            inside[cells_in(mesh, region)] = 1
        share = mesh.volumes * inside
        total = global_sum(mesh.comm, share)
        if total == 0:
            assert region is not None
            cure = advice(mesh, region, cells=True)
            self.complaints.append(f"{place}.region: no cell lies in {region}; {cure}")
        self.share: Array = np.asarray(share / max(total, 1e-300))  #: (n,) derivative

    def at(self, rho: Array, gradient: Gradient) -> Value:
        return Value(global_dot(self.mesh.comm, self.share, rho), self.share)

    def floor(self, gradient: Gradient) -> float:
        return 0.0
