"""Run the command: ``python -m gmseg``."""

from gmseg.cli.main import main

main()
