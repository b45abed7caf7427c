"""Walks on the real server: as many as FLASHSALE_WALK_EXAMPLES says, from the seed FLASHSALE_WALK_SEED.

A deliberately broken script must not survive it: a guard whose removal no test notices guards nothing.
"""

import asyncio
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import HealthCheck, Phase, Verbosity, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from flashsale import scripts
from flashsale.embedded import Addresses
from flashsale.errors import SurroundingsError
from flashsale.outcomes import Effect, Outcome
from flashsale.scripts import Script, build
from flashsale.stores import open_redis
from tests.model.base import Fate
from tests.model.ground import Ground
from tests.model.walk import Walk
from tests.support import leaks, seeds
from tests.support.lua_text import read
from tests.support.servers import missing

pytestmark = [pytest.mark.servers, pytest.mark.timeout(0)]
STEPS = 40
BREAK_EXAMPLES = 600
CUT_SEED = 7
STEPS_SHOWN_MAX = STEPS // 2
FURTHER_MAX = 4
RARE = {"a tried unit that is passed over is lost"}  # seen only where whole ranges were tried before
VERBS = (
    "set_sale", "purchase", "give_back", "add_stock", "trim", "reserve", "take_units", "put_units", "end_transfer",
    "replace_unit", "end_line", "fence",
)  # fmt: skip

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
        "if tonumber(counted[1] or '0') + attempts > tonumber(plan[6]) then return WAIT end",
        "",
    ),
    "wins are not counted": ("purchase", "redis.call('HINCRBY', counts, 'outbox', wins)", ""),
    "give back twice": ("give_back", "elseif flag == '0' then", "elseif false then"),
    "a unit comes back to another item": ("give_back", "if its_item ~= item then", "if not its_item then"),
    "another unit comes back": ("give_back", "unit .. '-' .. unit", "'1-1'"),
    "held units are free": ("give_back", "if place == 'free' then\n", "if place then\n"),
    "free units are held": ("give_back", "if place == 'free' then\n", "if place == 'hold' then\n"),
    "a held unit may come back again": (
        "give_back",
        "string.sub(lines, 1, from + 49) .. '0'",
        "string.sub(lines, 1, from + 49) .. (place == 'hold' and '1' or '0')",
    ),
    "returned units go last": ("give_back", "'LPUSH'", "'RPUSH'"),
    "a load is applied twice": ("add_stock", "redis.call('SADD', loads, load)", ""),
    "trimmed twice": (
        "trim",
        "if redis.call('XDEL', outbox, ARGV[i]) == 1 then",
        "redis.call('XDEL', outbox, ARGV[i])\n  do",
    ),
    "reserved twice": ("reserve", "if before then channel = before", "if false then channel = before"),
    "a transfer leaves twice": ("take_units", "if open[1] then\n", "if false then\n"),
    "what is left of a range leaves too": (
        "take_units",
        "if rest then redis.call('RPUSH'",
        "if false then redis.call('RPUSH'",
    ),
    "a transfer comes in twice": (
        "put_units",
        "if tonumber(redis.call('HGET', received, from) or '0') >= number then\n",
        "if false then\n",
    ),
    "a return told again writes nothing": ("give_back", "elseif before > 0 then", "elseif false then"),
    "returns are not counted": ("give_back", "'returned', applied", "'returned', 0"),
    "a load told again writes nothing": ("add_stock", "redis.call('HINCRBY', counts, 'told', 1)", ""),
    "loads are not counted": ("add_stock", "redis.call('HINCRBY', counts, 'loads', 1)", ""),
    "a transfer told again writes nothing": ("take_units", "redis.call('HINCRBY', counts, 'told', 1)", ""),
    "units put in again write nothing": ("put_units", "redis.call('HINCRBY', counts, 'told', 1)", ""),
    "another transfer is forgotten": ("end_transfer", "if open[1] ~= number", "if not open[1]"),
    "a replaced order gets a unit twice": (
        "replace_unit",
        "if not tried[tonumber(unit)] then return APPLIED_BEFORE end",
        "",
    ),
    "a tried unit is given again": ("replace_unit", "if not tried[candidate] then", "do"),
    "a tried unit that is passed over is lost": (
        "replace_unit",
        "for i = popped - 1, 1, -1 do back[#back + 1] = ranges[i] end",
        "",
    ),
    "a replaced order is a second win": (
        "replace_unit",
        "redis.call('HINCRBY', counts, 'outbox', 1)",
        "redis.call('HINCRBY', counts, 'outbox', 1)\n  redis.call('HINCRBY', counts, 'wins', 1)",
    ),
    "a forgotten order passes the limit": ("replace_unit", "return live >= tonumber(plan[1])", "return false"),
    "an order that is over comes to life": ("replace_unit", "if flag == '0' then return STALE end", ""),
    "another's unit is free": ("end_line", "if its_unit ~= unit then", "do"),
    "a line ends twice": ("end_line", "if flag == '0' then return APPLIED_BEFORE end", ""),
    "what was cut off comes in again": (
        "skip_transfers",
        "redis.call('HSET', received, from, number)",
        "",
    ),
    "a fenced bucket sells": ("purchase", "if counted[2] then return UNAVAILABLE end", ""),
    "a fenced bucket is given units": (
        "put_units",
        "if redis.call('HEXISTS', counts, 'fence') == 1 then return FENCED end",
        "",
    ),
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
            yield Grounded
            assert runner.run(leaks.leaked(redis, prefix)) == []
        finally:
            runner.run(leaks.leaked(redis, prefix))
            runner.run(redis.aclose())


