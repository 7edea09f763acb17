"""Which PETSc options a problem file may set: those of the linear solver that neither run code nor touch files.

A problem file is data, often from someone else. PETSc options can load libraries and scripts and write files; the
command line, which is the user's own, takes all of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_NUMBERS = re.compile(rf"{_NUMBER}(?:,{_NUMBER})*")
_FLAG = re.compile(r"(?i)true|false|yes|no|on|off|0|1|")
#: names of methods: `ext+i`, `symmetric-SOR/Jacobi`, but no path
_WORD = re.compile(r"[A-Za-z0-9][\w+-]*(?:/[A-Za-z][\w+-]*)?")

#: solvers inside of solvers
_PREFIX = re.compile(
    r"^(?:mg_(?:levels|coarse|fine)_(?:\d+_)?|sub_|esteig_|redundant_|fieldsplit_\w+?_(?=ksp_|pc_|sub_|mat_))*"
)

_CHOICES = {
    "ksp_type": """
        cg groppcg pipecg pipecgrr cgne cgls fcg pipefcg gmres fgmres lgmres dgmres pgmres pipefgmres gcr pipegcr cr
        pipecr minres symmlq bcgs ibcgs fbcgs fbcgsr pipebcgs cgs tfqmr tcqmr bicg lsqr richardson chebyshev
        preonly none""",
    "pc_type": """
        none jacobi pbjacobi vpbjacobi bjacobi sor eisenstat ilu icc lu cholesky qr svd asm gasm gamg hypre ml mg
        redundant fieldsplit kaczmarz""",
    "pc_factor_mat_solver_type": """
        petsc mumps superlu superlu_dist umfpack cholmod klu strumpack pastix mkl_pardiso mkl_cpardiso""",
    "pc_hypre_type": "boomeramg parasails pilut",
    "ksp_norm_type": "preconditioned unpreconditioned natural default",
    "ksp_pc_side": "left right symmetric",
}
#: with a value these would write to a file
_WITHOUT_VALUE = """
    ksp_monitor ksp_monitor_true_residual ksp_monitor_singular_value ksp_converged_reason ksp_converged_rate"""
_FLAGS = """
    ksp_initial_guess_nonzero ksp_reuse_preconditioner ksp_diagonal_scale ksp_diagonal_scale_fix ksp_lag_norm
    ksp_error_if_not_converged ksp_cg_single_reduction ksp_gmres_modifiedgramschmidt ksp_gmres_preallocate
    ksp_richardson_self_scale ksp_chebyshev_esteig_noisy ksp_chebyshev_esteig_random
    ksp_converged_use_initial_residual_norm pc_factor_reuse_fill pc_factor_reuse_ordering pc_factor_diagonal_fill
    pc_factor_pivot_in_blocks pc_sor_symmetric pc_sor_local_symmetric pc_sor_forward pc_sor_local_forward
    pc_sor_backward pc_sor_local_backward pc_use_amat pc_jacobi_abs pc_jacobi_rowl1_scale pc_jacobi_fixdiagonal"""
_SIZES = """
    ksp_rtol ksp_divtol ksp_max_it ksp_min_it ksp_check_norm_iteration ksp_gmres_restart
    ksp_gmres_breakdown_tolerance ksp_lgmres_augment ksp_gcr_restart ksp_fcg_mmax ksp_richardson_scale
    ksp_chebyshev_eigenvalues ksp_chebyshev_esteig ksp_chebyshev_esteig_steps pc_factor_levels pc_factor_fill
    pc_factor_zeropivot pc_factor_shift_amount pc_sor_omega pc_sor_its pc_sor_lits pc_sor_diagonal_shift
    pc_bjacobi_blocks pc_bjacobi_local_blocks pc_asm_overlap pc_asm_blocks pc_asm_local_blocks pc_gasm_overlap
    pc_gasm_total_subdomains pc_redundant_number pc_eisenstat_omega
    pc_fieldsplit_block_size"""
_METHODS = """
    ksp_gmres_cgs_refinement_type ksp_cg_type ksp_fcg_truncation_type ksp_chebyshev_kind pc_factor_mat_ordering_type
    pc_factor_shift_type pc_jacobi_type pc_asm_type pc_asm_local_type pc_gasm_type pc_fieldsplit_type
    pc_fieldsplit_schur_fact_type pc_fieldsplit_schur_precondition"""

#: what takes memory, or leaves the equation unsolved, and the most that a file may ask for
_MOST = {
    "ksp_rtol": 0.1,
    "ksp_gmres_restart": 1000,
    "ksp_lgmres_augment": 100,
    "ksp_gcr_restart": 1000,
    "ksp_fcg_mmax": 1000,
    "pc_factor_levels": 20,
    "pc_factor_fill": 100,
    "pc_asm_overlap": 10,
    "pc_gasm_overlap": 10,
}

#: name -> its values: a set of words, or a pattern
_OPTIONS: dict[str, set[str] | re.Pattern[str]] = (
    {name: set(words.split()) for name, words in _CHOICES.items()}
    | {name: {""} for name in _WITHOUT_VALUE.split()}
    | dict.fromkeys(_FLAGS.split(), _FLAG)
    | dict.fromkeys(_SIZES.split(), _NUMBERS)
    | dict.fromkeys(_METHODS.split(), _WORD)
)

#: whole families, whose values are numbers, flags or names of methods
_FAMILIES = re.compile(
    r"pc_gamg_\w+|pc_mg_\w+|pc_hypre_(?:boomeramg|parasails|pilut)_\w+|pc_ml_\w+|pc_fieldsplit_\d+_fields"
    r"|mat_superlu_dist_\w+|mat_mumps_cntl_\d+|mat_mumps_icntl_(?!(?:1|2|3|22)$)\d+"
)
#: what in such a family prints or stores
_NEVER = re.compile(r"view|monitor|print|dump|write|save|load|read|file|dir|path|debug|log|python|shell|matlab|draw")


def complaints(options: Mapping[str, Any]) -> list[str]:
    """What a problem file may not set, and what to do instead (local)."""
    return [text for name, value in options.items() if (text := _complaint(name, value))]


def _complaint(name: str, value: Any) -> str | None:
    base = re.sub(_PREFIX, "", name, count=1) if len(name) <= 200 else ""
    text = "" if value is None else str(value)
    place, given = f"solver.petsc_options.{name[:60]}", f"got {text[:60]!r}"
    instead = f"the command line takes it, -elasticity_{name[:60]} ..."
    allowed = _OPTIONS.get(base)
    if allowed is None and (not _FAMILIES.fullmatch(base) or _NEVER.search(base)):
        return f"{place}: a problem file may not set this PETSc option (unknown, or able to touch files); {instead}"
    if isinstance(allowed, set):
        wanted = f"one of {', '.join(sorted(allowed))}" if allowed != {""} else "no value"
        return None if text in allowed else f"{place}: {given}; a problem file may give {wanted}; {instead}"
    forms = [allowed] if allowed else [_NUMBERS, _FLAG, _WORD]
    if len(text) <= 100 and any(form.fullmatch(text) for form in forms):
        if base in _MOST and not 0 <= float(text.split(",")[0]) <= _MOST[base]:
            return f"{place}: {given}; a problem file may give at most {_MOST[base]}; {instead}"
        return None
    return f"{place}: {given}, which is no number or name that fits this option; {instead}"
