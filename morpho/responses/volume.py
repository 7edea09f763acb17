"""The volume fraction of the design."""

from __future__ import annotations

import numpy as np

from morpho.interfaces import Array, Gradient
from morpho.mesh import Mesh, VoxelMesh
from morpho.mesh.select import advice, cells_in
from morpho.parallel import global_sum
from morpho.problem.regions import Region
from morpho.responses.response import Value


class Volume:
    """Share of the mesh, or of a region, that is solid; every cell counts, passive ones included."""

    of_state = False

    def __init__(self, mesh: Mesh | VoxelMesh, region: Region | None = None, place: str = "objective") -> None:
        """Of the whole mesh or a region; `place` in the problem file is for complaints (collective)."""
        self.mesh, self.complaints = mesh, list[str]()
        self.name = "volume" if region is None else f"volume[{region}]"
        self.share: Array  #: (n,) derivative; one number, repeated without memory, where all cells are equal
        if region is None and isinstance(mesh, VoxelMesh):
            self.share = np.broadcast_to(np.float64(1 / mesh.n_global), mesh.n)
            return
        share = np.array(mesh.volumes)
        if region is not None:
            share[:] = 0
            cells = cells_in(mesh, region)
            share[cells] = mesh.volumes[cells]
        total = global_sum(mesh.comm, share)
        if total == 0:
            assert region is not None
            cure = advice(mesh, region, cells=True)
            self.complaints.append(f"{place}.region: no cell lies in {region}; {cure}")
        share /= max(total, 1e-300)
        self.share = share

    def at(self, rho: Array, gradient: Gradient) -> Value:
        return Value(self.of(rho), self.share)

    def of(self, rho: Array) -> float:
        """Its value (collective)."""
        return float(self.mesh.comm.allreduce(float(np.einsum("i,i", self.share, rho))))

    def floor(self, gradient: Gradient) -> float:
        return 0.0
