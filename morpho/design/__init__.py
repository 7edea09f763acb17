"""The map from the design variable x to the physical density rho, piece by piece, each with its exact pullback."""
