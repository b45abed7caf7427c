"""What stands in the outbox is read as it was written; what can't be read comes back with its fault."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashsale import limits
from flashsale.outbox import BuyerLine, parse_entry, parse_lines
from tests.support.samples import Attempts, order_of


def entry(*wins: tuple[str, int], at_ms: int = 1_700_000_000_000, item: str = "a") -> dict[bytes, bytes]:
    """The fields of an entry as the script writes it."""
    fields = {b"at_ms": b"%d" % at_ms, b"item": item.encode()}
    return fields | {attempt.encode(): b"%d" % unit for attempt, unit in wins}


@given(
    st.lists(
        st.tuples(
            st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.:@|+=-]{0,63}", fullmatch=True),
            st.integers(1, limits.UNITS_PER_ITEM_MAX),
        )
    )
)
def test_wins_are_read_as_written(wins: list[tuple[str, int]]) -> None:
    """Given any wins / Then each comes back with its fan, unit, channel, lane and time, in order."""
    attempts = Attempts()
    lines = [(attempts.line(fan, channel="wechat"), unit) for fan, unit in wins]
    read = parse_entry(b"5-0", entry(*lines))
    assert (read.entry_id, read.fault, read.content, read.orders) == ("5-0", "", "", len(wins))
    assert [(win.order, win.fan, win.unit, win.channel, win.lane, win.item, win.accepted_ms) for win in read.wins] == [
        (order_of(line), fan, unit, "wechat", "public", "a", 1_700_000_000_000)
        for (line, unit), (fan, _) in zip(lines, wins, strict=True)
    ]
    assert all(win.order_id.hex == win.order for win in read.wins)


GOOD = Attempts().line("alice")
BROKEN = {
    "nothing": {},
    "no time": {b"item": b"a", GOOD.encode(): b"1"},
    "no item": {b"at_ms": b"1", GOOD.encode(): b"1"},
    "time in words": {b"at_ms": b"noon", b"item": b"a"},
    "time below zero": entry((GOOD, 1), at_ms=-1),
    "time that no bigint holds": entry((GOOD, 1), at_ms=10**19),
    "item that is no text": {b"at_ms": b"1", b"item": b"\xff"},
    "item with a zero byte": entry((GOOD, 1), item="a\0"),
    "item that is no name": entry((GOOD, 1), item="A b"),
    "unit in words": entry((GOOD, 1)) | {GOOD.encode(): b"one"},
    "unit zero": entry((GOOD, 0)),
    "unit below zero": entry((GOOD, -5)),
    "unit with eight digits": entry((GOOD, limits.UNITS_PER_ITEM_MAX + 1)),
    "unit that no int holds": entry((GOOD, 2**31)),
    "unit of thousands of digits": entry((GOOD, 1)) | {GOOD.encode(): b"1" * 5000},
    "too few words": entry(("too few words", 1)),
    "a word more": entry((GOOD + " more", 1)),
    "order that is no id": entry(("z" * 32 + GOOD[32:], 1)),
    "key that is no digest": entry((GOOD[:33] + "z" * 16 + GOOD[49:], 1)),
    "attempt that is no text": entry((GOOD, 1)) | {b"\xff\xfe": b"2"},
    "empty attempt": entry((GOOD, 1)) | {b"": b"2"},
    "fan with a zero byte": entry((GOOD.replace("alice", "al\0ice"), 1)),
    "fan who can't be one": entry((GOOD.replace("alice", "-alice"), 1)),
    "fan with a long name": entry((GOOD.replace("alice", "a" * (limits.FAN_LENGTH_MAX + 1)), 1)),
    "channel with a capital": entry((GOOD.replace("web", "Web"), 1)),
    "long channel": entry((GOOD.replace("web", "w" * (limits.CHANNEL_LENGTH_MAX + 1)), 1)),
    "long lane": entry((GOOD.replace("public", "p" * 17), 1)),
    "line end": entry((GOOD + "\n", 1)),
    "two attempts in one and none in the other": entry((GOOD + "\n" + Attempts().line("bob"), 1), ("x", 2)),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_entry_has_a_fault(name: str) -> None:
    """Given an entry that Postgres could not keep / Then it has its fault and its content, no wins, no exception."""
    fields = BROKEN[name]
    read = parse_entry(b"5-0", fields)
    assert " " in read.fault, "it is said in words"
    assert read.wins == ()
    assert read.entry_id == "5-0"
    assert read.orders == max(0, len(fields) - 2)
    assert len(read.content) >= len(fields)


@given(st.dictionaries(st.binary(), st.binary()))
def test_nothing_raises(fields: dict[bytes, bytes]) -> None:
    """Given any bytes at all / Then reading does not raise, and what was read can be kept as text in Postgres."""
    read = parse_entry(b"5-0", fields)
    assert read.orders >= 0
    assert "\0" not in read.content + read.fault


def test_lines_of_a_fan() -> None:
    """Given two lines / Then they are read in order, live or not."""
    lines = b"%s %s 1 7 a 100\n%s %s 0 8 b 200" % (b"1" * 32, b"a" * 16, b"2" * 32, b"b" * 16)
    assert parse_lines(lines) == [
        BuyerLine("1" * 32, "a" * 16, live=True, unit=7, item="a", accepted_ms=100),
        BuyerLine("2" * 32, "b" * 16, live=False, unit=8, item="b", accepted_ms=200),
    ]
