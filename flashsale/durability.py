"""Durability: how safe an order is that a fan is told of, and how a bucket's servers are asked for it.

accepted: in the primary's memory. replicated: in the memory of so many replicas as well (WAIT). fsynced: on the disk of
the primary, and of so many replicas (WAITAOF). confirmed: committed in Postgres. What servers count is checked; a level
that was not reached in time is never stated.
"""

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from redis.exceptions import ResponseError

from flashsale import limits

_APPENDFSYNC: Final = "appendfsync"


class Level(enum.StrEnum):
    """From the weakest to the strongest."""

    ACCEPTED = "accepted"
    REPLICATED = "replicated"
    FSYNCED = "fsynced"
    CONFIRMED = "confirmed"

    @property
    def waits_for_servers(self) -> bool:
        """Whether the bucket's servers are asked how far they are."""
        return self in {Level.REPLICATED, Level.FSYNCED}


@dataclass(frozen=True, slots=True)
class Settling:
    """What makes an order replicated and fsynced here. replicas: how many must have it in memory; log_replicas: how
    many must have it on their disks besides the primary."""

    replicas: int = 1
    log_replicas: int = 0

    def question(self, level: Level, *, wait_ms: int = limits.REPLICATED_WAIT_MS) -> tuple[str | int, ...]:
        """The command that waits until everything written before it over the same connection is at this level.

        wait_ms: how long for replicas, at the most.
        """
        match level:
            case Level.REPLICATED:
                return ("WAIT", self.replicas, wait_ms)
            case Level.FSYNCED:
                return ("WAITAOF", 1, self.log_replicas, limits.FSYNCED_WAIT_MS)
            case _:
                raise ValueError(f"no server is asked for level {level}")

    def questions(self, level: Level) -> tuple[tuple[str | int, ...], ...]:
        """What to ask in a row, so that proved() can tell the level and the answer comes soon.

        Asked for its disk at once, a replica tells what it had there before, and then nothing for up to a second. Once
        it has said that it has all in memory, it has also written its log, and the next question finds that out.
        """
        if level is not Level.FSYNCED:
            return (self.question(level),)
        first = (self.question(Level.REPLICATED),) if self.log_replicas else ()
        return (*first, self.question(level), ("CONFIG", "GET", _APPENDFSYNC))

    def proved(self, level: Level, answers: Sequence[Any]) -> Level:
        """The level that the answers to questions() prove: this one, or accepted.

        A server whose log goes to the disk once a second may count itself before that second is over.
        """
        if level is not Level.FSYNCED:
            return self.reached(level, answers[-1])
        *_, counted, setting = answers
        return self.reached(level, counted) if _each_write_is_synced(setting) else Level.ACCEPTED

    def reached(self, level: Level, counted: Any) -> Level:
        """The level that the servers' count proves: this one, or accepted."""
        match level, counted:
            case Level.REPLICATED, int() if counted >= self.replicas:
                return level
            case Level.FSYNCED, [int() as here, int() as there] if here >= 1 and there >= self.log_replicas:
                return level
            case _:
                return Level.ACCEPTED


DEFAULT: Final = Settling()


def _each_write_is_synced(setting: Any) -> bool:
    """Whether the server says so. Where CONFIG is forbidden it can't be told; the doctor has said so at the start."""
    match setting:
        case [_, bytes() as value]:
            return value == b"always"
        case _:
            return isinstance(setting, ResponseError)
