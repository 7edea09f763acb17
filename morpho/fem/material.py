"""Stiffness or conductivity of a cell as a function of its physical density."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit

from morpho.interfaces import Array
from morpho.problem.base import value_at
from morpho.problem.spec import Problem


@dataclass(frozen=True)
class Simp:
    """E(rho) = E (r + (1 - r) rho^p) with the relative void stiffness r (Bendsoe & Sigmund 1999)."""

    E: float
    E_min_ratio: float
    penalty: float

    def stiffness(self, rho: Array) -> Array:
        return _power(rho, self.penalty, self.E * (1 - self.E_min_ratio), self.E * self.E_min_ratio)

    def derivative(self, rho: Array) -> Array:
        return _power(rho, self.penalty - 1, self.E * (1 - self.E_min_ratio) * self.penalty)


@dataclass(frozen=True)
class Ramp:
    """E(rho) = E (r + (1 - r) rho / (1 + q (1 - rho))) (Stolpe & Svanberg 2001)."""

    E: float
    E_min_ratio: float
    penalty: float

    def stiffness(self, rho: Array) -> Array:
        return self.E * (self.E_min_ratio + (1 - self.E_min_ratio) * rho / (1 + self.penalty * (1 - rho)))

    def derivative(self, rho: Array) -> Array:
        return np.asarray(self.E * (1 - self.E_min_ratio) * (1 + self.penalty) / (1 + self.penalty * (1 - rho)) ** 2)


def _power(rho: Array, exponent: float, factor: float, offset: float = 0.0) -> Array:
    """offset + factor rho**exponent; multiples of a half up to 4.5 by products and a root, many times faster."""
    whole, half = divmod(exponent, 1.0)
    if half not in (0.0, 0.5) or not 1 <= whole <= 4:
        return np.asarray(offset + factor * rho**exponent)
    power = np.array(rho, np.float64)
    _half_power(power.reshape(-1), int(whole), half > 0, factor, offset)
    return power


@njit(cache=True, error_model="numpy")
def _half_power(values: Array, whole: int, half: bool, factor: float, offset: float) -> None:
    for i in range(len(values)):
        value = values[i]
        power = value
        power = power * value if whole > 1 else power
        power = power * value if whole > 2 else power
        power = power * value if whole > 3 else power
        power = power * math.sqrt(value) if half else power
        values[i] = factor * power + offset


@dataclass
class Given:
    """A material whose stiffness in each block is given, whatever the density."""

    E: Array

    def stiffness(self, rho: Array) -> Array:
        return self.E

    def derivative(self, rho: Array) -> Array:
        return np.zeros_like(rho)


Material = Simp | Ramp | Given

INTERPOLATIONS: dict[str, type[Simp] | type[Ramp]] = {"simp": Simp, "ramp": Ramp}


def make_material(problem: Problem, iteration: int) -> Material:
    """Interpolation with the penalty that is in force at a design iteration (local)."""
    m = problem.material
    solid = m.conductivity if problem.physics == "heat" else m.E
    return INTERPOLATIONS[m.interpolation](solid, m.E_min_ratio, value_at(problem.penalty, iteration))


def lame(E: float, nu: float, dim: int, plane: str) -> tuple[float, float]:
    """Lame parameters; in plane stress the first one is the reduced one."""
    mu = E / (2 * (1 + nu))
    lam = E * nu / ((1 + nu) * (1 - 2 * nu))
    if dim == 2 and plane == "stress":
        lam = 2 * mu * lam / (lam + 2 * mu)
    return lam, mu