def walked(walk: type[Walk], *, examples: int, start: int | None = None, shrink: bool = True, further: int = 0) -> None:
    """Make so many walks. One that fails is cut down to the shortest that does; its notes say how to see it again.

    start: the seed, else that of the run; further: added to it, for walks beside those that were made.
    """
    start = (seeds.walk_seed() if start is None else start) + further
    phases = [Phase.generate, *([Phase.shrink] if shrink else [])]
    try:
        run_state_machine_as_test(
            seed(start)(walk),
            settings=settings(
                max_examples=examples, stateful_step_count=STEPS, deadline=None, database=None, phases=phases,
                suppress_health_check=list(HealthCheck), print_blob=False, report_multiple_bugs=False,
                verbosity=Verbosity.normal if shrink else Verbosity.quiet,
            ),
        )  # fmt: skip
    except BaseException as failed:
        given = f"{seeds.ENV}={start} {seeds.EXAMPLES_ENV}={examples}"
        failed.add_note(f"To see this walk again: {given} .venv/bin/pytest tests/model/test_walk.py -k together")
        raise


def test_server_and_model_walk_together(addresses: Addresses, sale_name: str) -> None:
    """Given random verbs / Then after each step the server is what the model is, and the walk has seen every answer."""
    wanted = {*read("purchase").header.codes, *read("reserve").header.codes}
    wanted |= {f"{verb}, {fate.value}" for verb in VERBS for fate in Fate} | {
        "asked again",
        "repeated",
        "put_units again",
        "replaced twice",
        "recovered",
        *(f"replace_unit {code}" for code in read("replace_unit").header.codes),
    }
    never = {Outcome.RESERVATION_NOT_OPEN.name, f"replace_unit {Effect.NO_SUCH_ORDER.name}"}
    with ground(addresses, sale_name, scripts.load) as walk:
        seen = walk.ground.steps
        # Three hundred walks may miss a rare one; then there are more of them, until all was seen.
        for further in range(FURTHER_MAX):
            walked(walk, examples=seeds.walk_examples(), shrink=seeds.walk_shrinks(), further=further)
            if seeds.walk_examples() < seeds.EXAMPLES or wanted - never <= set(seen):
                return
    assert wanted - never - set(seen) == set(), f"the walk does not get around; it saw {seen}"


def broken(name: str) -> Callable[[str], Script]:
    """The scripts, one of them broken on purpose. A breakage that finds nothing to break is no breakage."""
    script, was, becomes = BREAKAGES[name]
    source = read(script).source
    assert source.count(was) == 1, f"{name}: the script has changed; teach this test"
    changed = build(script, source.replace(was, becomes))
    return lambda asked: changed if asked == script else scripts.load(asked)


def walked_on(walk: type[Walk], *, times: int) -> None:
    """So many walks, each as long as those for what is broken."""
    for further in range(times):
        walked(walk, examples=BREAK_EXAMPLES, shrink=False, further=further)


@pytest.mark.breaks
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.timeout(240 if name in RARE else 60)) for name in BREAKAGES],
)
def test_the_walk_finds_what_is_broken(addresses: Addresses, sale_name: str, name: str) -> None:
    """Given a script that breaks a promise / When walked / Then the walk fails, within a minute unless it is rare."""
    with ground(addresses, sale_name, broken(name)) as walk, pytest.raises(Exception) as found:  # noqa: PT011
        walked_on(walk, times=FURTHER_MAX if name in RARE else 1)
    assert isinstance(found.value, AssertionError) or "user_script" in str(found.value), found.value


@pytest.mark.breaks
@pytest.mark.parametrize("name", ["give back twice", "oversell by one"])
def test_a_walk_that_fails_is_cut_short_and_can_be_seen_again(addresses: Addresses, sale_name: str, name: str) -> None:
    """Given a broken script / When walked / Then what is shown is a walk of few steps, and a line that repeats it. From
    one seed: how long it takes and where it ends is the shrinker's luck, and no part of what is promised."""
    with ground(addresses, sale_name, broken(name)) as walk, pytest.raises(AssertionError) as found:
        walked(walk, examples=BREAK_EXAMPLES, start=CUT_SEED)
    steps = [note for note in found.value.__notes__ if re.match(r"state\.(?!every_unit|teardown)", note)]
    assert 1 <= len(steps) <= STEPS_SHOWN_MAX, found.value.__notes__
    assert f"{seeds.ENV}={CUT_SEED} " in found.value.__notes__[-1]
