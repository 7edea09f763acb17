"""Where the gradient comes from: the fields of `gradient` in a problem file."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from morpho.problem.base import Positive, Spec


class OnsgSpec(Spec):
    """The network of `source: onsg`."""

    form: Literal["anchored", "plain"] = Field(
        "anchored", description="learn differences from the last exact design, or the energies themselves"
    )
    architecture: Literal["mlp", "residual", "conv"] = Field(
        "mlp",
        description="one hidden layer, three with residual links, or convolutions in blocks of two (boxes only)",
    )
    hidden: int = Field(24, ge=1, le=512, description="neurons of a layer, or channels")
    samples: int = Field(1500, ge=16, description="cells per pair of exact designs")
    first_steps: int = Field(100, ge=1, description="training steps when the first pair is there")
    steps: int = Field(50, ge=1, description="training steps at every exact gradient after that")
    window: int = Field(4, ge=1, description="earlier exact designs that a new one is paired with")
    value_weight: float = Field(
        0.0, ge=0, description="weight of the values beside their differences in the loss (Sobolev training)"
    )
    seed: int = Field(0, ge=0)


class RomSpec(Spec):
    """The reduced basis of `source: rom`."""

    size: int = Field(6, ge=1, le=50, description="displacements in the basis")
    residual: float = Field(0.1, gt=0, lt=1, description="relative residual up to which a reduced solution will do")


class SobolevSpec(Spec):
    """The energy network of `source: sobolev`."""

    loss: Literal["full", "stochastic", "value"] = Field(
        "full", description="match all derivatives, their projection onto a random direction, or none of them"
    )
    weight: Positive = Field(1.0, description="of the derivatives beside the value in the loss")
    hidden: int = Field(16, ge=1, le=512, description="neurons of each of the two hidden layers")
    samples: int = Field(500, ge=16, description="blocks per exact design")
    first_steps: int = Field(200, ge=1, description="training steps at the first exact gradient")
    steps: int = Field(50, ge=1, description="training steps at every exact gradient after that")
    window: int = Field(4, ge=1, description="exact designs whose samples are kept")
    seed: int = Field(0, ge=0)


class DniSpec(Spec):
    """The decoupled gradients of `source: dni`."""

    solver_ranks: int = Field(
        0, ge=0, description="MPI ranks that only solve exactly, for snapshots; 0: every rank does both, in turn"
    )
    latency: int = Field(
        3, ge=0, description="without solver ranks: iterations until a snapshot's gradient counts as arrived"
    )
    max_delay: int = Field(10, ge=1, description="iterations after which a gradient is too old and dropped")
    hidden: int = Field(24, ge=1, le=512, description="neurons of the synthesiser")
    samples: int = Field(1500, ge=16, description="cells per snapshot")
    steps: int = Field(50, ge=1, description="training steps at every arrival")
    seed: int = Field(0, ge=0)


class BpLambdaSpec(Spec):
    """The eligibility traces of `source: bp_lambda`."""

    trace: float = Field(0.9, ge=0, le=1, description="lambda: 0 bootstraps, 1 waits for the next exact gradient")
    discount: float = Field(1.0, gt=0, le=1, description="gamma")
    rate: Positive = Field(0.1, description="step size of the update of the weights")


class GuidedEsSpec(Spec):
    """The search of `source: guided_es`."""

    pairs: int = Field(4, ge=1, description="antithetic pairs per iteration; two values each")
    sigma: Positive = Field(0.1, description="root mean square of the change of a density in a pair")
    alpha: Annotated[float, Field(ge=0, le=1)] | Literal["optimal"] = Field(
        0.1, description="share of the whole space in the search; the rest is the subspace; or optimal, by the theory"
    )
    beta: Positive | Literal["optimal"] = Field(1.0, description="scale of the gradient; or optimal, by the theory")
    subspace: int = Field(1, ge=1, le=50, description="surrogate gradients that span the subspace")
    groups: int = Field(1, ge=1, description="groups of ranks that the pairs are spread over")
    seed: int = Field(0, ge=0, lt=2**29, description="of the directions")


class KoopmanSpec(Spec):
    """The jumps of `source: koopman`."""

    of: Literal["designs", "gradients"] = Field(
        "designs", description="jump ahead in the design, or extrapolate the gradients between corrections"
    )
    window: int = Field(4, ge=3, le=100, description="successive designs or gradients that the operator is fitted to")
    jump: int = Field(4, ge=1, le=1000, description="steps ahead of a jump in the design")
    patch: int = Field(0, ge=0, description="cells per operator; 0: one operator, of low rank, for all cells")
    rank: int = Field(2, ge=1, le=50, description="largest rank of an operator")
    start: int = Field(20, ge=1, description="first iteration of the first window of designs")
    fit: float = Field(0.5, gt=0, description="largest relative error of the fit at the newest step of the window")


class ProsgSpec(Spec):
    """The temporary weights of `source: prosg`, on top of the network of `onsg`."""

    form: Literal["analytic", "learned"] = Field(
        "analytic", description="from the gradient of the loss at the newest exact design, or by a second network"
    )
    rank: int = Field(2, ge=1, le=16, description="of the change of a weight matrix")
    step: Positive = Field(0.1, description="length of the analytic change, relative to the weights; or halved")
    largest: Positive = Field(0.3, description="largest norm of a change, relative to the weights")


class GradientSpec(Spec):
    """Where the gradient comes from, and when the exact one is asked for.

    Sources other than `exact` are supervised: they get exact gradients in the first `warm_up` and the `last`
    iterations, and corrections in between.
    """

    source: str = Field("exact", description="name of a registered gradient source")
    block: Literal[2, 4, 8] = Field(2, description="cells along the edge of a block of the two-scale sources")
    iterations: PositiveInt = Field(1, description="linear iterations per design of `source: inexact`")
    warm_up: PositiveInt | None = Field(
        None, description="corrections at every one of the first iterations; default 3, inexact 10"
    )
    last: int = Field(1, ge=0, description="exact gradients at every one of the last iterations")
    every: PositiveInt | None = Field(None, description="iterations between corrections; default: by the error seen")
    enough: float = Field(
        0.2, ge=0, description="the secant stands in for a network while its own error is below this; 0: never"
    )
    max_gap: PositiveInt = Field(25, description="largest number of iterations between corrections")
    correction_rtol: float | None = Field(
        0.2, gt=0, lt=1, description="relative residual of corrections; null: solver.rtol, as always with inexact"
    )
    move_limit: float | None = Field(None, gt=0, le=1, description="of estimated steps; default: the optimizer's")
    rollback: float = Field(0.2, gt=0, description="relative rise of the exact objective that is taken back")
    acceptance: Literal["usual", "descent"] = Field(
        "usual",
        description="descent: corrections are exact, and steps that do not lower the exact objective are taken back "
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
