"""Gradient sources: one per file, looked up by the name that stands in the problem file."""

from morpho.gradients.registry import create, names, register
from morpho.gradients.supervisor import Supervisor
from morpho.gradients.two_scale import Tools

__all__ = ["Supervisor", "Tools", "create", "names", "register"]
