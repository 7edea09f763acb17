"""A linear state equation on a box of equal cells, matrix-free; the counterpart of `fem.assembled`."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack

import numpy as np

from morpho.errors import SolverError
from morpho.fem import dummy
from morpho.fem.adjoint import Adjoints, Sensitivities, evaluate
from morpho.fem.blocks import CoarsePhysics
from morpho.fem.law import Law, law_of
from morpho.fem.loads import AppliedForce, idle_cases
from morpho.fem.mass import Mass
from morpho.fem.material import Material, make_material
from morpho.fem.mechanisms import is_rigid_motion
from morpho.fem.reduced import best_combination
from morpho.fem.state import DOUBTED, LOOSE, State, check_sign
from morpho.fem.voxel.bearing import Bearing
from morpho.fem.voxel.bodies import find_bodies
from morpho.fem.voxel.centre import von_mises_modes
from morpho.fem.voxel.cg import TRUSTED, ConjugateGradients, Operator
from morpho.fem.voxel.coarsening import Floats, Mask
from morpho.fem.voxel.dilute import Helped
from morpho.fem.voxel.element import Element
from morpho.fem.voxel.halo import AXES, SharedPlanes
from morpho.fem.voxel.loads import NodalForces, acts, assemble_case, joined
from morpho.fem.voxel.multigrid import build
from morpho.fem.voxel.present import Present, pieces_of
from morpho.fem.voxel.rows import NodalRows
from morpho.fem.voxel.sensitivity import SensitivityWatch
from morpho.fem.voxel.supports import by_node, hold
from morpho.fem.voxel.turned import Turn
from morpho.fem.voxel.vectors import reset
from morpho.fem.voxel.void import VOID, is_idle
from morpho.fem.voxel.weight import add_weight, weight_work
from morpho.fem.voxel.work import Work
from morpho.functionals.functional import Functional
from morpho.interfaces import Array
from morpho.mesh.mesh import Indices
from morpho.mesh.voxels import VoxelMesh, portions
from morpho.pages import zeros
from morpho.parallel import any_rank
from morpho.problem.acting import LoadCase
from morpho.problem.spec import Problem

log = logging.getLogger("morpho")

NO_DOFS = np.zeros(0, np.int64)


class VoxelEquation:
    """K(rho) u_i = f_i whose coefficient is a function of one density per cell; see `assembled.AssembledEquation`.

    States are nodal arrays (z, y, component, x), displacements or temperatures; nodes between two ranks are on both.
    """

    def __init__(self, mesh: VoxelMesh, problem: Problem) -> None:
        self.mesh, self.comm = mesh, mesh.comm
        self.material: Material = make_material(problem, iteration=1)
        self.cases = [case.name for case in problem.loads]
        self.law: Law = law_of(problem, mesh.dim)
        self.components = self.law.components
        self.n_dofs = self.components * mesh.n_nodes_global
        self.preset = "voxel multigrid"
        self.box = mesh.laid  #: in which fields are worked on
        self.planes = SharedPlanes(mesh.comm, self.box.partition)
        self._settings, self._E_min_ratio = problem.solver, problem.material.E_min_ratio
        self.turn, planes = Turn(mesh, self.components), SharedPlanes(mesh.comm, mesh.partition)

        def assembled(case: LoadCase, place: str) -> tuple[NodalForces, list[AppliedForce]]:
            return assemble_case(mesh, planes, case, place, self.components)

        grounded = [assembled(case, "ground") for case in dummy.grounded(problem)]
        springs = [forces for forces, _ in grounded]  # and convection
        anchors = joined(springs)[0] if self.components == 1 else NO_DOFS
        supports, self.complaints, self.held, notes = hold(mesh, problem.supports, self.components, anchors)
        self.notes = [*mesh.notes, *notes]
        self.moving = any_rank(self.comm, bool(np.any(supports.values)))
        self.applied: list[AppliedForce] = []
        given: list[NodalForces] = []
        around = [
            NodalForces(forces.dofs, convection.ambient * forces.values)
            for convection, forces in zip(problem.convection, springs, strict=False)
        ]
        for i, case in enumerate(problem.loads):
            forces, applied = assembled(case, f"loads[{i}]")
            given.append(NodalForces(*joined([forces, *around])) if around else forces)
            self.applied += applied
        self.pairs = dummy.Pairs([problem.case_of(probe) for probe in problem.probes])
        self.weights = self.pairs.weights(np.array([case.weight for case in problem.loads]))
        seen = [assembled(probe.load(mesh.dim), "probe") for probe in problem.probes]
        units = [forces for forces, _ in seen]
        self.complaints += [a.complaint for a in self.applied if a.complaint]
        self.touched = dummy.touched(problem, [a for _, a in seen], [a for _, a in grounded])
        self.complaints += [t.complaint for t in self.touched if t.complaint]
        if not self.complaints:
            self.complaints = dummy.still(problem, [acts(mesh.comm, unit, supports) for unit in units])
            acting = [acts(mesh.comm, forces, supports) for forces in given]
            _, x, values = by_node(mesh, supports.dofs, supports.values, self.components)
            self.complaints += idle_cases(problem, acting, is_rigid_motion(mesh, x, values))
        densities = [case.weight_density(self.components) for case in problem.loads]
        held, weighs = (self.components, supports, anchors), any(density.any() for density in densities)
        acts_here = [forces.owned(planes, self.turn.shape) for forces in (*given, *units)]
        self._bearing = Bearing(mesh, *held, springs, acts_here, weighs)
        # From here on all is said of the box.
        nz, ny, nx = self.box.node_shape
        self.shape = nz, ny, self.components, nx
        self.weight_density = [density[np.argsort(self.turn.order)] for density in densities]
        self.supports = self.turn.held(supports)
        self.springs, self.forces, self.dummies = ([*map(self.turn.forces, own)] for own in (springs, given, units))
        self.owned_forces, self.owned_dummies = (
            [forces.owned(self.planes, self.shape) for forces in own] for own in (self.forces, self.dummies)
        )
        self._loaded_nodes = self.turn.nodes(self._bearing.loaded())
        self._multiples = [self._multiple(q) for q in range(len(self.dummies))]
        self._pieces = pieces_of(self.box)
        self.element = Element.of(self.law.element(self.box.spacing[: mesh.dim]), mesh.dim)
        self._cg: ConjugateGradients | None = None
        self._opened = ExitStack()
        self._solved: tuple[Array, Material]  #: the density of the last solve, and the material it was for
        self._coarse: dict[int, CoarsePhysics] = {}
        self._watch: SensitivityWatch | None = None
        self.void_matters = True  #: whether somebody wants to know the state or the energy in void
        self._needs_void = False  #: whether a solve without void has failed
        self._void = 0.0  #: moduli up to which the last solve left cells out
        self._adjoints: Adjoints | None = None
        self.mass, self.rtol = Mass(problem.material.density), problem.solver.rtol

    def cut_off(self, void: Indices) -> list[str]:
        """Complaints about loads that only passive void cells carry, or lead to the supports (collective)."""
        return self._bearing.cut_off(void, self._E_min_ratio)

    def sense(self, functionals: list[Functional]) -> None:
        """Evaluate functionals with every solve from now on (local)."""
        from morpho.fem.voxel.adjoints import VoxelAdjoints

        self._adjoints = VoxelAdjoints(self, functionals) if functionals else None

    def pieces(self, solid: Mask) -> int:
        """Number of bodies that solid cells (n,) make (collective)."""
        return find_bodies(self.mesh, self.mesh.grid(solid)).count

    def prepare(self) -> None:
        """Allocate the grids and the work arrays; `solve` does it too (collective)."""
        if self._cg is not None:
            return
        if not self.element.is_compiled:
            log.info("compiling the kernels of the voxel engine, as no earlier run has: about 20 s")
        sparse = self.mesh.filled is not None
        self.u: list[Array] = [zeros(self.shape, sparse=sparse) for _ in self.cases]
        self.lam: list[Array] = [zeros(self.shape, sparse=sparse) for _ in self.dummies]  #: of the dummy loads
        sprung, springs = joined([forces.owned(self.planes, self.shape) for forces in self.springs])
        # In the preconditioner convection counts: it may be all that holds the temperature.
        given: Array | None = None
        if self.components == 1 and self.springs:
            given = np.zeros(self.shape)
            given.reshape(-1)[sprung] = springs / self.material.E
        present = Present(self.planes, self.shape, sparse)
        work = Work(self.shape, self.box.shape, sparse)
        grid = build(self.element, self.planes, self.held_mask(), 0, self.box.cells, given, present, work)
        self._helped = Helped(grid, self.element, self.planes, self.held_mask, present)
        self._opened.callback(self._helped.close)
        operator = Operator(self.element, self.planes, self._moduli, self.supports.dofs, sprung, springs, present)
        settings, solid = self._settings, float(self.material.E)
        self._cg = ConjugateGradients(operator, self._helped, work, solid, settings.rtol, settings.max_iterations)
        if settings.stop == "sensitivity":
            self._watch = SensitivityWatch(operator, grid.E, settings.sensitivity_rtol)

    def solve(self, rho: Array, rtol: float | None = None, at_most: int | None = None) -> State:
        """Solve every load case at a physical density, starting from the last displacements (collective).

        Args:
            rtol: relative residual, default solver.rtol.
            at_most: iterations after which a solve is good enough, whatever its residual.

        Raises:
            SolverError: a linear solve did not converge, or the result is not finite.
        """
        start = time.perf_counter()
        try:
            self._set_up(rho)
            iterations, worst = self._solve_all(rho, rtol, at_most)
        except SolverError as failure:
            self.cg.rest()
            if not self._void:
                raise
            log.info("void is solved for, too, from here on, as without it %s", failure)
            self.void_matters = self._needs_void = True
            self._set_up(rho)
            for u in (*self.u, *self.lam):
                u[:] = 0
            iterations, worst = self._solve_all(rho, rtol, at_most)
        loose = (rtol is not None or at_most is not None) and worst > self._settings.rtol
        found = None
        if self._adjoints is not None:
            found = evaluate(self._adjoints, rho, self.material.derivative(rho), rtol, at_most)
            iterations += found.linear_iterations
        self.cg.rest()
        return self._state(rho, iterations, start, converged=not loose, found=found)

    @property
    def beside(self) -> str:
        """What solves take beside the usual, for history.csv: void, float64, factor, smoothing (local)."""
        taken = {"void": self._needs_void, "float64": self.cg.is_double} | self._helped.taken
        return " ".join(name for name, is_so in taken.items() if is_so)

    def _set_up(self, rho: Array) -> None:
        """Set the solver up for a density; without void where nobody looks and it makes no difference (collective)."""
        idle = is_idle(self.material, self._E_min_ratio) and not self._bearing.weighs and not self.moving
        least = self._E_min_ratio * float(self.material.E)
        for void in (VOID * least, 0.0) if idle and not self.void_matters and self._adjoints is None else (0.0,):
            cg = self._set_density(rho, void)
            self._fill(cg.preconditioner.E, float(self.material.E))
            cg.preconditioner.refresh()
            if not any_rank(self.comm, not cg.operator.present.covers(self._loaded_nodes)):
                break

    def _solve_all(self, rho: Array, rtol: float | None, at_most: int | None) -> tuple[int, float]:
        """Solve for every load case and dummy load; iterations and the worst relative residual (collective)."""
        solves = [self._solve_case(i, rho, rtol, at_most) for i in range(len(self.cases))]
        solves += [self._solve_dummy(q, rtol, at_most) for q in range(len(self.dummies))]
        self._helped.took(max(taken for taken, _ in solves))
        return sum(taken for taken, _ in solves), max(residual for _, residual in solves)

    def reduced(self, rho: Array, bases: list[list[Array]]) -> tuple[State, float]:
        """The state in the span of sets of displacements, one per load case, and its relative residual (collective)."""
        start = time.perf_counter()
        A, worst, load = self._set_density(rho).operator, 0.0, np.zeros(self.shape)
        held, E = self.supports.dofs, A.E
        A.present.update(E)

        def apply(v: Array) -> Array:
            y = np.zeros_like(v)
            A.add(y, v, E=E)
            return y

        for i, u in enumerate(self.displacements()):
            moves = self.moving and i < len(self.u)
            if i < len(self.u):
                self._set_load(i, rho, load)
            else:
                self.dummies[i - len(self.u)].put(load, A.runs)
            load.reshape(-1)[held] = 0
            lift, basis = bases[-1][i], [basis[i] for basis in bases]
            if moves:  # the last displacement carries the prescribed values, differences to it do not
                A.add(load, lift, -1.0, E)
                basis = [v - lift for v in basis[:-1]]
            u[:], residual = best_combination(basis, load, apply, A.dot)
            u += lift if moves else 0.0
            worst = max(worst, residual)
        return self._state(rho, 0, start, converged=False), worst

    @property
    def scale(self) -> Array:
        """(p,) of the pairs of load cases that stand for displacements, none before the first solve (local)."""
        return self.pairs.known

    def displacements(self) -> list[Array]:
        """Nodal state of every load case, every dummy load and every adjoint, itself (local)."""
        return [*self.u, *self.lam, *(self._adjoints.fields() if self._adjoints else ())]

    def _set_density(self, rho: Array, void: float = 0.0) -> ConjugateGradients:
        """Let the operator have the stiffness of a density; the solver (collective)."""
        self.prepare()
        assert self._cg is not None
        self._solved, self._void = (rho, self.material), void
        return self._cg

    def _fill(self, out: Array | Floats, unit: float) -> None:
        """Make a grid (z, y, x) hold the moduli of the last density, in a unit (local)."""
        self.box.fill(out, self._solved[0], lambda cells: self._stiffness(cells) / unit)

    def _stiffness(self, rho: Array) -> Array:
        """Moduli of cells at a density, zero in the void that is left out (local)."""
        E = self._solved[1].stiffness(rho)
        if self._void:
            E[self._void >= E] = 0
        return E

    def _moduli(self, out: Array | None) -> Array:
        """(z, y, x) moduli of the last density, zero where no cell exists (local)."""
        out = zeros(self.box.shape, sparse=self.box.filled is not None) if out is None else out
        self._fill(out, 1.0)
        return out

    def put_energy(self, out: Array, u: Array) -> None:
        """Make (n,) values u . K u of every cell at unit modulus (local)."""
        grid = out.reshape(self.box.shape) if self.box.filled is None else zeros(self.box.shape, sparse=True)
        self.element.kernels.strain_energy(grid, u, self.element.modes, self._pieces)
        if self.box.filled is not None:
            out[:] = self.box.listed(grid)

    def _state(
        self,
        rho: Array,
        iterations: int,
        start: float,
        converged: bool,
        found: Sensitivities | None = None,
    ) -> State:
        """What follows from the displacements at a density (collective)."""
        assert self._cg is not None
        shape = (len(self.weights), self.mesh.n)
        compliance, derivative, energy = np.zeros(shape[0]), np.empty(shape), np.empty(shape)
        for k, (u, i, work) in enumerate(self._loaded()):
            self.put_energy(energy[k], u)
            stored = self._cg.operator.spring_energy(u)
            for part in portions(self.mesh.n):
                stiffness = self._stiffness(rho[part])
                if self._void:
                    energy[k, part][stiffness == 0] = 0
                np.multiply(self.material.derivative(rho[part]), energy[k, part], out=derivative[k, part])
                np.negative(derivative[k, part], out=derivative[k, part])
                stored += float(stiffness @ energy[k, part])
            if self.weight_density[i].any():
                weight_work = self.weight_work(i, u)
                work += float(rho @ weight_work)
                derivative[k] += 2 * weight_work
            sums = self.comm.allreduce(np.array([work, stored]))
            compliance[k] = 2 * sums[0] - sums[1]
        if not np.isfinite(compliance).all():
            raise SolverError("the displacement is not finite; check the supports and the material")
        if converged and not self.moving and self._settings.rtol <= LOOSE:
            check_sign(compliance)
        seconds = time.perf_counter() - start
        return State(compliance, derivative, energy, iterations, seconds, converged, found)

    def _loaded(self) -> Iterator[tuple[Array, int, float]]:
        """Displacement, load case and work of the given forces on this rank of all load cases: those of the problem,
        then the pairs that stand for displacements (collective)."""
        for i, (u, forces) in enumerate(zip(self.u, self.owned_forces, strict=True)):
            yield u, i, forces.work(u)
        assert self._cg is not None
        scale = self.pairs.fix(self._cg.operator.norm, self.u, self.lam)
        for i, lam, s, unit in zip(self.pairs.cases, self.lam, scale, self.owned_dummies, strict=True):
            for sign in dummy.SIGNS:
                u = self.u[i] + sign * s * lam
                yield u, i, self.owned_forces[i].work(u) + sign * s * unit.work(u)

    def _solve_case(self, i: int, rho: Array, rtol: float | None, at_most: int | None) -> tuple[int, float]:
        """Solve load case i into self.u[i]; iterations and relative residual (collective)."""
        assert self._cg is not None
        cg, u = self._cg, self.u[i]
        watch = self._watch.begin(u) if self._watch and rtol is None and at_most is None else None
        given = None if self.moving or self.weight_density[i].any() else self.owned_forces[i]
        loosely = at_most is not None or (rtol or self._settings.rtol) >= TRUSTED
        cg.start(u, lambda out: self._set_load(i, rho, out), self.supports.values, given, loosely)
        if (rtol or self._settings.rtol) <= LOOSE or self.moving:
            return cg.solve(u, watch, rtol, at_most)
        return cg.solve(u, watch, rtol, at_most, lambda gain: gain > DOUBTED * abs(self._whole_work(i, rho)))

    def _solve_dummy(self, q: int, rtol: float | None, at_most: int | None) -> tuple[int, float]:
        """Solve for a dummy load into self.lam[q]; iterations and relative residual (collective)."""
        assert self._cg is not None
        cg, lam, multiple = self._cg, self.lam[q], self._multiples[q]
        if multiple is not None:  # self-adjoint
            np.multiply(self.u[self.pairs.cases[q]], multiple, out=lam)
            return 0, 0.0
        cg.start(lam, lambda out: self.dummies[q].put(out, cg.operator.runs), np.zeros(len(self.supports.dofs)))
        if (rtol or self._settings.rtol) <= LOOSE:
            return cg.solve(lam, None, rtol, at_most)

        def in_doubt(gain: float) -> bool:
            return gain > DOUBTED * abs(float(self.comm.allreduce(self.owned_dummies[q].work(lam))))

        return cg.solve(lam, None, rtol, at_most, in_doubt)

    def _multiple(self, q: int) -> float | None:
        """c where dummy load q is c times the load of its case, whatever the density (collective)."""
        i, loads = self.pairs.cases[q], []
        for forces in (self.owned_dummies[q], self.owned_forces[i]):
            loads.append(np.zeros(self.shape))
            loads[-1].reshape(-1)[forces.dofs] = forces.values
        found = dummy.multiple(self.comm, loads[0], loads[1])
        return None if self.moving or self.weight_density[i].any() else found

    def _whole_work(self, i: int, rho: Array) -> float:
        """Work of all forces of case i (collective)."""
        work = self.owned_forces[i].work(self.u[i])
        if self.weight_density[i].any():
            work += float(rho @ self.weight_work(i, self.u[i]))
        return float(self.comm.allreduce(work))

    def _set_load(self, i: int, rho: Array, load: Array) -> None:
        """Nodal forces of case i, self weight included (collective)."""
        self.forces[i].put(load, self.cg.operator.runs)
        if self.weight_density[i].any():
            add_weight(load, rho, self.weight_density[i], self.box, self.planes)

    def load(self, i: int, rho: Array) -> Array:
        """Nodal forces (z, y, component, x) of case i at a density, complete on shared nodes (collective)."""
        load = np.zeros(self.shape)
        self._set_load(i, rho, load)
        return load

    def weight_work(self, i: int, u: Array) -> Array:
        """(n,) work of the weight density of case i in each cell, for a displacement (local)."""
        return weight_work(u, self.weight_density[i], self.box)

    @property
    def cg(self) -> ConjugateGradients:
        """The solver, for the density of the last solve (collective at first use)."""
        self.prepare()
        assert self._cg is not None
        return self._cg

    def held_mask(self) -> Mask:
        """Which components of this rank's nodes are held (local)."""
        mask = np.zeros(self.shape, dtype=bool)
        mask.reshape(-1)[self.supports.dofs] = True
        return mask

    def coarse(self, block: int) -> CoarsePhysics:
        """The state equation on blocks of block^dim cells; the same object at every call (collective)."""
        if block not in self._coarse:
            self.prepare()
            from morpho.fem.voxel.coarse import VoxelCoarse

            self._coarse[block] = VoxelCoarse(self, block)
            self._opened.callback(self._coarse[block].close)
        return self._coarse[block]

    def displacement(self, i: int) -> Array:
        """(n, components) i-th of `displacements` at the lowest node of each owned cell (local).

        Enough to start the next solve from.
        """
        self.prepare()
        return self.turn.lowest(self.displacements()[i])

    def displacement_rows(self, i: int) -> Array | NodalRows:
        """What `displacement` gives, in a full box made when a slice of it is asked for (local)."""
        self.prepare()
        return NodalRows(self.displacements()[i], self.mesh.shape) if self.mesh.filled is None else self.displacement(i)

    def set_displacement(self, i: int, values: Array) -> None:
        """Start the next solve for the i-th of `displacements` from what `displacement` gave, nearly (collective)."""
        self.prepare()
        for coarse in self._coarse.values():
            coarse.part()
        u = self.displacements()[i]
        reset(u)
        self.turn.set_lowest(u, values)
        self.planes.sum(u)
        for axis in AXES:
            if axis not in self.planes.high and u.shape[axis] > 1:
                u.swapaxes(0, axis)[-1] = u.swapaxes(0, axis)[-2]

    def vertex_displacement(self, i: int) -> Array:
        """(nodes, components) state at this rank's nodes, x fastest (local)."""
        self.prepare()
        return self.vertex_rows(i)[:]

    def vertex_rows(self, i: int) -> NodalRows:
        """The same, made when a slice of it is asked for (local)."""
        self.prepare()
        return self._at_vertices(self.u[i])

    def vertex_modes(self) -> list[NodalRows]:
        """(nodes, components) each of the lowest modes, where frequencies are sought or limited (collective)."""
        vectors = self._adjoints.vectors() if self._adjoints else []
        return [self._at_vertices(v) for v in vectors]

    def _at_vertices(self, u: Array) -> NodalRows:
        """(nodes, components), x fastest, zero where no cell is (local)."""
        there, nodes = self.mesh.filled_nodes, self.cg.operator.present.nodes
        if self._void and nodes is not None:
            there = self.turn.seen(nodes)[:, :, 0]
        return NodalRows(self.turn.seen(u), self.mesh.node_shape, there, self.turn.order)

    def von_mises(self, i: int) -> Array:
        """(n,) von Mises stress of the solid at the centre of each cell, for load case i (local)."""
        self.prepare()
        squares = zeros(self.box.shape, sparse=self.box.filled is not None)
        modes = von_mises_modes(self.box.spacing[: self.mesh.dim], self.law)
        self.element.kernels.strain_energy(squares, self.u[i], modes, self._pieces)
        stress = self.box.listed(squares)
        np.maximum(stress, 0.0, out=stress)
        np.sqrt(stress, out=stress)
        stress *= self.material.E
        if self._void:
            stress[self._stiffness(self._solved[0]) == 0] = 0
        return stress

    def close(self) -> None:
        """Free the communicators of coarse grids (collective)."""
        self._opened.close()

    def __enter__(self) -> VoxelEquation:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
