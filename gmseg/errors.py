"""The one exception that means: the user's input is at fault."""


class InputError(ValueError):
    """The input cannot be used; the message names the file, the fault and the remedy.

    The command prints the message as one line on standard error and exits with 2.
    """


def told(error, where):
    """Return an error as it is told to the user: those of the system lack a remedy."""
    if isinstance(error, OSError):
        return f"{error.filename or where}: {error.strerror or error}; choose another place or name"
    return error
