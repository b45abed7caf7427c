"""A level is stated when the servers' count proves it, else accepted."""

import pytest
from redis.exceptions import ResponseError

from flashsale.durability import Level, Settling

TWO = Settling(replicas=2, log_replicas=1)


@pytest.mark.parametrize(
    ("level", "counted", "reached"),
    [
        (Level.REPLICATED, 2, Level.REPLICATED),
        (Level.REPLICATED, 3, Level.REPLICATED),
        (Level.REPLICATED, 1, Level.ACCEPTED),
        (Level.REPLICATED, ResponseError("ERR"), Level.ACCEPTED),
        (Level.FSYNCED, [1, 1], Level.FSYNCED),
        (Level.FSYNCED, [0, 1], Level.ACCEPTED),
        (Level.FSYNCED, [1, 0], Level.ACCEPTED),
        (Level.FSYNCED, ResponseError("ERR no append only file"), Level.ACCEPTED),
    ],
)
def test_what_was_counted_decides(level: Level, counted: object, reached: Level) -> None:
    """Given a count of servers / Then the level when there are enough, else accepted; a refusal counts nobody."""
    assert TWO.reached(level, counted) is reached


def test_servers_are_asked_for_what_they_can_tell() -> None:
    """Given a level / Then the command for it with what is needed; no server is asked for the others."""
    assert TWO.question(Level.REPLICATED)[:2] == ("WAIT", 2)
    assert TWO.question(Level.FSYNCED)[:3] == ("WAITAOF", 1, 1)
    for level in (Level.ACCEPTED, Level.CONFIRMED):
        assert not level.waits_for_servers
        with pytest.raises(ValueError, match=level):
            TWO.question(level)
        with pytest.raises(ValueError, match=level):
            TWO.questions(level)


def test_a_replica_is_asked_for_its_memory_before_its_disk() -> None:
    """Given a level that needs a replica's disk / Then its memory is asked for first; else there is one question."""
    assert [asked[0] for asked in TWO.questions(Level.FSYNCED)] == ["WAIT", "WAITAOF", "CONFIG"]
    assert [asked[0] for asked in Settling().questions(Level.FSYNCED)] == ["WAITAOF", "CONFIG"]
    assert TWO.questions(Level.REPLICATED) == (TWO.question(Level.REPLICATED),)


@pytest.mark.parametrize(
    ("setting", "proved"),
    [
        ([b"appendfsync", b"always"], Level.FSYNCED),
        ([b"appendfsync", b"everysec"], Level.ACCEPTED),
        ([b"appendfsync", b"no"], Level.ACCEPTED),
        ([], Level.ACCEPTED),
        (ResponseError("ERR unknown command 'CONFIG'"), Level.FSYNCED),
    ],
)
def test_a_count_of_disks_holds_where_each_write_is_synced(setting: object, proved: Level) -> None:
    """Given servers that count themselves / Then that proves fsynced when each write is synced, or when CONFIG is
    forbidden, so that only the doctor's host knows; and never when too few were counted."""
    assert TWO.proved(Level.FSYNCED, [2, [1, 1], setting]) is proved
    assert TWO.proved(Level.FSYNCED, [2, [1, 0], setting]) is Level.ACCEPTED
    assert TWO.proved(Level.REPLICATED, [2]) is Level.REPLICATED
