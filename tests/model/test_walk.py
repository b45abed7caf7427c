"""Walks on the real server: as many as FLASHSALE_WALK_EXAMPLES says, from the seed FLASHSALE_WALK_SEED.

A deliberately broken script must not survive it: a guard whose removal no test notices guards nothing.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import HealthCheck, Phase, Verbosity, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from flashsale import scripts
from flashsale.embedded import Addresses
from flashsale.errors import SurroundingsError
from flashsale.outcomes import Outcome
from flashsale.scripts import Script, build
from flashsale.stores import open_redis
from tests.model.ground import Ground
from tests.model.walk import Walk
from tests.support import leaks, seeds
from tests.support.lua_text import read
from tests.support.servers import missing

pytestmark = [pytest.mark.servers, pytest.mark.timeout(0)]
STEPS = 40
BREAK_EXAMPLES = 300

BREAKAGES = {
    "oversell by one": (
        "purchase",
        "if not ranges[range] then return nil end",
        "if not ranges[range] then return unit end",
    ),
    "the same unit twice": (
        "purchase",
        "unit = unit + 1\n  return unit - 1",
        "unit = unit + 1\n  return last",
    ),
    "the rest of a range is lost": (
        "purchase",
        "if unit <= last then redis.call('LPUSH'",
        "if unit < last then redis.call('LPUSH'",
    ),
    "limit off by one": ("purchase", "if live >= limit", "if live > limit"),
    "limit forgotten within a batch": (
        "purchase",
        "lines_of[fan] = lines and (lines .. '\\n' .. line) or line",
        "local _ = line",
    ),
    "a repeated key wins twice": ("purchase", "if its_key == key then", "if its_key == '' then"),
    "a key for another item is told its win": ("purchase", "return KEY_REUSED, ''", "return WON_BEFORE, ''"),
    "returned orders are forgotten": ("purchase", "if returned > returned_max", "if returned > 99"),
    "paused sells": ("purchase", "if state == 'paused' then return PAUSED end", ""),
    "closed by the clock sells": ("purchase", " or now >= tonumber(plan[3])", ""),
    "opens early": (
        "purchase",
        "if state == 'loaded' and now < tonumber(plan[2]) then return NOT_OPEN end",
        "",
    ),
    "the outbox has no end": (
        "purchase",
        "if waiting + attempts > tonumber(plan[6]) then return WAIT end",
        "",
    ),
    "wins are not counted": ("purchase", "redis.call('HINCRBY', counts, 'outbox', wins)", ""),
    "give back twice": ("give_back", "elseif flag == '0' then", "elseif false then"),
    "a unit comes back to another item": ("give_back", "if its_item ~= item then", "if not its_item then"),
    "another unit comes back": ("give_back", "unit .. '-' .. unit", "'1-1'"),
    "returned units go last": ("give_back", "'LPUSH'", "'RPUSH'"),
    "a load is applied twice": ("add_stock", "redis.call('SADD', loads, load)", ""),
    "trimmed twice": (
        "trim",
        "if redis.call('XDEL', outbox, ARGV[i]) == 1 then",
        "redis.call('XDEL', outbox, ARGV[i])\n  do",
    ),
    "reserved twice": ("reserve", "if before then channel = before", "if false then channel = before"),
    "late news wins": (
        "set_sale",
        "tonumber(known[2]) > version then return STALE",
        "false then return STALE",
    ),
}


@contextmanager
def ground(addresses: Addresses, prefix: str, script: Callable[[str], Script]) -> Iterator[type[Walk]]:
    """A walk on the server with these scripts. Its keys are checked and deleted afterwards."""
    with asyncio.Runner() as runner:
        try:
            redis = runner.run(open_redis(addresses.redis_url))
        except SurroundingsError as trouble:
            missing(str(trouble))

        class Grounded(Walk):
            """The walk on this ground."""

        Grounded.ground = Ground(runner, redis, script, prefix)
        try:
            yield seed(seeds.walk_seed())(Grounded)
            assert runner.run(leaks.leaked(redis, prefix)) == []
        finally:
            runner.run(leaks.leaked(redis, prefix))
            runner.run(redis.aclose())


def walked(walk: type[Walk], *, examples: int, shrink: bool = True) -> None:
    """Make so many walks."""
    phases = [Phase.generate, *([Phase.shrink] if shrink else [])]
    run_state_machine_as_test(
        walk,
        settings=settings(
            max_examples=examples, stateful_step_count=STEPS, deadline=None, database=None, phases=phases,
            suppress_health_check=list(HealthCheck), print_blob=False, report_multiple_bugs=False,
            verbosity=Verbosity.normal if shrink else Verbosity.quiet,
        ),
    )  # fmt: skip


def test_server_and_model_walk_together(addresses: Addresses, sale_name: str) -> None:
    """Given random verbs / Then after each step the server is what the model is, and the walk has seen every answer."""
    with ground(addresses, sale_name, scripts.load) as walk:
        walked(walk, examples=seeds.walk_examples())
        seen = walk.ground.steps
    if seeds.walk_examples() < seeds.EXAMPLES:
        return
    wanted = {*read("purchase").header.codes, *read("reserve").header.codes}
    never = {Outcome.UNAVAILABLE.name, Outcome.RESERVATION_NOT_OPEN.name}
    assert wanted - never - set(seen) == set(), f"the walk does not get around; it saw {seen}"


def broken(name: str) -> Callable[[str], Script]:
    """The scripts, one of them broken on purpose. A breakage that finds nothing to break is no breakage."""
    script, was, becomes = BREAKAGES[name]
    source = read(script).source
    assert source.count(was) == 1, f"{name}: the script has changed; teach this test"
    changed = build(script, source.replace(was, becomes))
    return lambda asked: changed if asked == script else scripts.load(asked)


@pytest.mark.parametrize("name", BREAKAGES)
def test_the_walk_finds_what_is_broken(addresses: Addresses, sale_name: str, name: str) -> None:
    """Given a script that breaks a promise / When walked / Then the walk fails."""
    with ground(addresses, sale_name, broken(name)) as walk, pytest.raises(Exception) as found:  # noqa: PT011
        walked(walk, examples=BREAK_EXAMPLES, shrink=False)
    assert isinstance(found.value, AssertionError) or "user_script" in str(found.value), found.value
