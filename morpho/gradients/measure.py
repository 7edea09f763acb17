"""What the steps between exact gradients may not make worse."""

from __future__ import annotations

from dataclasses import dataclass

from morpho.interfaces import Gradient
from morpho.problem.spec import ComplianceConstraint, Problem


@dataclass(frozen=True)
class Measure:
    """The compliance that is minimised, or, where it has limits instead, how far it is beyond them."""

    limits: tuple[tuple[int | None, float], ...] = ()  #: load case, all of them if None, and largest compliance

    @classmethod
    def of(cls, problem: Problem) -> Measure | None:
        """That of a problem; None if there is none, as of a black box (local)."""
        if problem.objective.kind == "compliance":
            return cls()
        cases = [case.name for case in problem.loads]
        limited = [c for c in problem.constraints if isinstance(c, ComplianceConstraint)]
        limits = tuple((None if c.case is None else cases.index(c.case), c.max) for c in limited)
        return cls(limits) if limits and problem.objective.kind == "volume" else None

    @property
    def name(self) -> str:
        return "the compliance over its limit" if self.limits else "the objective"

    def at(self, gradient: Gradient) -> float:
        """Its value at a design; 1 as long as every limit is kept (local)."""
        if not self.limits:
            return gradient.objective
        values = [(gradient.objective if i is None else float(gradient.cases[i])) / most for i, most in self.limits]
        return max(1.0, *values)
