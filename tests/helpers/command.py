"""The command, run in this process."""

from gmseg.cli import main


def run(capsys, *words):
    """Run ``gmseg`` with words of any type; return exit code, standard output and error."""
    code = main.run([str(word) for word in words])
    out, err = capsys.readouterr()
    return code, out, err
