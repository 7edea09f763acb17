"""Objective and constraints of the optimization problem from the physical density and its compliance."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from morpho.interfaces import Array, Evaluation, Gradient, Pullback
from morpho.mesh import Mesh, VoxelMesh
from morpho.mesh.select import advice, cells_in
from morpho.parallel import global_dot, global_sum
from morpho.problem.spec import ComplianceConstraint, Problem, VolumeConstraint


class Responses:
    """Values and derivatives that the optimizer sees; constraints are normalised by their bounds.

    A volume fraction counts every cell of the mesh (or of the constraint's region), passive ones included.
    """

    def __init__(self, mesh: Mesh | VoxelMesh, problem: Problem) -> None:
        self.mesh, self.problem = mesh, problem
        self.complaints: list[str] = []
        self.cases = [case.name for case in problem.loads]
        self._shares: list[Array | None] = []  # d volume fraction / d rho of each volume constraint
        #: d constraint / d x of each volume constraint, where it is the same at every design
        self._pulled: dict[int, Array] = {}
        for i, constraint in enumerate(problem.constraints):
            volume = isinstance(constraint, VolumeConstraint)
            self._shares.append(self._share(i, constraint) if volume else None)  # type: ignore[arg-type]

    def _share(self, i: int, constraint: VolumeConstraint) -> Array:
        inside = np.ones(self.mesh.n)
        if constraint.region is not None:
            inside[:] = 0
            inside[cells_in(self.mesh, constraint.region)] = 1
        share = self.mesh.volumes * inside
        total = global_sum(self.mesh.comm, share)
        if total == 0:
            assert constraint.region is not None
            cure = advice(self.mesh, constraint.region)
            self.complaints.append(f"constraints[{i}].region: no cell lies in {constraint.region}; {cure}")
        return np.asarray(share / max(total, 1e-300))

    def volume_fraction(self, rho: Array) -> float:
        """Share of the mesh that is solid (collective)."""
        return self.volume_and_greyness(rho)[0]

    def volume_and_greyness(self, rho: Array) -> tuple[float, float]:
        """Share of the mesh that is solid, and the mean of 4 rho (1 - rho) (Sigmund 2007) (collective)."""
        volumes = self.mesh.volumes
        sums = np.array([np.einsum("i,i", volumes, rho), np.einsum("i,i,i", volumes, rho, rho)])
        volume, square = self.mesh.comm.allreduce(sums) / self.mesh.total_volume
        return float(volume), float(4 * (volume - square))

    def evaluate(
        self,
        rho: Array,
        gradient: Gradient,
        pullback: Pullback,
        smooth: Pullback,
        linear: bool = False,
        image: Callable[[Array], Array] | None = None,
    ) -> Evaluation:
        """Values and derivatives with respect to x (collective).

        Args:
            rho: (n,) physical density.
            gradient: compliance at rho.
            pullback: from d/d rho to d/d x.
            smooth: sensitivity filter, applied to compliance derivatives only.
            linear: whether the pullback is the same at every design.
            image: the physical density at another x, where it is not linear in x.
        """
        if self.problem.objective.kind == "volume":
            objective = self.volume_fraction(rho)
            d_objective = pullback(np.asarray(self.mesh.volumes / self.mesh.total_volume))
        else:
            objective, d_objective = gradient.objective, smooth(pullback(gradient.d_objective))
        values, derivatives = [], []
        for i, (constraint, share) in enumerate(zip(self.problem.constraints, self._shares, strict=True)):
            if share is not None:
                assert isinstance(constraint, VolumeConstraint)
                values.append(global_dot(self.mesh.comm, share, rho) / constraint.volume_fraction - 1)
                pulled = self._pulled.get(i)
                if pulled is None:
                    pulled = pullback(np.asarray(share / constraint.volume_fraction))
                if linear:
                    self._pulled[i] = pulled
                derivatives.append(pulled)
            else:
                assert isinstance(constraint, ComplianceConstraint)
                value, derivative = self._compliance(constraint, gradient)
                values.append(value / constraint.max - 1)
                derivatives.append(smooth(pullback(np.asarray(derivative / constraint.max))))
        stacked = derivatives[0][None] if len(derivatives) == 1 else np.array(derivatives)
        return Evaluation(objective, d_objective, np.array(values), stacked, self._volume_at(image))

    def _volume_at(self, image: Callable[[Array], Array] | None) -> Callable[[Array], float] | None:
        """The constraint as a function of x, if a volume is the only one (local)."""
        if image is None or len(self._shares) != 1 or self._shares[0] is None:
            return None
        (constraint,), share = self.problem.constraints, self._shares[0]
        assert isinstance(constraint, VolumeConstraint)
        comm, limit = self.mesh.comm, constraint.volume_fraction
        return lambda x: global_dot(comm, share, image(x)) / limit - 1

    def _compliance(self, constraint: ComplianceConstraint, gradient: Gradient) -> tuple[float, Array]:
        if constraint.case is None:
            return gradient.objective, gradient.d_objective
        i = self.cases.index(constraint.case)
        return float(gradient.cases[i]), gradient.d_cases[i]
