"""What a user should hear of, though there is a result."""

import warnings


class BrenierWarning(UserWarning):
    """A result that is not what it seems."""


class ConvergenceWarning(BrenierWarning):
    """A solver that stopped before it was done."""


class CollapseWarning(BrenierWarning):
    """A map or plan that has lost the spread of its target."""


def say(category: type, words: str) -> None:
    """Warns the caller of the caller of this function's caller."""
    warnings.warn(words, category, stacklevel=4)
