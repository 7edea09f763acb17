"""The p-mean of the temperature: close to the highest one, and smooth."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from morpho.functionals.functional import Setting, States, Value, power_mean
from morpho.problem.base import Number
from morpho.problem.functional_spec import FunctionalSpec


class PeakTemperatureSpec(FunctionalSpec):
    """(mean of |T|^p)^(1/p) over the cells of a region, T at their centres."""

    kind: Literal["peak_temperature"]
    p: Number = Field(8.0, ge=1, le=100, description="the larger, the closer to the highest temperature")


class PeakTemperature:
    """(1/V int |T|^p)^(1/p)."""

    physics = "heat"

    def __init__(self, spec: PeakTemperatureSpec, setting: Setting) -> None:
        self.spec, self.setting, self.cases = spec, setting, (setting.case,)
        self.weights = setting.volumes * setting.inside

    def at(self, states: States) -> Value:
        case = self.setting.case
        T = states.centre(case)[:, 0]
        value, slope = power_mean(self.setting.comm, np.abs(T), self.weights, self.spec.p)
        return Value(value, d_centre={case: (slope * np.sign(T))[:, None]})


SPEC, FUNCTIONAL = PeakTemperatureSpec, PeakTemperature
