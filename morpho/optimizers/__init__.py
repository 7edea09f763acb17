"""Design updates: one algorithm per file, NumPy and allreduce only."""

from morpho.optimizers.mma import MMA, MMAState
from morpho.optimizers.oc import OC, OCState
from morpho.optimizers.simpl import SiMPL, SiMPLState

__all__ = ["MMA", "OC", "MMAState", "OCState", "SiMPL", "SiMPLState"]
