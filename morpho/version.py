"""The version of morpho."""

VERSION = "0.1.0"
