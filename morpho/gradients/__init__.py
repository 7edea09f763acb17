"""Gradient sources: one per file, looked up by the name that stands in the problem file."""

from morpho.gradients.registry import create, names, register

__all__ = ["create", "names", "register"]
