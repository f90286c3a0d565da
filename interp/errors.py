"""The one exception that users see as a line."""


class InterpError(ValueError):
    """An error in what was asked: the command line prints it as one line and exits with code 2."""
