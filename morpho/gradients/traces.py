"""BP(lambda): learn to predict gradients of a sequence's future loss, online and forwards (Pemberton & Costa 2024).

    v(h) = theta . phi(h)
    delta_t = J_t' (dL_t/dh_t + gamma v(h_t)) - v(h_t-1)     without v(h_t) at the end
    theta <- theta + alpha sum delta_t e_t-1
    e_t = gamma lambda J_t e_t-1 + phi(h_t)

h are the states, J_t = dh_t/dh_t-1, v predicts the derivative of the losses to come, e is the eligibility trace.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[Any]  #: of either precision


class Traces:
    """The learner of one sequence after the other; sequences of a batch go side by side and share theta and J.

    At each state call `step`, change theta along what it gives, and `emit`; `end` instead at the last one.

    Attributes:
        theta: (m,), changed by the caller.
        e: (b, m, n) eligibility trace, None between sequences.
        v: (b, n) what was emitted last.
    """

    def __init__(self, theta: Numbers, trace: float, discount: float) -> None:
        self.theta, self.trace, self.discount = theta, trace, discount
        self.e: Numbers | None = None
        self.v: Numbers | None = None

    def step(self, J: Numbers, phi: Numbers, d_loss: Numbers | float = 0.0, seen: Numbers | float = 1.0) -> Numbers:
        """Direction (m,) to change theta in, at a new state; 0 at the first one of a sequence (local).

        Args:
            J: (n, n) derivative of this state with respect to the last one, or (n,) if it is diagonal.
            phi: (b, m, n) derivative of v with respect to theta here.
            d_loss: (b, n) derivative of the loss here, if there is one.
            seen: (n,) weight of each component of the last state in the error.
        """
        if self.e is None or self.v is None:
            self.e = phi.copy()
            return np.zeros_like(self.theta)
        delta = pulled_back(J, d_loss + self.discount * self._value(phi)) - self.v
        direction = self._along(seen * delta)
        decay = self.discount * self.trace
        self.e = decay * pushed_forward(J, self.e) + phi if decay else phi.copy()
        return direction

    def emit(self, phi: Numbers) -> Numbers:
        """v (b, n) at the present state (local)."""
        self.v = self._value(phi)
        return self.v

    def end(self, J: Numbers, d_loss: Numbers) -> Numbers:
        """Direction (m,) to change theta in, at the last state of a sequence, where v is 0; arguments as in `step`."""
        if self.v is None:
            return np.zeros_like(self.theta)
        direction = self._along(pulled_back(J, d_loss) - self.v)
        self.e = self.v = None
        return direction

    def _value(self, phi: Numbers) -> Numbers:
        return np.asarray(np.matmul(self.theta, phi))

    def _along(self, delta: Numbers) -> Numbers:
        """Sum of delta e over the batch and the components (local)."""
        assert self.e is not None
        return np.asarray(np.matmul(self.e, delta[..., None])[..., 0].sum(axis=0))


def pulled_back(J: Numbers, d: Numbers) -> Numbers:
    """J' d of every row of d (b, n), J as in `Traces.step` (local)."""
    return np.asarray(d * J if J.ndim == 1 else d @ J)


def pushed_forward(J: Numbers, e: Numbers) -> Numbers:
    """J applied to every (., n) of e (b, m, n), J as in `Traces.step` (local)."""
    return np.asarray(e * J if J.ndim == 1 else e @ J.T)
