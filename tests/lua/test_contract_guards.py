"""The contract finds what is broken: for each rule a script that breaks it, which the walk might not notice."""

from collections.abc import Callable

import pytest

from flashsale.scripts import parse_header
from tests.lua import test_contract as contract
from tests.support.lua_text import Text, read

Rule = Callable[[Text], None]

BREAKAGES: dict[str, tuple[Rule, str, str, str]] = {
    "no first line": (contract.test_the_first_line_says_what_it_may_do, "purchase", "#!lua\n", "\n"),
    "a taker that runs at maxmemory": (
        contract.test_the_first_line_says_what_it_may_do, "reserve", "#!lua\n", "#!lua flags=allow-oom\n",
    ),
    "a sale that can't be paused at maxmemory": (
        contract.test_the_first_line_says_what_it_may_do, "set_sale", "#!lua flags=allow-oom\n", "#!lua\n",
    ),
    "nothing about the second time": (
        contract.test_the_header_says_what_it_is_and_about_the_second_time, "trim", "-- Safe to repeat", "-- Perhaps",
    ),
    "keys in another order": (
        contract.test_keys_have_the_headers_names_in_its_order, "trim", "KEYS: counts outbox", "KEYS: outbox counts",
    ),
    "two keys that change places": (
        contract.test_keys_have_the_headers_names_in_its_order, "give_back", "KEYS[1], KEYS[2]", "KEYS[2], KEYS[1]",
    ),
    "a key made up in the script": (
        contract.test_every_command_is_given_a_named_key, "add_stock", "'SADD', loads", "'SADD', counts .. 'x'",
    ),
    "a key that is a text": (
        contract.test_every_command_is_given_a_named_key, "trim", "'XDEL', outbox", "'XDEL', 'fs:x'",
    ),
    "an argument that nobody reads": (
        contract.test_every_argument_of_the_header_is_used, "lease", "ARGV: holder", "ARGV: why holder",
    ),
    "a code that is not declared": (contract.test_codes_are_those_declared, "give_back", "= NO_SUCH_ORDER", "= STALE"),
    "a code that is declared for nothing": (
        contract.test_codes_are_those_declared, "add_stock", "CODES: APPLIED", "CODES: STALE APPLIED",
    ),
    "a scan": (contract.test_only_known_commands, "lease", "'GET', lease", "'KEYS', lease"),
    "a command with a made-up name": (contract.test_only_known_commands, "lease", "'GET', lease", "name, lease"),
    "a time that the caller gives": (contract.test_time_is_the_servers, "lease", "ARGV: holder", "ARGV: now_ms holder"),
    "a refusal after a write": (
        contract.test_no_refusal_of_all_after_a_write, "add_stock",
        "redis.call('SADD', loads, load)\n", "redis.call('SADD', loads, load)\nif to < from then return STALE end\n",
    ),
    "a refusal after a write, in a block": (
        contract.test_no_refusal_of_all_after_a_write, "add_stock",
        "redis.call('SADD', loads, load)\n",
        "redis.call('SADD', loads, load)\nif to < from then\n  return APPLIED_BEFORE\nend\n",
    ),
    "a repeat that writes more than its count": (
        contract.test_no_refusal_of_all_after_a_write, "add_stock",
        "'told', 1)\n", "'told', 1)\n  redis.call('SADD', loads, load)\n",
    ),
    "a repeat that writes nothing": (
        contract.test_a_repeat_that_somebody_waits_for_counts_itself, "put_units",
        "  redis.call('HINCRBY', counts, 'told', 1)\n", "",
    ),
    "a repeat that writes more": (
        contract.test_a_repeat_that_somebody_waits_for_counts_itself, "take_units",
        "'told', 1)\n", "'told', 1)\n  redis.call('DEL', transfers)\n",
    ),
    "a first time that counts as a repeat": (
        contract.test_a_repeat_that_somebody_waits_for_counts_itself, "give_back",
        "elseif before > 0 then", "end\nif before > 0 then",
    ),
    "a malformed argument found after a write": (
        contract.test_what_is_malformed_is_refused_before_any_write, "add_stock",
        "redis.call('SADD', loads, load)\n",
        "redis.call('SADD', loads, load)\nif to < from then return redis.error_reply('ERR malformed range') end\n",
    ),
    "an error that is made and not returned": (
        contract.test_what_is_malformed_is_refused_before_any_write, "trim",
        "return redis.error_reply", "redis.error_reply",
    ),
    "an error in other words": (
        contract.test_what_is_malformed_is_refused_before_any_write, "give_back", "'ERR malformed return", "'NO return",
    ),
    "a log in the server": (
        contract.test_only_known_commands, "trim", "local trimmed = 0", "local trimmed = 0 redis.log(1, 'x')",
    ),
    "no answer at the end": (contract.test_it_ends_by_returning, "lease", "\nreturn 1\n", "\n"),
}  # fmt: skip


@pytest.mark.breaks
@pytest.mark.parametrize("name", BREAKAGES)
def test_the_contract_finds_what_is_broken(name: str) -> None:
    """Given a script that breaks one rule / Then that rule's test fails, which holds for the script as it is."""
    rule, script, was, becomes = BREAKAGES[name]
    text = read(script)
    rule(text)
    assert was in text.source, f"{name}: the script has changed; teach this test"
    source = text.source.replace(was, becomes, 1)
    with pytest.raises(AssertionError):
        rule(Text(script, source, parse_header(source)))
