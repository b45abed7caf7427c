"""The troubles that the engine raises. Refusals are values (outcomes.py); these are not.

Each carries the sentence that a person reads, and the exit status of the command line.
"""

from typing import ClassVar


class FlashsaleError(Exception):
    """Anything of ours that stops what was asked for; str() is a sentence that says what to do."""

    exit_status: ClassVar[int] = 1


class BadInputError(FlashsaleError):
    """What was asked for is malformed, unknown, or does not fit the state; nothing was changed."""

    exit_status = 2


class NotFoundError(BadInputError):
    """A sale, item or order of that name does not exist, or is not the asker's."""


class StateError(BadInputError):
    """The sale or order is in a state that does not allow this; nothing was changed."""


class SurroundingsError(FlashsaleError):
    """A server is away, a port is taken, a migration is missing: the surroundings need a hand."""

    exit_status = 3


class InvariantError(FlashsaleError):
    """A promise is broken. This is a defect of ours, never the user's doing."""
