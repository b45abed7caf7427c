"""Scripts on a server above its maxmemory, without their texts, and on a cluster that owns half of the slots."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.crc import key_slot
from redis.exceptions import OutOfMemoryError, ResponseError

from flashsale import outbox, stock
from flashsale.batch import key_of
from flashsale.fcode import Code
from flashsale.keys import Bucket
from flashsale.outcomes import Effect, Outcome
from flashsale.purchase import Purchases, attempt_line
from flashsale.sale import State
from flashsale.scripts import build
from tests.support.holdings import check, holdings
from tests.support.lua_text import names
from tests.support.samples import GENERATION, Attempts, bucket, order_of, sale
from tests.support.servers import private_valkey
from tests.support.verbs import Verbs

pytestmark = pytest.mark.servers
_SLOTS_OWNED = 8192


@pytest.fixture
async def private(tmp_path: Path) -> AsyncIterator[Redis]:
    """A server of the test's own."""
    with private_valkey(tmp_path) as server:
        async with Redis.from_url(server.url) as client:
            yield client


async def starve(redis: Redis) -> None:
    """From now on the server is above its maxmemory."""
    await redis.config_set("maxmemory-policy", "noeviction")
    await redis.config_set("maxmemory", 1)


async def test_above_maxmemory_taking_is_refused_whole_and_giving_back_goes_on(private: Redis) -> None:
    """Given a full server / Then purchase, reserve, add_stock are refused whole; give_back and trim do their work."""
    verbs, attempts = Verbs(private, bucket("full")), Attempts()
    await stock.tell_sale(private, sale("full"), create=True)
    await verbs.add_stock("a", "load", 1, 5)
    line = attempts.line("alice")
    assert await verbs.press("a", line) == [Outcome.WON]
    await starve(private)
    before = await holdings(private, verbs.bucket)
    with pytest.raises(OutOfMemoryError):
        await verbs.press("a", attempts.line("bob"))
    with pytest.raises(OutOfMemoryError):
        await verbs.reserve([0], 1, (1, 0))
    with pytest.raises(OutOfMemoryError):
        await verbs.add_stock("a", "more", 6, 9)
    with pytest.raises(OutOfMemoryError):
        await verbs.replace_unit("a", line, 1)
    assert await holdings(private, verbs.bucket) == before
    assert await verbs.give_back("a", (order_of(line), "alice")) == [Effect.APPLIED]
    assert await verbs.end_line("a", order_of(line), "alice", 1) is Effect.APPLIED_BEFORE
    assert await verbs.trim(*((entry.entry_id, entry.orders) for entry in before.entries)) == 1
    check(await holdings(private, verbs.bucket), loaded={"a": 5}, limit=1)


async def test_above_maxmemory_the_worker_can_still_land_and_ops_can_still_pause(private: Redis) -> None:
    """Given a full server / Then the lease that landing needs is renewed, and a pause or a close reaches the bucket.

    Only landing and trimming make room again: if they stop too, the sale can't recover by itself.
    """
    verbs = Verbs(private, bucket("full"))
    await stock.tell_sale(private, sale("full"), create=True)
    assert await verbs.lease("w1")
    await starve(private)
    assert await verbs.lease("w1")
    paused = sale("full", version=2, state=State.PAUSED)
    assert await stock.tell_sale(private, paused, create=False) == [Effect.APPLIED]


async def test_above_maxmemory_a_fan_is_told_to_wait(private: Redis) -> None:
    """Given a full server / When a fan presses / Then WAIT: nothing is decided, and it is no UNKNOWN."""
    await stock.tell_sale(private, sale("full"), create=True)
    await starve(private)
    purchases = Purchases(private)
    answer = await purchases.attempt(
        bucket=bucket("full"), item="a", fan="alice", channel="web", lane="public", key="k"
    )
    assert answer.outcome is Outcome.WAIT


async def test_a_server_that_forgot_the_scripts_is_given_them(private: Redis) -> None:
    """Given SCRIPT FLUSH / When a verb is used / Then it works all the same."""
    verbs = Verbs(private, bucket("flushed"))
    await stock.tell_sale(private, sale("flushed"), create=True)
    await verbs.add_stock("a", "load", 1, 5)
    await private.script_flush()
    assert await verbs.press("a", Attempts().line("alice")) == [Outcome.WON]


