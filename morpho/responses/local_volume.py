"""The largest share of material around a cell."""

from __future__ import annotations

from collections.abc import Callable

from mpi4py import MPI

import numpy as np

from morpho.interfaces import Array, DesignMap, Gradient
from morpho.mesh import Mesh, VoxelMesh
from morpho.mesh.select import advice, cells_in
from morpho.parallel import global_dot, global_sum
from morpho.problem.spec import LocalVolumeConstraint
from morpho.responses.response import Value

P = 16.0  #: exponent of the mean (Wu et al. 2018)
FINE = 1.5  #: cell sizes below which a ball holds hardly more than its cell


class LocalVolume:
    """max_i m_i of the mean densities m in the balls around cells; its derivative is that of the p-mean, scaled to it.

    Wu, Aage, Westermann & Sigmund (2018), doi 10.1109/TVCG.2017.2655523, whose p-mean lies below the maximum: scaled
    like this the bound is that of every cell.
    """

    of_state = False

    def __init__(
        self,
        mesh: Mesh | VoxelMesh,
        given: LocalVolumeConstraint,
        local_mean: Callable[[float, str], DesignMap],
        place: str,
    ) -> None:
        """Of a mesh; `place` in the problem file is for complaints (collective).

        Args:
            local_mean: the map from densities to their means in balls of a radius, at a place for complaints.
        """
        self.comm, self.complaints, self._mean = mesh.comm, list[str](), local_mean(given.radius, place)
        where = "" if given.region is None else f"[{given.region}]"
        self.name = f"local_volume{where}"
        self._inside = np.ones(mesh.n)
        if given.region is not None:
            self._inside[:] = 0.0
            self._inside[cells_in(mesh, given.region)] = 1.0
            if global_sum(self.comm, self._inside) == 0:
                cure = advice(mesh, given.region, cells=True)
                self.complaints.append(f"{place}.region: no cell lies in {given.region}; {cure}")
        if given.radius < FINE * mesh.cell_size:
            self.complaints.append(
                f"{place}.radius: got {given.radius:g}, {given.radius / mesh.cell_size:.3g} cells; so small a ball "
                "holds hardly more than its cell; give 3 cells or more"
            )

    def at(self, rho: Array, gradient: Gradient) -> Value:
        means, pullback = self._mean.apply(rho)
        means *= self._inside
        top = float(self.comm.allreduce(float(means.max(initial=0.0)), MPI.MAX))
        if top <= 0:
            return Value(0.0, np.zeros_like(rho))
        share: Array = np.divide(means, top)
        slope: Array = np.power(share, P - 1)
        total = global_dot(self.comm, share, slope)
        slope *= self._inside / total
        return Value(top, pullback(slope))

    def floor(self, gradient: Gradient) -> float:
        return 0.0
