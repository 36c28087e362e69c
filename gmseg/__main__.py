"""Run the command: ``python -m gmseg``."""

from gmseg.cli.main import main

if __name__ == "__main__":
    main()
