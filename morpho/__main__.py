"""`python -m morpho` is the command line."""

from morpho.cli import main

main()
