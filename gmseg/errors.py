"""Error raised for invalid input, and how errors and names are shown in a message."""

import errno
import re
import unicodedata
from pathlib import Path

_NO_MEMORY = re.compile(
    r"bad[ _]alloc|allocate memory|not enough memory|out of memory|OOM when allocating",
    re.IGNORECASE,
)
"""How ONNX Runtime, TensorFlow, PyTorch and the operating system report it."""


class InputError(ValueError):
    """Say that the input cannot be used: the file, the fault and the remedy, in one line.

    The command prints the message on standard error and exits with 2. Jupyter shows it without
    the traceback.
    """

    def _render_traceback_(self) -> list[str]:
        """Return what IPython prints instead of a traceback, which says nothing to users."""
        return [f"{type(self).__name__}: {self}"]


class NotAScanError(InputError):
    """Say that an image is a mask, or a result of gmseg."""


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
    >>> message_of(MemoryError(), "t2s.nii")
    't2s.nii: too large for the free memory; use a machine with more memory'
    """
    text = str(error)
    if is_out_of_memory(error):
        text = f"{path}: too large for the free memory; use a machine with more memory"
    elif isinstance(error, OSError):
        text = f"{error.filename or path}: {error.strerror or error}; choose another place or name"
    return " ".join(text.split())


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory could not be allocated.

    Examples
    --------
    >>> is_out_of_memory(RuntimeError("Failed to allocate memory for requested buffer of size 9"))
    True
    >>> is_out_of_memory(InputError("a.nii: the folder is called out of memory"))
    False
    """
    if isinstance(error, InputError):
        return False
    if isinstance(error, OSError):  # its message contains the name of a file
        return error.errno == errno.ENOMEM
    return isinstance(error, MemoryError) or bool(_NO_MEMORY.search(str(error)))


def printable(text: str) -> str:
    r"""Return a text with escapes for all characters that could control a terminal.

    Control characters, marks that change the direction of writing, and bytes that are no text
    become escapes such as ``\x1b``. Letters of all scripts are kept.

    Examples
    --------
    >>> print(printable("t2s\x1b[2J_\u202egz.nii"))
    t2s\x1b[2J_\u202egz.nii
    >>> printable("sub-Jürgen 01.nii")
    'sub-Jürgen 01.nii'
    """
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or unicodedata.category(c) == "Zs" else _escape(c) for c in text
    )


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
