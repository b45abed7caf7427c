"""What stands in the outbox is read as it was written; what can't be read comes back with its fault."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashsale.outbox import BuyerLine, parse_entry, parse_lines
from tests.support.samples import Attempts, order_of


def entry(*wins: tuple[str, int], at_ms: int = 1_700_000_000_000, item: str = "a") -> dict[bytes, bytes]:
    """The fields of an entry as the script writes it."""
    fields = {b"at_ms": b"%d" % at_ms, b"item": item.encode()}
    return fields | {attempt.encode(): b"%d" % unit for attempt, unit in wins}


@given(
    st.lists(st.tuples(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.:@|+=-]{0,63}", fullmatch=True), st.integers(1, 10**7)))
)
def test_wins_are_read_as_written(wins: list[tuple[str, int]]) -> None:
    """Given any wins / Then each comes back with its fan, unit, channel, lane and time, in order."""
    attempts = Attempts()
    lines = [(attempts.line(fan, channel="wechat"), unit) for fan, unit in wins]
    read = parse_entry(b"5-0", entry(*lines))
    assert (read.entry_id, read.fault, read.orders) == ("5-0", "", len(wins))
    assert [(win.order, win.fan, win.unit, win.channel, win.lane, win.item, win.accepted_ms) for win in read.wins] == [
        (order_of(line), fan, unit, "wechat", "public", "a", 1_700_000_000_000)
        for (line, unit), (fan, _) in zip(lines, wins, strict=True)
    ]
    assert all(win.order_id.hex == win.order for win in read.wins)


GOOD = Attempts().line("alice")


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {b"item": b"a", GOOD.encode(): b"1"},
        {b"at_ms": b"1", GOOD.encode(): b"1"},
        {b"at_ms": b"noon", b"item": b"a"},
        {b"at_ms": b"1", b"item": b"\xff"},
        entry((GOOD, 1)) | {GOOD.encode(): b"one"},
        entry(("too few words", 1)),
        entry((GOOD + " more", 1)),
        entry(("z" * 32 + " k alice web public", 1)),
        entry((GOOD, 1)) | {b"\xff\xfe": b"2"},
        entry((GOOD, 0)),
        entry((GOOD, -5)),
        entry((GOOD, 2**31)),
        entry((GOOD.replace("alice", "al\x00ice"), 1)),
    ],
)
def test_a_broken_entry_has_a_fault(fields: dict[bytes, bytes]) -> None:
    """Given an entry that Postgres could not keep / Then it has its fault and its content, no wins, no exception."""
    read = parse_entry(b"5-0", fields)
    assert read.fault
    assert read.wins == ()
    assert read.entry_id == "5-0"
    assert len(read.content) >= len(fields)


@given(st.dictionaries(st.binary(), st.binary()))
def test_nothing_raises(fields: dict[bytes, bytes]) -> None:
    """Given any bytes at all / Then reading does not raise."""
    assert parse_entry(b"5-0", fields).orders >= 0


def test_lines_of_a_fan() -> None:
    """Given two lines / Then they are read in order, live or not."""
    lines = b"%s %s 1 7 a 100\n%s %s 0 8 b 200" % (b"1" * 32, b"a" * 16, b"2" * 32, b"b" * 16)
    assert parse_lines(lines) == [
        BuyerLine("1" * 32, "a" * 16, live=True, unit=7, item="a", accepted_ms=100),
        BuyerLine("2" * 32, "b" * 16, live=False, unit=8, item="b", accepted_ms=200),
    ]
