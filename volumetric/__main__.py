"""`python -m volumetric`."""

from volumetric.cli import main

main()
