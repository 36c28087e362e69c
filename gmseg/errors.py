"""Error raised for invalid input."""

from pathlib import Path


class InputError(ValueError):
    """Say that the input cannot be used: the file, the fault and the remedy, in one line.

    The command prints the message on standard error and exits with 2.
    """


def message_of(error: BaseException, path: Path | str) -> str:
    """Return an error in one line; a remedy is added to errors of the operating system.

    Parameters
    ----------
    error : BaseException
        The error to report.
    path : path-like
        File to name where the error names none.

    Examples
    --------
    >>> message_of(InputError("t2s.nii: is empty (0 bytes)"), "t2s.nii")
    't2s.nii: is empty (0 bytes)'
    """
    text = str(error)
    if isinstance(error, OSError):
        text = f"{error.filename or path}: {error.strerror or error}; choose another place or name"
    return " ".join(text.split())
