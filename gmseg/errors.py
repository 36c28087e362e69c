"""The one exception that means: the user's input is at fault."""


class InputError(ValueError):
    """The input cannot be used; the message names the file, the fault and the remedy.

    The command prints the message as one line on standard error and exits with 2.
    """
