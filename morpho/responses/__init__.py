"""Objective and constraints of the optimization problem: what the optimizer sees of a design."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from morpho.functionals.registry import register
from morpho.interfaces import Array, DesignMap, Evaluation, Gradient, Pullback
from morpho.mesh import Mesh, VoxelMesh
from morpho.parallel import global_dot
from morpho.problem.acting import Seen
from morpho.problem.functional_spec import FunctionalSpec
from morpho.problem.spec import (
    AnyObjective,
    ComplianceConstraint,
    Constraint,
    LoadCase,
    LocalVolumeConstraint,
    Problem,
    VolumeConstraint,
)
from morpho.responses.compliance import Compliance
from morpho.responses.local_volume import LocalVolume
from morpho.responses.measure import NO_DENSITY, Measure
from morpho.responses.probed import Probed
from morpho.responses.response import Bound, Response
from morpho.responses.sensed import Sensed
from morpho.responses.volume import Volume
from morpho.responses.worst import Worst

__all__ = ["Responses", "register"]


class Responses:
    """Values and derivatives with respect to x; constraints are normalised by their limits."""

    def __init__(
        self, mesh: Mesh | VoxelMesh, problem: Problem, local_mean: Callable[[float, str], DesignMap] | None = None
    ) -> None:
        """Those of a problem on its mesh (collective).

        Args:
            local_mean: the map from densities to their means in balls of a radius, where a constraint needs it; its
                place is for complaints.
        """
        self.mesh = mesh
        self._problem, self._probes, self._local_mean = problem, problem.probes, local_mean
        self.objective = self._objective(problem.objective)
        self.bounds = [b for i, constraint in enumerate(problem.constraints) for b in self._bounds(i, constraint)]
        self.measure = Measure.of(self.objective, self.bounds) if problem.objective.kind != "black_box" else None
        everything = [self.objective, *(bound.response for bound in self.bounds)]
        self.complaints = [text for response in everything for text in response.complaints]

    def _objective(self, given: AnyObjective) -> Response:
        if isinstance(given, FunctionalSpec):
            return self._sensed(given, given.sign)
        if given.kind == "volume":
            return Volume(self.mesh)
        if given.over == "worst":
            return Worst()
        return self._compliance() if given.probe is None else self._probed(given.probe)

    def _bounds(self, i: int, given: Constraint) -> list[Bound]:
        place = f"constraints[{i}]"
        if isinstance(given, VolumeConstraint):
            return [Bound(Volume(self.mesh, given.region, place), given.volume_fraction, place)]
        if isinstance(given, LocalVolumeConstraint):
            assert self._local_mean is not None
            return [Bound(LocalVolume(self.mesh, given, self._local_mean, place), given.max, place)]
        if isinstance(given, ComplianceConstraint):
            return [Bound(self._compliance(given.case), given.max, place)]
        response = self._sensed(given) if isinstance(given, FunctionalSpec) else self._probed(given.probe)
        limits = ((given.max, 1.0), (given.min, -1.0))
        return [Bound(response, limit, place, sign) for limit, sign in limits if limit is not None]

    def _sensed(self, given: FunctionalSpec, sign: float = 1.0) -> Sensed:
        return Sensed(given.name, self._problem.functionals.index(given.unlimited), sign)

    def _probed(self, probe: Seen) -> Probed:
        return Probed(probe.name, [(self._probes.index(probe), 1.0)])

    def _compliance(self, case: str | None = None) -> Response:
        """Of a load case or all; where temperatures are held it is the work of the sources alone, which is not
        self-adjoint."""
        loads = self._problem.loads
        if not self._problem.warmed:
            return Compliance([load.name for load in loads], case)

        def number(load: LoadCase) -> int:
            return self._probes.index(self._problem.work_of(load))

        if case is None:
            return Probed("compliance", [(number(load), load.weight) for load in loads])
        return Probed(f"compliance[{case}]", [(number(load), 1.0) for load in loads if load.name == case])

    def volume_and_greyness(self, rho: Array) -> tuple[float, float]:
        """Share of the mesh that is solid, and the mean of 4 rho (1 - rho) (Sigmund 2007) (collective)."""
        volumes = self.mesh.volumes
        equal = volumes.strides == (0,)
        weighted = rho if equal else volumes * rho
        sums = np.array([np.sum(weighted), np.dot(weighted, rho)]) * (volumes[:1].sum() if equal else 1.0)
        volume, square = self.mesh.comm.allreduce(sums) / self.mesh.total_volume
        return float(volume), float(4 * (volume - square))

    def stiffness(self, rho: Array, gradient: Gradient) -> float:
        """The objective, or the compliance where that does not depend on the displacement (local)."""
        return self.objective.at(rho, gradient).value if self.objective.of_state else gradient.compliance

    def sensitivity(self, gradient: Gradient) -> Array:
        """(n,) derivative of `stiffness` with respect to rho (local)."""
        if self.objective.of_state:
            return self.objective.at(NO_DENSITY, gradient).d_rho
        return gradient.d_compliance

    def evaluate(
        self,
        rho: Array,
        gradient: Gradient,
        pullback: Pullback,
        smooth: Pullback,
        image: Callable[[Array], Array] | None = None,
        solved_pullback: Pullback | None = None,
        grown: tuple[Array, Pullback] | None = None,
    ) -> Evaluation:
        """Values and derivatives with respect to x (collective).

        Args:
            rho: (n,) physical density.
            gradient: of the load cases at rho.
            pullback: from d/d rho to d/d x.
            smooth: sensitivity filter, applied to derivatives that come from the displacement only.
            image: the physical density at another x, where it is not linear in x.
            solved_pullback: of the density that the state equation sees, where it is another one than rho.
            grown: the thicker design, whose derivative a volume takes, scaled to the volume of rho.
        """
        found = self.objective.at(rho, gradient)
        of_state = solved_pullback or pullback
        d_objective = smooth(of_state(found.d_rho)) if self.objective.of_state else pullback(found.d_rho)
        values, derivatives = [], []
        for bound in self.bounds:
            constraint = bound.response.at(rho, gradient)
            values.append(bound.value(constraint.value))
            slope = bound.derivative(constraint.d_rho)
            if bound.response.of_state:
                pulled = smooth(of_state(slope))
            elif grown is None:
                pulled = pullback(slope)
            else:
                larger = global_dot(self.mesh.comm, constraint.d_rho, grown[0])
                pulled = grown[1](slope) * (constraint.value / larger)
            derivatives.append(pulled)
            del slope, pulled
        stacked = derivatives[0][None] if len(derivatives) == 1 else np.array(derivatives)
        return Evaluation(found.value, d_objective, np.array(values), stacked, self._volume_at(image))

    def _volume_at(self, image: Callable[[Array], Array] | None) -> Callable[[Array], float] | None:
        """The constraint as a function of x, if a volume is the only one (local)."""
        volume = self.bounds[0].response
        if image is None or len(self.bounds) != 1 or not isinstance(volume, Volume):
            return None
        bound = self.bounds[0]
        return lambda x: bound.value(volume.of(image(x)))
