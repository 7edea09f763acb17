"""The design map of a problem on its mesh."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from morpho import noise
from morpho.design.chain import Chain
from morpho.design.cone import Averages, ConeFilter, Neighbourhood, SensitivityFilter
from morpho.design.helmholtz import HelmholtzFilter, length_parameter
from morpho.design.local_mean import LocalMean
from morpho.design.making import Making
from morpho.design.passive import PassiveCells
from morpho.design.projection import HeavisideProjection
from morpho.design.realisations import Realised
from morpho.design.tried import Tried
from morpho.design.voxel_cone import ProjectedCone, VoxelNeighbourhood
from morpho.fem.helmholtz import HelmholtzPde
from morpho.fem.voxel.helmholtz import VoxelHelmholtz
from morpho.fem.voxel.part_helmholtz import PartHelmholtz
from morpho.interfaces import Array, DesignMap, Pullback
from morpho.late import optimize
from morpho.machine import physical_memory
from morpho.mesh import Mesh, VoxelMesh
from morpho.mesh.mesh import Indices
from morpho.mesh.select import advice, cells_in
from morpho.parallel import global_dot, global_sum
from morpho.problem.base import value_at
from morpho.problem.spec import LocalVolumeConstraint, Problem, VolumeConstraint

WIDEST = 1e7  #: filter radius over the size of the mesh, and the other way round, beyond which it is a slip
PAIR = 40  #: bytes that a pair of neighbours takes while the weights are made

NONE: Indices = np.empty(0, dtype=np.int32)


def _pde(mesh: Mesh | VoxelMesh, length: float) -> VoxelHelmholtz | PartHelmholtz | HelmholtzPde:
    """The equation of the Helmholtz filter (collective)."""
    if isinstance(mesh, Mesh):
        return HelmholtzPde(mesh, length)
    return VoxelHelmholtz(mesh, length) if mesh.filled is None else PartHelmholtz(mesh, length)


class Design:
    """The chain from x to rho.

    1. Passive cells, so that the filter blends them in.
    2. Equal cells: symmetry, repetition, extrusion. They are linear and act on the design variable, which stays equal.
    3. The filter, and equal cells again: at the border of the mesh a filter sees less than inside of it.
    4. The projection. It acts cell by cell, so equal cells stay equal.
    5. Passive cells, then casting or overhang, which act on what will be made: sharp edges, no grey that the filter
       would bring back (Langelaar 2017; Gersborg & Andreasen 2011). Solid passive cells support, and are filled behind.
    6. Passive cells last, so that they are exact.

    Each step is monotone: the realisations of a robust design, which differ in step 4, stay in their order, and each
    can be made. `complaints` says what is wrong with regions and rules; do not use the design if there are any. Holds
    PETSc objects and communicators: use `close` (collective).
    """

    def __init__(self, mesh: Mesh | VoxelMesh, problem: Problem) -> None:
        self.mesh, self.problem = mesh, problem
        self.complaints: list[str] = []
        passive = problem.design.passive
        solid = self._cells("solid", len(passive.solid))
        void = self._cells("void", len(passive.void))
        self.passive = PassiveCells(solid, void)
        self.passive_volume = tuple(global_sum(mesh.comm, mesh.volumes[cells]) for cells in (solid, void))
        self.n_design = int(mesh.comm.allreduce(mesh.n - len(solid) - len(void)))
        designed, empty = np.ones(mesh.n, dtype=bool), np.zeros(mesh.n, dtype=bool)
        designed[solid], designed[void], empty[void] = False, False, True
        self.making = Making(mesh, problem.design, designed, empty)
        self._close: list[Callable[[], None]] = [self.making.close]
        self.complaints += self.making.complaints
        self._before: list[DesignMap] = [self.passive, *([self.making.equal] if self.making.equal else [])]
        self._shape: list[DesignMap] = [self.passive, self.making.shape] if self.making.shape else []
        self._check(solid, void)

        spec = problem.design.filter
        self._filters: dict[float, list[DesignMap]] = {}  #: by radius
        self._tried = Tried()
        self.sensitivity_filter: SensitivityFilter | None = None
        self.too_coarse = 0.0  #: share of the volume where the cells smooth more than the filter should
        for place, radius in problem.radii.items():
            self._is_usable(place, radius, spec.kind != "helmholtz", ", or filter.kind: helmholtz")
        if spec.radius is None or self.complaints:
            return
        if spec.kind == "helmholtz":
            length = length_parameter(spec.radius)
            pde = _pde(mesh, length)
            self._filters[spec.radius], self.too_coarse = [HelmholtzFilter(pde)], pde.too_coarse
            self._close.append(pde.close)
        elif spec.kind == "sensitivity":
            self.sensitivity_filter = SensitivityFilter(self._neighbourhood(spec.radius), mesh.volumes)
        else:
            for radius in set(problem.radii.values()):
                self._filters[radius] = [ConeFilter(self._neighbourhood(radius))]
        if self.making.again:
            for maps in self._filters.values():
                maps.append(self.making.again)

    def at(self, iteration: int) -> Chain:
        """The map in force at a design iteration (local)."""
        return Chain([*self._before, *self._projected(iteration), *self._shape, self.passive])

    def _projected(self, iteration: int) -> list[DesignMap]:
        """Filter and projection (local)."""
        filters, projection = self._filter(iteration), self._projection(iteration)
        if projection is None:
            return filters
        match filters:
            case [ConeFilter(neighbourhood=VoxelNeighbourhood() as around)]:
                return [ProjectedCone(around, projection)]
        return [*filters, projection]

    def realise(self, iteration: int, x: Array) -> Realised:
        """The physical densities of a design variable (n,) at a design iteration (collective)."""
        robust = self.problem.design.robust
        if robust is None:
            rho, pullback = self._tried.found(self._in_force(iteration), x) or self.at(iteration).apply(x)
            return Realised(rho, pullback, rho, pullback)
        self._tried.forget()
        assert self.problem.beta is not None
        beta = value_at(self.problem.beta, iteration)
        filtered, unfilter = Chain([*self._before, *self._filter(iteration)]).apply(x)

        def at(eta: float) -> tuple[Array, Pullback]:
            rho, pullback = Chain([HeavisideProjection(beta, eta), *self._shape, self.passive]).apply(filtered)
            return rho, lambda d: unfilter(pullback(d))

        return Realised(*at(0.5), *at(1 - robust.eta), at(robust.eta))

    def trial(self, iteration: int, x: Array) -> Array:
        """The physical density of a design variable (n,) that may be the next one (collective).

        It is kept for `realise`, and good until the next trial; nobody may change an x that has been tried.
        """
        self._tried.forget()
        return self._tried.keep(self._in_force(iteration), x, *self.at(iteration).apply(x))

    def forget_trial(self) -> None:
        """Let go of the density of the last trial: there is no next design (local)."""
        self._tried.forget()

    def _in_force(self, iteration: int) -> tuple[float, float]:
        """What tells the maps of two iterations apart (local)."""
        return value_at(self.problem.beta or 0.0, iteration), value_at(self.problem.radius or 0.0, iteration)

    def _projection(self, iteration: int) -> HeavisideProjection | None:
        spec, beta = self.problem.design.projection, self.problem.beta
        return None if spec is None or beta is None else HeavisideProjection(value_at(beta, iteration), spec.eta)

    def _filter(self, iteration: int) -> list[DesignMap]:
        return self._filters[value_at(self.problem.radius or 0.0, iteration)] if self._filters else []

    @property
    def is_curved(self) -> bool:
        """Whether the volume is far from linear in x (local)."""
        return self.problem.design.projection is not None or self.problem.design.is_shaped

    def initial(self) -> Array:
        """(n,) start in the cells that are designed, such that the whole has the volume asked for (collective).

        Uniform up to `design.perturbation`, which leaves the volume as it is on average; equal in equal cells.

        `design.initial` says the density itself; without it and without a volume constraint the start is 0.5.
        """
        fractions = [
            c.volume_fraction for c in self.problem.constraints if isinstance(c, VolumeConstraint) and c.region is None
        ]
        value = self.problem.design.initial
        if value is None and fractions:
            solid, void = self.passive_volume
            left = self.mesh.total_volume - solid - void
            value = min(1.0, max(0.01, (min(fractions) * self.mesh.total_volume - solid) / left))
            projection = self._projection(1)
            value = projection.inverse(value) if projection else value
            if self._shape:
                value = self._with_volume(min(fractions), value)
        if self.problem.design.initial is None:
            local = [c.max for c in self.problem.constraints if isinstance(c, LocalVolumeConstraint)]
            value = min([value or 0.5, *local])
        x = np.full(self.mesh.n, value or 0.5)
        if amplitude := self.problem.design.perturbation:
            x *= 1 + amplitude * (2 * noise.uniform(self.mesh.key, self.problem.design.seed) - 1)
        return Chain([*self._before, self.passive]).apply(np.minimum(x, 1.0))[0]

    def _with_volume(self, fraction: float, start: float) -> float:
        """The uniform x whose rho has a volume, near which a start is (collective)."""
        chain, comm, volumes = self.at(1), self.mesh.comm, self.mesh.volumes

        def miss(value: float) -> float:
            rho = chain.apply(np.full(self.mesh.n, value))[0]
            return global_dot(comm, volumes, rho) / self.mesh.total_volume - fraction

        low, high = 1e-6, 1.0
        if miss(low) >= 0 or miss(high) <= 0:
            return start
        return float(optimize.brentq(miss, low, high, xtol=1e-5))

    def local_mean(self, radius: float, place: str) -> DesignMap:
        """The mean of the density of designed cells in the ball around each of them; complains of a radius that cannot
        be (collective)."""
        if not self._is_usable(f"{place}.radius", radius):
            return Chain([])
        counted = np.ones(self.mesh.n)
        counted[self.passive.solid] = counted[self.passive.void] = 0.0
        return LocalMean(self._neighbourhood(radius, flat=True), counted)

    def _neighbourhood(self, radius: float, flat: bool = False) -> Averages:
        if isinstance(self.mesh, VoxelMesh):
            return VoxelNeighbourhood(self.mesh, radius, flat)
        return Neighbourhood(self.mesh.comm, self.mesh.centers, self.mesh.volumes, radius, flat)

    def smooth(self, x: Array, d: Array) -> Array:
        """The sensitivity filter on a compliance derivative, if there is one, equal in equal cells (collective)."""
        if self.sensitivity_filter is None:
            return d
        smooth, equal = self.sensitivity_filter.smooth(x, d), self.making.equal
        return smooth if equal is None else equal.apply(x)[1](smooth)

    def close(self) -> None:
        """Free the PETSc objects (collective)."""
        for close in self._close:
            close()
        self._close.clear()

    def __enter__(self) -> Design:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _cells(self, kind: str, count: int) -> Indices:
        found: list[Indices] = [NONE]
        for i in range(count):
            place = f"design.passive.{kind}[{i}]"
            region = getattr(self.problem.design.passive, kind)[i]
            cells = cells_in(self.mesh, region)
            if self.mesh.comm.allreduce(len(cells)) == 0:
                self.complaints.append(
                    f"{place}: no cell of the mesh has its centre in {region}; {advice(self.mesh, region, cells=True)}"
                )
            found.append(cells)
        return np.unique(np.concatenate(found)).astype(np.int32)

    def _is_usable(self, place: str, radius: float, weights: bool = True, cure: str = "") -> bool:
        """Whether a radius is no slip of units, and the weights of its pairs of cells fit into the memory, if it takes
        some; else complain (local)."""
        low, high = self.mesh.corners
        size = float(np.linalg.norm(high - low))
        if not WIDEST**-1 < radius / size < WIDEST:
            self.complaints.append(
                f"{place}: got {radius:g}, and the mesh is {size:.4g} across; it is a length; give some 1.5 to 10 cell "
                "sizes"
            )
            return False
        if not weights or isinstance(self.mesh, VoxelMesh):
            return True
        ball = {2: np.pi * radius**2, 3: 4 / 3 * np.pi * radius**3}[self.mesh.dim]
        pairs = self.mesh.n_global**2 * min(1.0, ball / self.mesh.total_volume)
        if pairs * PAIR > physical_memory():
            self.complaints.append(
                f"{place}: {radius:g} is {radius / self.mesh.cell_size:.3g} cells, and the weights of "
                f"{pairs:.2g} pairs of cells exceed the memory; use a smaller one{cure}"
            )
            return False
        return True

    def _check(self, solid: Indices, void: Indices) -> None:
        both = self.mesh.comm.allreduce(len(np.intersect1d(solid, void)))
        if both:
            self.complaints.append(f"design.passive: {both} cells are both solid and void; let the regions not overlap")
        if self.n_design == 0:
            self.complaints.append("design.passive: every cell is passive; leave something to design")
        for i, constraint in enumerate(self.problem.constraints):
            if isinstance(constraint, VolumeConstraint) and not self.complaints:
                self._check_reach(i, constraint, solid)

    def _check_reach(self, i: int, constraint: VolumeConstraint, solid: Indices) -> None:
        """Complain of a volume that the solid passive cells alone use up or exceed (collective)."""
        inside = np.ones(self.mesh.n, dtype=bool)
        if constraint.region is not None:
            inside[:] = False
            inside[cells_in(self.mesh, constraint.region)] = True
        fixed = np.zeros(self.mesh.n)
        fixed[solid] = 1.0
        filled = Chain([*self._shape, self.passive]).apply(fixed)[0]
        volumes = self.mesh.volumes * inside
        whole, taken = (global_sum(self.mesh.comm, part) for part in (volumes, volumes * filled))
        if taken > (1 - 1e-6) * constraint.volume_fraction * whole > 0:
            where = "" if constraint.region is None else " of its region"
            self.complaints.append(
                f"constraints[{i}].volume_fraction: got {constraint.volume_fraction:g}, but the solid passive regions "
                f"alone take {taken / whole:.4g}{where} and leave nothing to design with; raise it or make them smaller"
            )
