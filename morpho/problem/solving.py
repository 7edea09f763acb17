"""How a problem is solved and what is written: the update, the linear solver, the output, the start."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import Field, field_validator

from morpho.problem.base import Count, Number, Positive, Spec, Whole


class Stage(Spec):
    """What is in force up to an iteration; what a stage does not give stays as in the one before."""

    until: Count | None = Field(None, description="its last iteration; the last stage needs none")
    penalty: Positive | None = Field(None, description="of the interpolation, instead of material.penalty")
    beta: Positive | None = Field(None, description="sharpness, instead of design.projection.beta")
    radius: Positive | None = Field(None, description="of a cone filter, instead of design.filter.radius")
    move_limit: Number | None = Field(None, gt=0, le=1, description="instead of optimizer.move_limit")


class Level(Spec):
    """A coarser grid that the first iterations are done on."""

    coarser: Whole = Field(ge=2, le=64, description="cells of the grid are so many times as long")
    until: Count = Field(description="the last iteration on it; where these are all there are, half of them")


class OptimizerSpec(Spec):
    """Design update and stopping rule.

    The run stops once no design variable changed by more than `tolerance`. It also stops once the objective stayed
    within `objective_tolerance` (relative) over the last `window` iterations with all constraints met, or went up and
    down over two windows without getting anywhere. It never stops while a continuation is still under way.
    """

    kind: Literal["auto", "oc", "mma", "simpl"] = Field(
        "auto",
        description="auto: oc for compliance with one volume constraint and no self weight, else mma; simpl, mirror "
        "descent, for one volume constraint",
    )
    move_limit: Number | None = Field(
        None,
        gt=0,
        le=1,
        description="largest change of a design variable; default 0.2, with a projection 1.6/beta at most",
    )
    stages: tuple[Stage, ...] = Field((), description="continuation of everything, row by row")
    stage_tolerance: Positive | None = Field(
        None, description="a stage ends early once the objective changed by less, relative, over five designs"
    )
    levels: tuple[Level, ...] = Field(
        (), description="coarser grids for the first iterations, with a filter of at least 1.5 of their cells"
    )
    max_iterations: Whole = Field(200, ge=0, description="0: solve the start, and change nothing")
    tolerance: Number = Field(0.01, ge=0, description="largest change of a design variable")
    objective_tolerance: Number = Field(5e-4, ge=0)
    window: Whole = Field(10, ge=2)


class SolverSpec(Spec):
    """Linear solver of the state equation; options for PETSc take the prefix elasticity_ or heat_."""

    preset: Literal["auto", "direct", "multigrid", "hypre"] = Field(
        "auto", description="auto: direct below a size, then conjugate gradients with algebraic multigrid"
    )
    rtol: Number = Field(1e-8, gt=0, lt=1, description="relative residual of the iterative solve")
    max_iterations: Count = 2000
    stop: Literal["residual", "sensitivity"] = Field(
        "residual", description="sensitivity (voxel engine): also stop once the derivatives no longer change"
    )
    sensitivity_rtol: Number = Field(
        1e-3, gt=0, lt=1, description="relative change of the derivatives over four iterations"
    )
    degree: Literal[1, 2] = Field(1, description="polynomial degree of the displacement")
    petsc_options: dict[str, str | int | float | bool | None] = Field(
        {}, description="PETSc options of this solver; a leading - and the prefix may be left out"
    )

    @field_validator("petsc_options", mode="before")
    @classmethod
    def _without_prefix(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {re.sub("^-?(elasticity_|heat_)?", "", str(key)): v for key, v in value.items()}


class Output(Spec):
    """What is written to the run folder, and how often."""

    every: Count = Field(20, description="iterations between fields in design.pvd; the first 10 are all there")
    first: Whole = Field(10, ge=0, description="write every one of the first so many iterations")
    checkpoint_every: Count = Field(10, description="iterations between checkpoints")
    picture_every: Count | None = Field(None, description="iterations between pictures/, drawn while the run goes on")
    checkpoint_minutes: Positive = Field(10.0, description="and at the latest after so many minutes")


class Start(Spec):
    """The design that a run starts from, on any mesh or grid; scaled to the volume that is asked for."""

    run: str = Field(description="folder of another run, the path relative to the problem file")