def owned() -> Bucket:
    """A bucket whose slot is in the half that the one-node cluster owns."""
    return next(b for b in (Bucket(f"s{n}", 0) for n in range(99)) if key_slot(b.sale_key.encode()) < _SLOTS_OWNED)


async def test_undeclared_keys_are_refused_on_a_cluster(tmp_path: Path) -> None:
    """Given a cluster of half the slots / Then every script runs there; one with an undeclared key is refused."""
    with private_valkey(tmp_path, cluster=True) as server:
        async with Redis.from_url(server.url) as client:
            verbs, attempts = Verbs(client, owned()), Attempts()
            await stock.tell_sale(client, sale(verbs.bucket.sale), create=True)
            assert await verbs.add_stock("a", "load", 1, 5) is Effect.APPLIED
            line = attempts.line("alice")
            assert await verbs.press("a", line) == [Outcome.WON]
            assert await verbs.give_back("a", (order_of(line), "alice")) == [Effect.APPLIED]
            assert await verbs.reserve([0, 7], 1, (1, 0), (2, 0)) == [(Outcome.RESERVATION_CLOSED, 0)] * 2
            assert await verbs.trim(("1-1", 1)) == 0
            assert await verbs.lease("w1")
            assert await verbs.mark_memory(short=False) is Effect.APPLIED_BEFORE
            assert await verbs.witness("nobody") == [[]]
            assert await stock.free_ranges(client, verbs.bucket, "a") == ([(1, 1), (2, 5)], 5)
            assert await outbox.lines_of(client, verbs.bucket, "nobody", generation=GENERATION) == []
            assert (await stock.facts(client, [verbs.bucket]))[0].loaded
            number, _, _, ranges = await verbs.take_units("a", 1, 2)
            assert await verbs.put_units(0, number, "a", ranges) is Effect.APPLIED
            assert await verbs.end_transfer(number) is Effect.APPLIED
            again = attempts.line("bob")
            assert await verbs.press("a", again) == [Outcome.WON]
            assert await verbs.replace_unit("a", again, 1, 2) == (Effect.APPLIED, 3)
            assert await verbs.end_line("a", order_of(again), "bob", 3) is Effect.APPLIED
            assert await verbs.set_batch(1, generation=GENERATION) is Effect.APPLIED
            code = attempt_line(order="1" * 32, key=key_of(Code(1, 0)), fan="alice", channel="web", lane="fcode")
            assert await verbs.redeem("a", 1, code) == [(Outcome.WON, 2)]
            assert await verbs.skip_transfers(1, 9) is Effect.APPLIED
            assert await verbs.fence("7") is Effect.APPLIED
            assert await verbs.empty_bucket("7", ["a", "b"]) is Effect.APPLIED
            assert await verbs.rebuild_buyers("7", "bob", "lines") is Effect.APPLIED
            assert await verbs.rebuild_loads("7", "load") is Effect.APPLIED
            assert await verbs.rebuild_codes("7", 1, 0) is Effect.APPLIED
            assert await verbs.rebuild_free("7", "a", 0, "1-5") is Effect.APPLIED
            assert await verbs.unfence("7", wins=0) is Effect.APPLIED
            foreign = next(f"k{n}" for n in range(99) if key_slot(f"k{n}".encode()) >= _SLOTS_OWNED)
            body = f"return redis.call('GET', '{foreign}')"
            sly = build("sly", f"#!lua\n-- KEYS: sale\n-- ARGV: a\n-- RETURNS: x\n{body}\n")
            with pytest.raises(ResponseError, match=r"(?i)slot|non local"):
                await sly.at([verbs.bucket.sale_key])(client)


def test_every_script_was_run_on_the_cluster() -> None:
    """Given a new script / Then it has a line in the test above."""
    assert set(names()) == {
        "add_stock", "empty_bucket", "end_line", "end_transfer", "facts", "fence", "free", "give_back", "lease",
        "lines", "mark_memory", "purchase", "put_units", "rebuild_buyers", "rebuild_codes", "rebuild_free",
        "rebuild_loads", "redeem", "replace_unit", "reserve", "set_batch", "set_sale", "skip_transfers", "take_units",
        "trim", "unfence", "witness",
    }  # fmt: skip
