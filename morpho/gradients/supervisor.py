"""Decides when the exact gradient is asked for, and which estimate is believed in between."""

from __future__ import annotations

import logging
import math
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

from morpho import shares
from morpho.gradients.card import Card
from morpho.gradients.exact import Exact
from morpho.gradients.inexact import Inexact
from morpho.gradients.kernels import distance, signs
from morpho.gradients.physics import Physics, from_state, relative_error
from morpho.gradients.two_scale import TwoScale
from morpho.interfaces import Array, DesignMap, Gradient, GradientSource
from morpho.problem.gradient_spec import GradientSpec
from morpho.problem.solving import OptimizerSpec

log = logging.getLogger("morpho")

How = Literal["exact", "correction", "estimate", "fallback", "secant", "inexact", "jump"]
StandsIn = Literal["", "fallback", "secant"]

GOOD, BAD = 0.15, 0.30  #: errors below and above which the gap between corrections grows and shrinks
GROW, SHRINK = 1.6, 0.5
MOVED = 0.6  #: change of the design since the last correction, relative to its volume, that asks for a new one
JUMP = 2.5  #: ratio of two successive objectives that asks for a correction; that of exact ones is taken back
FLIP = 0.2  #: relative rise of the exact objective in one step that is no progress but cells that flip
WRONG = 1e-3  #: share of a compliance gradient that may have the wrong sign
ASTRAY = 2e-3  #: relative rise of the exact objective within a stage that estimates should not lead to
USELESS = 1.0  #: error of a source that says nothing of the gradient
FAILURES = 3  #: times that steps were taken back, or a whole gap was useless, after which estimates are given up
AHEAD = 10  #: iterations before the end at which a correction leaves time to take steps back

OWN = Card("a user's own source", "", ("density",), ("whatever it does",), "whatever it learns")


@dataclass(frozen=True)
class Advice:
    """A gradient for one design iteration, and how it came about."""

    gradient: Gradient
    how: How
    since: int = 0  #: iterations since the last correction
    error: float = math.nan  #: of the source at this correction, before it learned from it
    rival_error: float = math.nan  #: of the secant there
    gap: int = 1  #: iterations until the next correction
    move_limit: float = math.nan  #: of the step that follows
    drift: float = 1.0  #: the objective here, by the size of what the source said it would be
    rollback: bool = False  #: the steps since the last correction are to be taken back; `gradient` is from there
    extra_solves: int = 0  #: exact solves beside that of the gradient


@dataclass
class Schedule:
    """What the supervisor remembers; all of it goes into a checkpoint."""

    gap: float = 1.0  #: iterations that may pass between corrections
    since: int = 0
    measure: float = math.nan  #: of the last correction, what may not rise
    estimate: float = math.nan  #: objective of the last iteration
    stands_in: StandsIn = ""  #: whether the secant does, because the source lost to it, or because it is good enough
    move_scale: float = 1.0  #: of the move limit, after steps had to be taken back
    confirm: bool = False  #: the next gradient has to be exact
    best: float = math.inf  #: smallest measure in this stage
    failures: int = 0
    gave_up: bool = False  #: whether the rest of the run is inexact


class Measure(Protocol):
    """What may not rise between exact gradients; see `responses.measure`."""

    @property
    def name(self) -> str: ...
    @property
    def limits(self) -> bool: ...
    def at(self, gradient: Gradient) -> float: ...
    def floor(self, gradient: Gradient) -> float: ...


@runtime_checkable
class Leaper(Protocol):
    """An exact source that may go ahead of the optimizer."""

    landed: bool  #: whether the present design is one that it jumped to
    in_vain: Gradient | None  #: of a landing that it discarded just now

    def leap(self, iteration: int, x: Array, design: DesignMap, stage_is_new: bool) -> Array: ...


