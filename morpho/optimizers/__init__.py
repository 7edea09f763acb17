"""Design updates: one algorithm per file, NumPy and allreduce only."""

from morpho.optimizers.mma import MMA, MMAState
from morpho.optimizers.oc import OC, OCState

__all__ = ["MMA", "OC", "MMAState", "OCState"]
