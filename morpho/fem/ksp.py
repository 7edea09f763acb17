"""Linear solvers: PETSc options per preset, under fixed prefixes that the command line can reach."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from morpho.errors import InputError, SolverError
from morpho.interfaces import Array
from morpho.late import PETSc

Options = dict[str, str | int | float | bool | None]

PRESETS: dict[str, Options] = {
    "direct": {
        "ksp_type": "preonly",
        "pc_type": "cholesky",
        "pc_factor_mat_solver_type": "mumps",
        "mat_mumps_icntl_14": 80,
    },
    # Smoothed aggregation on the rigid body modes.
    "multigrid": {
        "ksp_type": "cg",
        "ksp_norm_type": "unpreconditioned",
        "pc_type": "gamg",
        "pc_gamg_agg_nsmooths": 1,
        "pc_gamg_threshold": 0.002,
        "pc_gamg_coarse_eq_limit": 1000,
        "mg_levels_ksp_type": "chebyshev",
        "mg_levels_ksp_max_it": 2,
        "mg_levels_esteig_ksp_max_it": 20,
        "mg_levels_pc_type": "sor",
    },
    "hypre": {
        "ksp_type": "cg",
        "ksp_norm_type": "unpreconditioned",
        "pc_type": "hypre",
        "pc_hypre_boomeramg_nodal_coarsen": 4,
        "pc_hypre_boomeramg_vec_interp_variant": 2,
        "pc_hypre_boomeramg_strong_threshold": 0.5,
    },
    "jacobi": {"ksp_type": "cg", "ksp_norm_type": "unpreconditioned", "pc_type": "jacobi"},
}

LOOSEST = 0.5  #: residual that no solve may leave, relative to the load
OTHER_NORM = 1e3  #: by which the residual may exceed the tolerance where a solver measures it in another norm
DIRECT_RTOL = 1e-4  #: residual of a direct solve, relative to the load, up to which rounding explains it
SLOW = "raise solver.max_iterations or material.E_min_ratio, or choose solver.preset: direct"
INDEFINITE = (
    "the stiffness is singular to rounding: look for parts that are hardly held or hardly joined; "
    "if there are none, raise material.E_min_ratio"
)

#: Largest number of unknowns at which a direct solver is chosen, by dimension.
DIRECT_LIMIT = {2: 250_000, 3: 30_000}


def choose_preset(preset: str, n_dofs: int, dim: int) -> str:
    """Resolve `auto`."""
    if preset != "auto":
        return preset
    return "direct" if n_dofs <= DIRECT_LIMIT[dim] else "multigrid"


def set_near_nullspace(A: PETSc.Mat, x: Array, components: int) -> None:
    """Tell multigrid how a free body moves: rigidly, or by a constant (collective).

    Args:
        x: (nodes, dim) owned nodes.
        components: of the state at a node.
    """
    if components == 1:
        free = PETSc.NullSpace().create(constant=True, comm=A.comm)
    else:
        coordinates = PETSc.Vec().createWithArray(np.ascontiguousarray(x).ravel(), bsize=components, comm=A.comm)
        free = PETSc.NullSpace().createRigidBody(coordinates)
        coordinates.destroy()
    A.setNearNullSpace(free)
    free.destroy()


class LinearSolver:
    """A KSP with fixed options; `close` frees it (collective, never left to the garbage collector)."""

    def __init__(
        self,
        A: PETSc.Mat,
        *,
        prefix: str,
        preset: str,
        rtol: float,
        max_iterations: int,
        extra: Options | None = None,
    ) -> None:
        self.ksp = PETSc.KSP().create(A.comm)
        self.ksp.setOperators(A)
        self.ksp.setOptionsPrefix(prefix)
        # The displacement of another design may be a start of any residual: that is no divergence.
        self.ksp.setTolerances(rtol=rtol, atol=0.0, divtol=1e30, max_it=max_iterations)
        self._has_extra = bool(extra)
        self._options = {prefix + key: value for key, value in (PRESETS[preset] | (extra or {})).items()}
        try:
            with self._options_in_force():
                self.ksp.setFromOptions()
                self.ksp.getPC().setFromOptions()
        except PETSc.Error:
            self.ksp.destroy()
            raise InputError(
                f"solver.petsc_options: PETSc refuses an option of the {prefix} solver, from the file ({extra or {}}) "
                f"or the command line; its manual lists what -{prefix}ksp_type, -{prefix}pc_type, ... take"
            ) from None
        self.warm_start = self.ksp.getType() != "preonly"
        self.ksp.setInitialGuessNonzero(self.warm_start)

    @contextmanager
    def _options_in_force(self) -> Iterator[None]:
        """Lend PETSc our options, which it reads whenever it sets up; what a user gave on the command line wins."""
        options = PETSc.Options()
        lent = {key: value for key, value in self._options.items() if not options.hasName(key)}
        for key, value in lent.items():
            options[key] = value
        try:
            yield
        finally:
            for key in lent:
                options.delValue(key)

    def solve(
        self, b: PETSc.Vec, x: PETSc.Vec, rtol: float | None = None, at_most: int | None = None
    ) -> tuple[int, bool]:
        """Solve, starting from x; the iterations, and whether the solver's own tolerance was reached (collective).

        Args:
            rtol: relative residual that will do this time.
            at_most: iterations that will do this time, whatever the residual.

        Raises:
            SolverError: not converged, or PETSc cannot do what the options ask for.
        """
        tolerances = self.ksp.getTolerances()
        if self.warm_start:
            loosest = tolerances[0] if rtol is None else rtol
            most = tolerances[3] if at_most is None else min(at_most, tolerances[3])
            self.ksp.setTolerances(rtol=loosest, max_it=most)
        try:
            with self._options_in_force():
                self.ksp.solve(b, x)
        except PETSc.Error as error:
            raise SolverError(f"PETSc gave up in the linear solver: {error}; check solver.petsc_options") from None
        finally:
            self.ksp.setTolerances(*tolerances)
        reason = self.ksp.getConvergedReason()
        iterations = int(self.ksp.getIterationNumber())
        enough = at_most is not None and reason == PETSc.KSP.ConvergedReason.DIVERGED_MAX_IT
        if reason <= 0 and not enough:
            name = next((k for k, v in vars(PETSc.KSP.ConvergedReason).items() if v == reason), str(reason))
            slow = reason in (PETSc.KSP.ConvergedReason.DIVERGED_MAX_IT, PETSc.KSP.ConvergedReason.DIVERGED_DTOL)
            raise SolverError(
                f"the linear solver stopped after {iterations} iterations ({name}); {SLOW if slow else INDEFINITE}"
            )
        asked_for_less = rtol is not None or at_most is not None
        if not self.warm_start:
            self._check_residual(b, x, DIRECT_RTOL)
            return 1, True
        if not asked_for_less:
            self._check_residual(b, x, max(DIRECT_RTOL, min(LOOSEST, OTHER_NORM * tolerances[0])))
        return iterations, not asked_for_less or self.ksp.getResidualNorm() <= tolerances[0] * b.norm()

    def _check_residual(self, b: PETSc.Vec, x: PETSc.Vec, rtol: float) -> None:
        """See that a solve has solved, whatever norm its options measure (collective).

        Raises:
            SolverError: it has not; a singular matrix, or options that end it early, go unnoticed otherwise.
        """
        rest = b.duplicate()
        self.ksp.getOperators()[0].mult(x, rest)
        rest.aypx(-1.0, b)
        residual, norm = rest.norm(), b.norm()
        rest.destroy()
        if not residual <= rtol * norm:
            cause = "look at solver.petsc_options" if self._has_extra else INDEFINITE
            raise SolverError(
                f"the linear solver left a residual of {residual / max(norm, 1e-300):.2g} of the load; {cause}"
            )

    def close(self) -> None:
        """Free the solver (collective)."""
        self.ksp.destroy()
