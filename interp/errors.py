"""What users see as a line: one exception, one warning."""


class InterpError(ValueError):
    """An error in what was asked: the command line prints it as one line and exits with code 2."""


class InterpWarning(UserWarning):
    """What was asked is done, but not quite as it was asked."""
