"""A linear state equation on any mesh: assembled PETSc matrix, direct or multigrid-preconditioned CG."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from functools import cached_property, partial

import numpy as np

from morpho.errors import SolverError
from morpho.fem import dummy, forms
from morpho.fem.adjoint import Adjoints, Sensitivities, evaluate
from morpho.fem.blocks import CoarsePhysics
from morpho.fem.centre import Centre
from morpho.fem.ksp import LinearSolver, choose_preset, set_near_nullspace
from morpho.fem.law import Law, law_of
from morpho.fem.loads import AppliedForce, assemble_case, idle_cases
from morpho.fem.mass import Mass
from morpho.fem.material import Material, make_material
from morpho.fem.mechanisms import WEAK, Mechanism, Points, find_mechanisms, in_void, is_rigid_motion, judge, pins
from morpho.fem.reduced import best_combination
from morpho.fem.state import DOUBTED, LOOSE, State, check_sign
from morpho.fem.supports import boundary_conditions, held_component
from morpho.functionals.functional import VON_MISES, Functional
from morpho.interfaces import Array
from morpho.late import PETSc, fem, fem_petsc, la, ufl
from morpho.mesh import Mesh
from morpho.mesh.bodies import Bodies, Flags, Labels, find_bodies
from morpho.mesh.mesh import Indices
from morpho.mesh.select import ambiguous
from morpho.parallel import any_rank, global_dot
from morpho.problem.acting import LoadCase
from morpho.problem.check import regions
from morpho.problem.spec import Problem

NEVER, FEW = 1e-14, 2


class AssembledEquation:
    """K(rho) u_i = f_i, K = sum of E(rho_c) K_c over the cells, and springs or convection; see `law` for the physics.

    The compliance of a load case is J = 2 l(u) - a(u, u), that is minus twice the potential energy: the work of the
    loads where supports do not move, minus the stored energy where only supports move. It is self-adjoint either
    way, dJ = 2 dl(u) - da(u, u), and its error is quadratic in the error of u.

    Holds PETSc objects: use `close` (collective) or a with block.
    """

    def __init__(self, mesh: Mesh, problem: Problem) -> None:
        self.mesh, self.comm = mesh, mesh.comm
        degree = problem.solver.degree
        self.law: Law = law_of(problem, mesh.dim)
        self.components = self.law.components
        self.V = forms.state_space(mesh, degree, self.components)
        self.Q = forms.cell_space(mesh)
        self.material: Material = make_material(problem, iteration=1)
        self.cases = [case.name for case in problem.loads]
        self.n_dofs = int(self.V.dofmap.index_map.size_global * self.V.dofmap.index_map_bs)

        found = boundary_conditions(mesh, self.V, problem.supports)
        self.conditions, self.support_complaints, self.held, values = found
        self._held_components = ~np.isnan(values)
        self.notes = list(mesh.notes) + ambiguous(mesh, (region for _, region in regions(problem)))
        self.moving = any(support.moves for support in problem.supports)

        def assembled(case: LoadCase, place: str) -> tuple[Array, list[AppliedForce]]:
            return assemble_case(mesh, self.V, case, place)

        grounded = [assembled(case, "ground") for case in dummy.grounded(problem)]
        nothing = np.zeros(self.V.dofmap.index_map.size_local * self.components)
        self.springs = sum((vector for vector, _ in grounded), start=nothing)  #: and convection, of owned dofs
        self._sprung = bool(grounded)
        around = sum((c.ambient * v for c, (v, _) in zip(problem.convection, grounded, strict=False)), start=nothing)
        self.applied: list[AppliedForce] = []
        self.loads: list[Array] = []
        for i, case in enumerate(problem.loads):
            vector, applied = assembled(case, f"loads[{i}]")
            self.loads.append(vector + around if problem.convection else vector)
            self.applied += applied
        self.pairs = dummy.Pairs([problem.case_of(probe) for probe in problem.probes])
        self.weights = self.pairs.weights(np.array([case.weight for case in problem.loads]))
        seen = [assembled(probe.load(mesh.dim), "probe") for probe in problem.probes]
        self.dummies = [vector for vector, _ in seen]
        self.weight_density = [case.weight_density(self.components) for case in problem.loads]
        self.pinned = 0  #: components that keep loose parts without load in place
        if not self.support_complaints:
            self._hold_loose_parts()
        self.complaints = self.support_complaints + [a.complaint for a in self.applied if a.complaint]
        self.touched = dummy.touched(problem, [a for _, a in seen], [a for _, a in grounded])
        self.complaints += [t.complaint for t in self.touched if t.complaint]
        if not self.complaints:
            rigid = is_rigid_motion(mesh, self.V.tabulate_dof_coordinates()[: len(values)], values)
            self.complaints = dummy.still(problem, self._acting(self.dummies))
            self.complaints += idle_cases(problem, self._acting(self.loads), rigid)
        self.preset = choose_preset(problem.solver.preset, self.n_dofs, mesh.dim)
        self._problem, self._settings = problem, problem.solver
        self.solver: LinearSolver | None = None
        self._coarse: dict[int, CoarsePhysics] = {}
        self._adjoints: Adjoints | None = None
        self.void_matters = True  #: without meaning here: void is always solved for
        self.beside = ""  #: what solves take beside the usual: nothing
        self.mass, self.rtol = Mass(problem.material.density), problem.solver.rtol
        self._compile(degree)

    def _hold_loose_parts(self) -> None:
        """Complain of parts that loads would move, and pin those that none does (collective)."""
        bodies, found = self._mechanisms(None)
        self.support_complaints, notes = judge(self.mesh, bodies, found)
        self.notes += notes
        if self.support_complaints or not found:
            return
        nodes = self.V.dofmap.index_map
        numbers = nodes.local_to_global(np.arange(nodes.size_local, dtype=np.int32))
        x, of_node = self.V.tabulate_dof_coordinates()[: nodes.size_local], bodies.of_node[: nodes.size_local]
        chosen = np.concatenate([pins(self.comm, bodies, m, x, numbers, of_node) for m in found])
        self.pinned = len(chosen)
        for number, component in chosen:
            local = nodes.global_to_local(np.array([number]))
            dofs = local[local >= 0] * self.components + int(component)
            self.conditions.append(held_component(self.V, int(component), dofs, 0.0))

    def cut_off(self, void: Indices) -> list[str]:
        """Complaints about loads that only passive void cells carry, or lead to the supports (collective)."""
        solid = np.ones(self.mesh.n, dtype=bool)
        solid[void] = False
        if not any_rank(self.comm, len(void) > 0) or self._problem.material.E_min_ratio >= WEAK:
            return []
        bodies, found = self._mechanisms(solid)
        return in_void(self.mesh, bodies, found, self._forces(bodies))

    def sense(self, functionals: list[Functional]) -> None:
        """Evaluate functionals with every solve from now on (local)."""
        from morpho.fem.assembled_adjoints import AssembledAdjoints

        self._adjoints = AssembledAdjoints(self, functionals) if functionals else None

    def pieces(self, solid: Flags) -> int:
        """Number of bodies that solid cells (n,) make (collective)."""
        return self._bodies(solid).count

    def _mechanisms(self, included: Flags | None) -> tuple[Bodies, list[Mechanism]]:
        """Bodies that the included cells make, and the motions they are free to make (collective)."""
        nodes, x = self.V.dofmap.index_map, self.V.tabulate_dof_coordinates()
        bodies = self._bodies(included)
        held = self._held_components[: nodes.size_local]
        if self.components == 1:  # convection holds the temperature
            held = held | (self.springs > 0)[:, None]
        at = np.flatnonzero(held.any(axis=1))
        supports = Points(x[at], bodies.of_node[at], held[at].astype(float))
        weighs = any(density.any() for density in self.weight_density)
        found = find_mechanisms(self.comm, self.components, bodies, supports, self._forces(bodies), weighs)
        return bodies, found

    def _bodies(self, included: Flags | None) -> Bodies:
        cells: Labels = self.V.dofmap.list[: self.mesh.n].astype(np.int64)
        return find_bodies(self.mesh, cells, self.V.dofmap.index_map, self.V.tabulate_dof_coordinates(), included)

    def _forces(self, bodies: Bodies) -> list[Points]:
        """Nodes with a force on a component that is not held, for each load case and each dummy load (local)."""
        x, forces = self.V.tabulate_dof_coordinates(), []
        for load in (*self.loads, *self.dummies):
            nodal: Array = load.reshape(-1, self.components)
            nodal = np.where(self._held_components[: len(nodal)], 0.0, nodal)
            at = np.flatnonzero(nodal.any(axis=1))
            forces.append(Points(x[at], bodies.of_node[at], nodal[at]))
        return forces

    def _acting(self, loads: list[Array]) -> list[bool]:
        """Which load vectors act on a component that is not held (collective)."""
        free = fem.Function(self.V)
        free.x.array[:] = 1.0
        for condition in self.conditions:
            condition.set(free.x.array, None, 0.0)
        return [any_rank(self.comm, bool((load * free.x.array[: len(load)]).any())) for load in loads]

    def _compile(self, degree: int) -> None:
        dx = forms.cell_measure(self.mesh, degree)
        u, v, w = ufl.TrialFunction(self.V), ufl.TestFunction(self.V), ufl.TestFunction(self.Q)
        self.coefficient, self._rho = fem.Function(self.Q), fem.Function(self.Q)
        self.u = [fem.Function(self.V, name=name) for name in self.cases]
        self.lam = [fem.Function(self.V) for _ in self.dummies]  #: of the dummy loads
        self._u = fem.Function(self.V)
        self._g = fem.Constant(self.mesh.domain, np.zeros(self.components))
        self._a = fem.form(self.coefficient * self.law.integrand(u, v) * dx)
        self._energy = fem.form(self.law.integrand(self._u, self._u) * w * dx)
        self._weight = fem.form(self._rho * ufl.inner(self._g, v) * dx)
        self._weight_work = fem.form(ufl.inner(self._g, self._u) * w * dx)
        self._cell_dof = self.Q.dofmap.list[: self.mesh.n, 0]
        self.owned = self.V.dofmap.index_map.size_local * self.V.dofmap.index_map_bs

    def prepare(self) -> None:
        """Make the matrix and the linear solver; `solve` does it too (collective).

        Raises:
            InputError: PETSc does not know an option value.
        """
        if self.solver is None:
            self.solver = self._make_solver()

    def _make_solver(self) -> LinearSolver:
        self.A = fem_petsc.create_matrix(self._a)
        self.A.setOption(PETSc.Mat.Option.SPD, True)
        self.b = PETSc.Vec().createMPI((self.owned, None), comm=self.comm)
        x = self.V.tabulate_dof_coordinates()[: self.owned // self.components, : self.mesh.dim]
        set_near_nullspace(self.A, x, self.components)
        return LinearSolver(
            self.A,
            prefix=f"{self._problem.physics}_",
            preset=self.preset,
            rtol=self._settings.rtol,
            max_iterations=self._settings.max_iterations,
            extra=dict(self._settings.petsc_options),
        )

    def solve(self, rho: Array, rtol: float | None = None, at_most: int | None = None) -> State:
        """Solve every load case at a physical density, starting from the last displacements (collective).

        Args:
            rtol: relative residual, default solver.rtol.
            at_most: iterations after which a solve is good enough, whatever its residual.

        Raises:
            SolverError: a linear solve did not converge, or the result is not finite.
        """
        start = time.perf_counter()
        self._set_density(rho)
        iterations, converged = 0, True
        for i in range(len(self.cases)):
            taken, tight = self._solve_case(i, rtol, at_most)
            iterations, converged = iterations + taken, converged and tight
        for q in range(len(self.dummies)):
            taken, tight = self._solve_dummy(q, rtol, at_most)
            iterations, converged = iterations + taken, converged and tight
        found = None
        if self._adjoints is not None:
            found = evaluate(self._adjoints, rho, self.material.derivative(rho), rtol, at_most)
            iterations += found.linear_iterations
        return self._state(rho, iterations, start, converged, found)

    def reduced(self, rho: Array, bases: list[list[Array]]) -> tuple[State, float]:
        """The state in the span of sets of displacements, one per load case, and its relative residual (collective)."""
        start, worst = time.perf_counter(), 0.0
        self._set_density(rho)
        image = self.b.duplicate()

        def apply(v: Array) -> Array:
            vector = PETSc.Vec().createWithArray(v, comm=self.comm)
            self.A.mult(vector, image)
            vector.destroy()
            return np.array(image.array)

        for i, u in enumerate([*self.u, *self.lam]):
            moves = self.moving and i < len(self.u)
            rest = self._right_hand_side(i) if i < len(self.u) else self.free(self.dummies[i - len(self.u)])
            lift = np.ascontiguousarray(bases[-1][i][: self.owned])
            basis = [np.ascontiguousarray(basis[i][: self.owned]) for basis in bases]
            if moves:  # the last displacement carries the prescribed values, differences to it do not
                rest -= apply(lift)
                basis = [v - lift for v in basis[:-1]]
            found, residual = best_combination(basis, rest, apply, partial(global_dot, self.comm))
            u.x.array[: self.owned] = found + lift if moves else found
            u.x.scatter_forward()
            worst = max(worst, residual)
        image.destroy()
        return self._state(rho, 0, start, converged=False), worst

    def displacements(self) -> list[Array]:
        """Nodal state of every load case, dummy load and adjoint with ghosts, itself (local)."""
        return [u.x.array for u in self._fields()]

    def _fields(self) -> list[fem.Function]:
        return [*self.u, *self.lam, *(self._adjoints.fields() if self._adjoints else ())]

    @property
    def scale(self) -> Array:
        """(p,) of the pairs of load cases that stand for displacements, none before the first solve (local)."""
        return self.pairs.known

    def _set_density(self, rho: Array) -> None:
        """Assemble the matrix of a density (collective)."""
        self.prepare()
        self._set(self.coefficient, self.material.stiffness(rho))
        self._set(self._rho, rho)
        self.A.zeroEntries()
        fem_petsc.assemble_matrix(self.A, self._a, self.conditions)
        self.A.assemble()
        if self._sprung:
            diagonal = PETSc.Vec().createWithArray(self.free(self.springs), comm=self.comm)
            self.A.setDiagonal(diagonal, PETSc.InsertMode.ADD_VALUES)
            diagonal.destroy()

    def _state(
        self, rho: Array, iterations: int, start: float, converged: bool, found: Sensitivities | None = None
    ) -> State:
        """What follows from the displacements at a density (collective)."""
        shape = (len(self.weights), self.mesh.n)
        compliance, derivative, energy = np.zeros(shape[0]), np.zeros(shape), np.zeros(shape)
        stiffness, slope = self.stiffness, self.material.derivative(rho)
        for k, (u, i, load) in enumerate(self.loaded()):
            energy[k], weight_work = self.cell_work(i, u)
            held = float(self.springs @ u[: self.owned] ** 2) if self._sprung else 0.0
            work, stored = self.comm.allreduce(np.array([load @ u[: self.owned], stiffness @ energy[k] + held]))
            compliance[k] = 2 * work - stored
            derivative[k] = 2 * weight_work - slope * energy[k]
        if not np.isfinite(compliance).all():
            raise SolverError("the displacement is not finite; check the supports and the material")
        if converged and not self.moving and self._settings.rtol <= LOOSE:
            check_sign(compliance)
        return State(compliance, derivative, energy, iterations, time.perf_counter() - start, converged, found)

    def loaded(self) -> Iterator[tuple[Array, int, Array]]:
        """Displacement with ghosts, load case and owned load of all load cases: those of the problem, then the pairs
        that stand for displacements (collective)."""
        loads = [load + self.self_weight(i) for i, load in enumerate(self.loads)]
        for i, (u, load) in enumerate(zip(self.u, loads, strict=True)):
            yield u.x.array, i, load
        u, lam = ([own.x.array for own in fields] for fields in (self.u, self.lam))
        scale = self.pairs.fix(self._norm, u, lam)
        for i, own, s, unit in zip(self.pairs.cases, lam, scale, self.dummies, strict=True):
            for sign in dummy.SIGNS:
                yield u[i] + sign * s * own, i, loads[i] + sign * s * unit

    def _norm(self, u: Array) -> float:
        """2-norm of a displacement (collective)."""
        return math.sqrt(global_dot(self.comm, u[: self.owned], u[: self.owned]))

    def free(self, load: Array) -> Array:
        """A load vector without what acts on held components (local)."""
        b = fem.Function(self.V)
        b.x.array[: self.owned] = load
        for condition in self.conditions:
            condition.set(b.x.array, None, 0.0)
        return np.array(b.x.array[: self.owned])

    def _right_hand_side(self, i: int) -> Array:
        """Owned entries of the load of case i with what held dofs do to it; prescribed values there (collective)."""
        b = fem.Function(self.V)
        b.x.array[: self.owned] = self.loads[i] + self.self_weight(i)
        if self.moving:
            lifted = fem.Function(self.V)
            fem.apply_lifting(lifted.x.array, [self._a], [self.conditions])
            lifted.x.scatter_reverse(la.InsertMode.add)
            b.x.array[: self.owned] += lifted.x.array[: self.owned]
        for condition in self.conditions:
            condition.set(b.x.array)
        return np.array(b.x.array[: self.owned])

    def _solve_case(self, i: int, rtol: float | None, at_most: int | None) -> tuple[int, bool]:
        """Solve load case i into self.u[i]; iterations, and whether to the solver's tolerance (collective)."""
        self.b.array[:] = self._right_hand_side(i)
        for condition in self.conditions:
            condition.set(self.u[i].x.array)
        return self.solve_for(self.u[i], rtol, at_most, self.moving)

    def _solve_dummy(self, q: int, rtol: float | None, at_most: int | None) -> tuple[int, bool]:
        """Solve for dummy load q into self.lam[q], or take it from that of its case; as `_solve_case` (collective)."""
        i, lam = self.pairs.cases[q], self.lam[q]
        own = self.moving or self.weight_density[i].any()
        multiple = None if own else dummy.multiple(self.comm, self.dummies[q], self.loads[i])
        if multiple is not None:  # self-adjoint
            np.multiply(self.u[i].x.array, multiple, out=lam.x.array)
            return 0, True
        self.b.array[:] = self.free(self.dummies[q])
        return self.solve_for(lam, rtol, at_most, False)

    def solve_for(self, u: fem.Function, rtol: float | None, at_most: int | None, moving: bool) -> tuple[int, bool]:
        """Solve for the right-hand side in `b`; iterations, and whether to the solver's tolerance (collective)."""
        assert self.solver is not None
        x = PETSc.Vec().createWithArray(u.x.array[: self.owned], comm=self.comm)
        try:
            found = self.solver.solve(self.b, x, rtol, at_most)
            loose = (rtol or self._settings.rtol) > LOOSE and at_most is None
            if loose and self.solver.warm_start and not moving:
                found = self._settled(x, found)
        finally:
            x.destroy()
        u.x.scatter_forward()
        return found

    def _settled(self, x: PETSc.Vec, found: tuple[int, bool]) -> tuple[int, bool]:
        """Go on with a loose solve until a few more iterations add next to nothing to the compliance (collective)."""
        assert self.solver is not None
        image, (iterations, tight) = self.b.duplicate(), found
        value, before = self._value(x, image), -math.inf
        while abs(value - before) > DOUBTED * abs(value) and iterations < self._settings.max_iterations:
            taken, now_tight = self.solver.solve(self.b, x, rtol=NEVER, at_most=FEW)
            iterations, tight = iterations + taken, tight or now_tight
            value, before = self._value(x, image), value
        image.destroy()
        return iterations, tight

    def _value(self, x: PETSc.Vec, image: PETSc.Vec) -> float:
        """2 b.x - x.Kx (collective)."""
        self.A.mult(x, image)
        return float(2 * self.b.dot(x) - image.dot(x))

    @property
    def stiffness(self) -> Array:
        """(n,) coefficient of each cell in the last solve (local)."""
        return np.asarray(self.coefficient.x.array[self._cell_dof])

    def cell_work(self, i: int, u: Array) -> tuple[Array, Array]:
        """Per cell, for a displacement: integral of eps:C0:eps, and work of the weight density of case i (local)."""
        self._u.x.array[:] = u
        energy = fem.assemble_vector(self._energy).array[self._cell_dof]
        if not self.weight_density[i].any():
            return energy, np.zeros_like(energy)
        self._g.value[:] = self.weight_density[i]
        return energy, fem.assemble_vector(self._weight_work).array[self._cell_dof]

    def self_weight(self, i: int) -> Array:
        """Owned entries of the load of the weight density at the current rho (collective)."""
        if not self.weight_density[i].any():
            return np.zeros(self.owned)
        self._g.value[:] = self.weight_density[i]
        vector = fem.assemble_vector(self._weight)
        vector.scatter_reverse(la.InsertMode.add)
        return np.array(vector.array[: self.owned])

    def _set(self, function: fem.Function, values: Array) -> None:
        function.x.array[self._cell_dof] = values

    def coarse(self, block: int) -> CoarsePhysics:
        """The state equation on ancestors of the cells, block of them along an edge; always the same (collective)."""
        if block not in self._coarse:
            from morpho.fem.coarse import AssembledCoarse

            self._coarse[block] = AssembledCoarse(self, block)
        return self._coarse[block]

    def on_mesh(self, mesh: Mesh) -> AssembledEquation:
        """The same problem on another mesh, with the solver that suits its size (collective)."""
        solver = self._settings.model_copy(update={"preset": "auto", "petsc_options": {}})
        return AssembledEquation(mesh, self._problem.model_copy(update={"solver": solver}))

    def displacement(self, i: int) -> Array:
        """(n, nodes per cell * components) i-th of `displacements` at the nodes of the owned cells (local)."""
        nodal = self.displacements()[i].reshape(-1, self.components)
        nodes = self.V.dofmap.list[: self.mesh.n]
        return nodal[nodes].reshape(self.mesh.n, nodes.shape[1] * self.components)

    def set_displacement(self, i: int, values: Array) -> None:
        """Start the next solve for the i-th of `displacements` from what `displacement` gave (collective)."""
        for coarse in self._coarse.values():
            coarse.part()
        u = self._fields()[i]
        nodal = u.x.array.reshape(-1, self.components)
        nodes = self.V.dofmap.list[: self.mesh.n]
        nodal[nodes] = values.reshape(*nodes.shape, self.components)
        u.x.scatter_forward()

    def vertex_displacement(self, i: int) -> Array:
        """(points, components) state at the points of the mesh geometry (local)."""
        return self._at_points(self.u[i].x.array)

    vertex_rows, displacement_rows = vertex_displacement, displacement

    def vertex_modes(self) -> list[Array]:
        """(points, components) each of the lowest modes, where frequencies are sought or limited (collective)."""
        return [self._at_points(v) for v in (self._adjoints.vectors() if self._adjoints else ())]

    def _at_points(self, u: Array) -> Array:
        """(points, components) of a local vector (local)."""
        nodal = u.reshape(-1, self.components)
        corners = self.mesh.domain.geometry.dofmap
        at_points = np.zeros((len(self.mesh.domain.geometry.x), self.components))
        layout = self.V.dofmap.dof_layout
        vertex = [layout.entity_dofs(0, v)[0] for v in range(corners.shape[1])]
        at_points[corners] = nodal[self.V.dofmap.list[:, vertex]]
        return at_points

    @cached_property
    def centre(self) -> Centre:
        """Fields at the centres of the cells (first use is collective)."""
        return Centre(self.mesh, self.V, self.law)

    def von_mises(self, i: int) -> Array:
        """(n,) von Mises stress of the solid at the centre of each cell, for load case i (first use is collective)."""
        stress = self.material.E * self.centre.gradient(self.u[i].x.array) @ self.law.matrix().T
        return np.asarray(np.sqrt(np.einsum("nk,kl,nl->n", stress, VON_MISES, stress)))

    def close(self) -> None:
        """Free the PETSc objects (collective)."""
        for coarse in self._coarse.values():
            coarse.close()
        self._coarse.clear()
        if self.solver is not None:
            self.solver.close()
            self.A.destroy()
            self.b.destroy()
            self.solver = None

    def __enter__(self) -> AssembledEquation:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
