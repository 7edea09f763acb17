"""Where the gradient comes from: the fields of `gradient` in a problem file."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, model_validator

from morpho.problem.base import Count, Number, Positive, Spec, Whole

#: names of gradient sources: the built-in ones, then those that are registered
SOURCES = [
    *("exact", "inexact", "coarse", "secant", "rom", "onsg"),
    *("prosg", "dni", "bp_lambda", "guided_es", "sobolev", "koopman"),
]


def source_complaints(name: str, known: Sequence[str] = SOURCES) -> list[str]:
    """Why there is no gradient source of this name; empty if there is one (local)."""
    if name in known:
        return []
    close = difflib.get_close_matches(name, known, n=1)
    cure = f"did you mean {close[0]!r}?" if close else f"use one of {', '.join(known)}, or register your own"
    return [f"gradient.source: there is no source {name[:60]!r}; {cure}"]


class OnsgSpec(Spec):
    """The network of `source: onsg`."""

    form: Literal["pretrained", "anchored", "plain"] | None = Field(
        None,
        description="know differences from the last exact design from other problems (3-D), learn them in the run, or "
        "learn the energies themselves; default: pretrained in 3-D if nothing else is set here, else anchored",
    )
    architecture: Literal["mlp", "residual", "conv"] = Field(
        "mlp",
        description="one hidden layer, three with residual links, or convolutions in blocks of two (boxes only)",
    )
    hidden: Whole = Field(24, ge=1, le=512, description="neurons of a layer, or channels")
    samples: Whole = Field(1500, ge=16, description="cells per pair of exact designs")
    first_steps: Whole = Field(100, ge=1, description="training steps when the first pair is there")
    steps: Whole = Field(50, ge=1, description="training steps at every exact gradient after that")
    window: Whole = Field(4, ge=1, description="earlier exact designs that a new one is paired with")
    value_weight: Number = Field(
        0.0, ge=0, description="weight of the values beside their differences in the loss (Sobolev training)"
    )
    seed: Whole = Field(0, ge=0)

    def form_in(self, dim: int) -> Literal["pretrained", "anchored", "plain"]:
        """The form in force on a mesh of a dimension."""
        return self.form or ("pretrained" if dim == 3 and self == OnsgSpec() else "anchored")

    @model_validator(mode="after")
    def _pretrained_as_it_is(self) -> OnsgSpec:
        default = OnsgSpec.model_fields
        other = [name for name, value in self if name != "form" and value != default[name].default]
        if self.form == "pretrained" and other:
            raise ValueError(f"pretrained is as it is, and takes no {' and no '.join(other)}; use anchored")
        return self


class RomSpec(Spec):
    """The reduced basis of `source: rom`."""

    size: Whole = Field(6, ge=1, le=50, description="displacements in the basis")
    residual: Number = Field(0.1, gt=0, lt=1, description="relative residual up to which a reduced solution will do")


class SobolevSpec(Spec):
    """The energy network of `source: sobolev`."""

    loss: Literal["full", "stochastic", "value"] = Field(
        "full", description="match all derivatives, their projection onto a random direction, or none of them"
    )
    weight: Positive = Field(1.0, description="of the derivatives beside the value in the loss")
    hidden: Whole = Field(16, ge=1, le=512, description="neurons of each of the two hidden layers")
    samples: Whole = Field(500, ge=16, description="blocks per exact design")
    first_steps: Whole = Field(200, ge=1, description="training steps at the first exact gradient")
    steps: Whole = Field(50, ge=1, description="training steps at every exact gradient after that")
    window: Whole = Field(4, ge=1, description="exact designs whose samples are kept")
    seed: Whole = Field(0, ge=0)


class DniSpec(Spec):
    """The decoupled gradients of `source: dni`."""

    solver_ranks: Whole = Field(
        0, ge=0, description="MPI ranks that only solve exactly, for snapshots; 0: every rank does both, in turn"
    )
    latency: Whole = Field(
        3, ge=0, description="without solver ranks: iterations until a snapshot's gradient counts as arrived"
    )
    max_delay: Whole = Field(10, ge=1, description="iterations after which a gradient is too old and dropped")
    hidden: Whole = Field(24, ge=1, le=512, description="neurons of the synthesiser")
    samples: Whole = Field(1500, ge=16, description="cells per snapshot")
    steps: Whole = Field(50, ge=1, description="training steps at every arrival")
    seed: Whole = Field(0, ge=0)


class BpLambdaSpec(Spec):
    """The eligibility traces of `source: bp_lambda`."""

    trace: Number = Field(0.9, ge=0, le=1, description="lambda: 0 bootstraps, 1 waits for the next exact gradient")
    discount: Number = Field(1.0, gt=0, le=1, description="gamma")
    rate: Positive = Field(0.1, description="step size of the update of the weights")


class GuidedEsSpec(Spec):
    """The search of `source: guided_es`."""

    pairs: Whole = Field(4, ge=1, description="antithetic pairs per iteration; two values each")
    sigma: Positive = Field(0.1, description="root mean square of the change of a density in a pair")
    alpha: Annotated[Number, Field(ge=0, le=1)] | Literal["optimal"] = Field(
        0.1, description="share of the whole space in the search; the rest is the subspace; or optimal, by the theory"
    )
    beta: Positive | Literal["optimal"] = Field(1.0, description="scale of the gradient; or optimal, by the theory")
    subspace: Whole = Field(1, ge=1, le=50, description="surrogate gradients that span the subspace")
    groups: Whole = Field(1, ge=1, description="groups of ranks that the pairs are spread over")
    seed: Whole = Field(0, ge=0, lt=2**29, description="of the directions")


class KoopmanSpec(Spec):
    """The jumps of `source: koopman`."""

    of: Literal["designs", "gradients"] = Field(
        "designs", description="jump ahead in the design, or extrapolate the gradients between exact updates"
    )
    window: Whole = Field(4, ge=3, le=100, description="successive designs or gradients that the operator is fitted to")
    jump: Whole = Field(4, ge=1, le=1000, description="steps ahead of a jump in the design")
    patch: Whole = Field(0, ge=0, description="cells per operator; 0: one operator, of low rank, for all cells")
    rank: Whole = Field(2, ge=1, le=50, description="largest rank of an operator")
    start: Whole = Field(20, ge=1, description="first iteration of the first window of designs")
    fit: Number = Field(0.5, gt=0, description="largest relative error of the fit at the newest step of the window")


class ProsgSpec(Spec):
    """The temporary weights of `source: prosg`, on top of the network of `onsg`."""

    form: Literal["analytic", "learned"] = Field(
        "analytic", description="from the gradient of the loss at the newest exact design, or by a second network"
    )
    rank: Whole = Field(2, ge=1, le=16, description="of the change of a weight matrix")
    step: Positive = Field(0.1, description="length of the analytic change, relative to the weights; or halved")
    largest: Positive = Field(0.3, description="largest norm of a change, relative to the weights")


class GradientSpec(Spec):
    """Where the gradient comes from, and when the exact one is asked for.

    Sources other than `exact` are supervised: they get exact gradients in the first `warm_up` and the `last`
    iterations, and loose exact updates in between.
    """

    source: str = Field("exact", description="name of a registered gradient source")
    block: Literal[2, 4, 8] = Field(2, description="cells along the edge of a block of the two-scale sources")
    iterations: Count = Field(1, description="linear iterations per design of `source: inexact`")
    warm_up: Count | None = Field(
        None, description="exact updates at every one of the first iterations; default 3, inexact 10"
    )
    last: Whole | None = Field(
        None,
        ge=0,
        description="exact gradients at every one of the last iterations; default 1, 10 with a limit on compliance",
    )
    every: Count | None = Field(
        None, description="iterations between exact updates at most, from the start; default: 1, growing up to max_gap"
    )
    enough: Number = Field(
        0.2, ge=0, description="secant instead of a network while its own error is below this; 0: never"
    )
    max_gap: Count = Field(10, description="largest number of iterations between exact updates")
    correction_rtol: Number | None = Field(
        0.2,
        gt=0,
        lt=1,
        description="relative residual of exact updates; null: solver.rtol, as always with inexact",
    )
    move_limit: Number | None = Field(None, gt=0, le=1, description="of estimated steps; default: the optimizer's")
    rollback: Number = Field(0.2, gt=0, description="relative rise of the exact objective that is taken back")
    acceptance: Literal["usual", "descent"] = Field(
        "usual",
        description="descent: updates are tight, and steps that do not lower the exact objective are taken back "
        "with half the move limit",
    )
    onsg: OnsgSpec = OnsgSpec()
    rom: RomSpec = RomSpec()
    sobolev: SobolevSpec = SobolevSpec()
    dni: DniSpec = DniSpec()
    bp_lambda: BpLambdaSpec = BpLambdaSpec()
    guided_es: GuidedEsSpec = GuidedEsSpec()
    koopman: KoopmanSpec = KoopmanSpec()
    prosg: ProsgSpec = ProsgSpec()