class Supervisor:
    """Gives one gradient per design iteration: an exact one, a correction, or an estimate of the source.

    A correction is an exact gradient to a loose tolerance. The source's error there is logged before it learns from
    it. The gap to the next correction follows that error, how far the design moved, and jumps of the estimated
    objective or of the continuation. `rival` is the secant: it stands in while the source loses to it, and while it is
    good enough itself, which saves the network's time. A source that fails again and again is given up for inexact
    solves.
    """

    def __init__(
        self,
        physics: Physics,
        source: GradientSource,
        spec: GradientSpec,
        optimizer: OptimizerSpec,
        rival: GradientSource | None = None,
        two_scale: TwoScale | None = None,
        measure: Measure | None = None,
        paced: bool = False,
        last: int = 1,
    ) -> None:
        """Supervise a source.

        Args:
            rival: the secant, for sources that it can stand in for.
            two_scale: for sources with blocks; gives fine solves a better start.
            measure: what may not rise; steps that let it rise are taken back.
            paced: whether single steps of an exact source may go wrong; they are shortened then.
            last: iterations at the end with an exact gradient, where the problem file does not say.
        """
        self.physics, self.source, self.rival, self.two_scale = physics, source, rival, two_scale
        self.spec, self.optimizer, self.measure, self.paced = spec, optimizer, measure, paced
        self._may_be_positive = bool(np.any(getattr(physics, "weight_density", 0.0)))
        self.card: Card = getattr(source, "card", OWN)
        #: whether there is anything to decide; a user's own source may say that it decides itself
        self.supervises: bool = not isinstance(source, Exact) and getattr(source, "supervised", True)
        self.warm_up = spec.warm_up or self.card.warm_up
        self.last = spec.last if spec.last is not None else last
        self.schedule = Schedule(gap=float(spec.every or 1))
        self._inexact = Inexact(physics)
        self._left = 0  #: iterations after the present one
        self._move_limit = math.nan  #: of the present iteration, before what the errors ask for
        self._anchor: shares.Shares | None = None  #: rho of the last correction that was not taken back
        self._exact: Gradient | None = None  #: the one that steps are taken back to

    def leap(self, iteration: int, x: Array, design: DesignMap, stage_is_new: bool) -> Array:
        """The design (n,) to take the next gradient at: x, or one that the source jumps to from there (collective)."""
        if isinstance(self.source, Leaper) and self.measure is not None and not self.measure.limits:
            return self.source.leap(iteration, x, design, stage_is_new)
        return x

    def advise(
        self,
        iteration: int,
        rho: Array,
        move_limit: float,
        stage_is_new: bool = False,
        stage_ends: bool = False,
        may_go_back: bool = True,
        left: int | None = None,
    ) -> Advice:
        """The gradient to use at rho (n,), and how far to go with it, up to the usual move limit (collective).

        Args:
            stage_is_new: whether a continuation parameter changed.
            stage_ends: whether one changes with the next iteration.
            may_go_back: whether the design that steps would be taken back to can be returned.
            left: iterations after this one at most; default: up to `max_iterations`.
        """
        plan, self._move_limit = self.schedule, move_limit
        self._left = self.optimizer.max_iterations - iteration if left is None else left
        plan.since += 1
        if stage_is_new:
            self._exact, plan.best = None, math.inf  # the objective is another one now
        if not self.supervises:
            own = self.source.estimate(rho)
            how: How = "exact" if own.kind == "exact" else "estimate"
            if isinstance(self.source, Leaper):
                how = "jump" if self.source.landed else how
                return replace(self._advice(own, how), extra_solves=int(self.source.in_vain is not None))
            if how == "exact":
                self._pace(iteration, own, stage_is_new)
            return self._advice(own, how)
        reason = self._reason(iteration, rho, stage_is_new, stage_ends)
        if not reason and plan.gave_up:
            inexact = self._inexact.estimate(rho)
            self._pace(iteration, inexact, stage_is_new)
            return self._advice(inexact, "inexact")
        if not reason:
            stands_in: StandsIn = plan.stands_in if self.rival is not None else ""
            estimate = (self.rival if self.rival is not None and stands_in else self.source).estimate(rho)
            if estimate.kind == "exact":  # the source solved of its own accord
                plan.since, self._anchor = 0, shares.packed(rho)
                advice = self._advice(estimate, "exact")
                self._keep(advice.gradient)
                return advice
            reason = self._objection(estimate)
            if not reason:
                plan.estimate = estimate.size
                if not self.card.corrected:
                    self._pace(iteration, estimate, stage_is_new)
                return self._advice(estimate, stands_in or "estimate")
            log.warning(f"it {iteration}: {reason}; an exact update instead")
        return self._correct(iteration, rho, may_go_back)

    def _pace(self, iteration: int, gradient: Gradient, stage_is_new: bool) -> None:
        """Shorter steps once a step has made the design much worse, longer ones again as long as none does (local)."""
        if self.measure is None or not self.paced:
            return
        plan, now = self.schedule, self.measure.at(gradient)
        size = max(abs(plan.measure), self.measure.floor(gradient))
        flips = not stage_is_new and now - plan.measure > FLIP * size
        plan.move_scale = 0.5 * plan.move_scale if flips else min(1.0, 1.2 * plan.move_scale)
        if flips:
            log.info(f"it {iteration}: {self._risen(plan.measure, now)}; shorter steps")
        plan.measure = now

    def _advice(self, gradient: Gradient, how: How, error: float = math.nan, rival: float = math.nan) -> Advice:
        plan, usual = self.schedule, self._move_limit
        on_estimates = min(usual, self.spec.move_limit or usual)
        limit = plan.move_scale * (usual if how in ("exact", "correction", "jump") else on_estimates)
        if self.two_scale is not None:
            self.two_scale.forget()
        if self.supervises:  # the sources have learned from the energies
            gradient = replace(gradient, energy=None)
        return Advice(gradient, how, plan.since, error, rival, self.gap, limit)

    @property
    def gap(self) -> int:
        """Iterations that may pass between corrections (local)."""
        return max(1, int(self.schedule.gap))

    def confirms(self, gradient: Gradient) -> bool:
        """Whether a run may end on this gradient; if not, the next one will be exact (local)."""
        self.schedule.confirm = self.supervises and gradient.kind != "exact"
        return not self.schedule.confirm

    def _reason(self, iteration: int, rho: Array, stage_is_new: bool, stage_ends: bool) -> str:
        """Why a correction is due, empty if none is (collective)."""
        plan, spec = self.schedule, self.spec
        if self._is_last:
            return "the last iterations"
        if iteration <= self.warm_up or self._anchor is None:
            return "warm-up"
        if not self.card.corrected or plan.gave_up:
            return ""
        if stage_is_new or stage_ends:
            return "a continuation parameter changes"
        if self.last and self._left == AHEAD and plan.since > 1:
            return "the end is near"
        if plan.since >= self.gap:
            return "the interval is over"
        if spec.every is None:
            moved, volume = self.physics.comm.allreduce(np.array(distance(rho, self._anchor, 1 / shares.ONE)))
            if moved > MOVED * volume:
                return "the design has moved"
        return ""

    @property
    def _is_last(self) -> bool:
        return self.schedule.confirm or self._left < self.last

    def _objection(self, estimate: Gradient) -> str:
        """What is wrong with an estimate, empty if nothing (collective)."""
        d = estimate.d_size
        total, size, positive = self.physics.comm.allreduce(np.array(signs(d)))
        if not (math.isfinite(size) and math.isfinite(estimate.size)):
            return "the estimated gradient is not finite"
        if total >= 0 or (positive > WRONG * size and not self._may_be_positive):
            return "the estimated gradient has the wrong sign"
        ratio = estimate.size / self.schedule.estimate
        if self.measure is not None and not 1 / JUMP < ratio < JUMP:
            return f"the estimated objective jumps by a factor of {ratio:.3g}"
        return ""

    def _correct(self, iteration: int, rho: Array, may_go_back: bool) -> Advice:
        plan, spec = self.schedule, self.spec
        strict = spec.acceptance == "descent"
        tight = strict or self._is_last or spec.correction_rtol is None or not self.card.loose
        before = self._exact
        compared = self._anchor is not None and self.card.corrected
        guess: Gradient | None = None
        if self.two_scale is not None:
            if plan.since > 1 or not tight:
                self.two_scale.improve(rho)
            self.two_scale.rest()
        elif compared:  # the solve may change what the source looks at
            guess = self.source.estimate(rho).kept
        exact = from_state(self.physics, self.physics.solve(rho, None if tight else spec.correction_rtol))
        error, rival_error, guessed = math.nan, math.nan, exact.size
        if self.two_scale is not None:
            self.two_scale.follow(rho)
            if compared:
                guess = self.source.estimate(rho).kept
        if guess is not None:
            error, guessed = self._error(guess, exact), guess.size
            guess = None
        if compared and self.rival is not None:
            rival_error = self._error(self.rival.estimate(rho).kept, exact)
        now = self._measured(exact)
        lowest = plan.measure if strict else min(plan.best, plan.measure)
        share = 0.0 if strict else min(spec.rollback, ASTRAY) if self._is_last else spec.rollback
        floor = 0.0 if self.measure is None else self.measure.floor(exact)
        allowed = share * max(abs(lowest), floor)
        rises = before is not None and now > lowest + allowed
        broken = now - lowest > (JUMP - 1) * max(abs(lowest), floor)
        rollback = rises and self.measure is not None and (strict or broken or plan.since > 1) and may_go_back
        if rollback:
            log.warning(
                f"it {iteration}: {self._risen(lowest, now)} in {plan.since} iterations; back to where it was, "
                "with a smaller move limit"
            )
        for part in (self.rival, self.source):
            if part is not None:
                part.learn(rho, exact)
        if plan.since == 1 and not rollback:
            self._pace(iteration, exact, before is None)
        astray = before is not None and plan.since > 1 and now - plan.measure > ASTRAY * max(abs(plan.measure), floor)
        self._adapt(iteration, error, rival_error, rollback, astray)
        how: How = "exact" if exact.kind == "exact" else "correction"
        used = exact
        again = 0
        if rollback and before is not None:  # from where the steps began; the solve here has its cost all the same
            used = before.in_double()
            if self._is_last and used.kind != "exact" and self._anchor is not None:
                used, again = from_state(self.physics, self.physics.solve(shares.unpacked(self._anchor))), 1
            cost = exact.linear_iterations + again * used.linear_iterations, exact.seconds + again * used.seconds
            used = replace(used, linear_iterations=cost[0], seconds=cost[1])
        advice = self._advice(used, how, error, rival_error)
        plan.since, plan.confirm = 0, plan.confirm and plan.gave_up and not tight
        plan.best = min(plan.best, now)
        self._keep(advice.gradient)
        if not rollback:
            self._anchor = shares.packed(rho)
        drift = exact.size / guessed if guessed else math.nan
        return replace(advice, rollback=rollback, drift=drift, extra_solves=again)

    def _measured(self, exact: Gradient) -> float:
        return exact.size if self.measure is None else self.measure.at(exact)

    def _risen(self, before: float, now: float) -> str:
        return f"{'the objective' if self.measure is None else self.measure.name} rose from {before:.6g} to {now:.6g}"

    def _keep(self, exact: Gradient) -> None:
        """Take an exact gradient as the one to fall back to (local)."""
        self._exact = exact.kept
        self.schedule.measure = self._measured(exact)
        self.schedule.estimate = exact.size

    def _adapt(self, iteration: int, error: float, rival_error: float, rollback: bool, astray: bool) -> None:
        """The next gap, and whom to believe until then (local)."""
        plan = self.schedule
        if math.isnan(error) and math.isnan(rival_error) and not rollback:
            return
        if not math.isnan(rival_error):
            # over one step the secant is good with any design; that says nothing of a whole gap
            lost, enough = not error <= rival_error, plan.since > 1 and rival_error < self.spec.enough
            plan.stands_in = "fallback" if lost else "secant" if enough else ""
        best = rival_error if plan.stands_in else error
        if plan.since > 1 and (rollback or best >= USELESS):
            plan.failures += 1
        if plan.failures >= FAILURES and not plan.gave_up and self.spec.acceptance == "usual":
            plan.gave_up = plan.confirm = True
            log.warning(f"it {iteration}: estimates failed {plan.failures} times; inexact solves from here on")
        if rollback:
            plan.gap, plan.move_scale = 1.0, 0.5 * plan.move_scale
        else:
            if plan.since > 1:
                plan.move_scale = min(1.0, 1.5 * plan.move_scale)
            most = float(self.spec.every or self.spec.max_gap)
            if best < GOOD and not astray:
                plan.gap = min(most, max(plan.gap, GROW * plan.since + 0.5))
            elif astray or not best < BAD:
                plan.gap = max(1.0, SHRINK * min(plan.gap, plan.since))
        secant = "" if math.isnan(rival_error) else f", of the secant {rival_error:.3f}"
        why = {"": "", "fallback": "; falls back to secant", "secant": "; secant is accurate by itself"}[plan.stands_in]
        log.info(f"it {iteration}: error of the source {error:.3f}{secant}{why}; next exact update in {self.gap}")

    def _error(self, estimate: Gradient, exact: Gradient) -> float:
        """Relative 2-norm of the difference of two gradients, of the load case or displacement that has the largest
        (collective)."""
        errors = []
        for ours, theirs in zip(_derivatives(estimate), _derivatives(exact), strict=True):
            errors.append(relative_error(self.physics.comm, ours - theirs, theirs))
        return max(errors, key=lambda error: math.inf if math.isnan(error) else error)

    def save(self) -> tuple[dict[str, Array], dict[str, Any]]:
        """Arrays of this rank's cells and JSON values for a checkpoint (local)."""
        arrays: dict[str, Array] = {}
        values: dict[str, Any] = {"schedule": asdict(self.schedule)}
        for name, part in self._parts():
            own_arrays, values[name] = part.save()
            arrays |= {f"{name}_{key}": array for key, array in own_arrays.items()}
        if self._anchor is not None:
            arrays["anchor"] = shares.unpacked(self._anchor)
        if self._exact is not None:
            arrays["exact"] = self._exact.d_cases.T
            values["exact"] = {"cases": self._exact.cases.tolist(), "kind": self._exact.kind}
        return arrays, values

    def restore(self, arrays: dict[str, Array], values: dict[str, Any]) -> None:
        """Go on from what `save` gave; a source without `save` starts afresh (local)."""
        self.schedule = Schedule(**values["schedule"])
        for name, part in self._parts():
            own = {k.removeprefix(f"{name}_"): v for k, v in arrays.items() if k.startswith(f"{name}_")}
            part.restore(own, values[name])
        self._anchor = shares.packed(arrays["anchor"]) if "anchor" in arrays else None
        if "exact" in arrays:
            cases, kind = np.array(values["exact"]["cases"]), values["exact"]["kind"]
            d_cases = np.ascontiguousarray(arrays["exact"].T)
            weights, scale = np.asarray(self.physics.weights), self.physics.scale
            self._exact = Gradient(cases, d_cases, weights, kind, 0, 0.0, scale=scale)

    def _parts(self) -> list[tuple[str, Any]]:
        """Sources with something to save, by the name of their part in a checkpoint."""
        both = (("source", self.source), ("rival", self.rival))
        return [(name, part) for name, part in both if hasattr(part, "save")]


def _derivatives(gradient: Gradient) -> list[Array]:
    """(n,) of every load case of the problem and every displacement (local)."""
    cases = [np.asarray(gradient.d_cases[i]) for i in range(gradient.n_given)]
    return cases + [gradient.d_displacement(q) for q in range(len(gradient.scale))]
