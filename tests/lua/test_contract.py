"""Holds each script's header and body together, without a server.

Checked statically: first line, header, names of keys and arguments, codes, the commands used and the keys they are
given, that malformed arguments are refused before the first write, that outside of loops no refusal follows one, and
that a repeat which somebody may wait for counts itself and writes nothing else.
Not checked: writes inside a loop that precede a later turn's refusal (give_back and reserve decide one by one, each
turn whole in itself), and whether a command can fail in the middle; the tests beside this file and the model walk see
to those.
"""

import re
from typing import Final

import pytest

from flashsale.outcomes import Effect, Outcome
from flashsale.scripts import build, code_of, load, parse_header
from tests.support.lua_text import READS, WRITES, Text, names, read

WITHOUT_MEMORY: Final = {
    "empty_bucket", "end_line", "end_transfer", "fence", "give_back", "lease", "mark_memory", "set_sale",
    "skip_transfers", "take_units", "trim", "unfence",
}  # fmt: skip
# Whoever notes what these did, tells it or goes on from it waits for the replicas behind them.
WAITED_FOR: Final = {"add_stock", "give_back", "purchase", "put_units", "redeem", "take_units"}
# A repeat that counts itself and returns: the one write after which a script may still say that nothing else is done.
_REPEAT: Final = re.compile(
    r"^if .+ then\n  redis\.call\('HINCRBY', counts, 'told', 1\)\n  return (APPLIED_BEFORE|open)\nend$", re.MULTILINE
)
# Of a batch the repeats are counted when nothing else was written.
_REPEATS: Final = re.compile(r"\nelseif (\w+) > 0 then\s+redis\.call\('HINCRBY', counts, 'told', \1\)\s+end\n")
_FUNCTION_OR_LOOP: Final = re.compile(r"^(?:local function|for) .*?^end$", re.MULTILINE | re.DOTALL)
CODES: Final = {*Outcome.__members__, *Effect.__members__}
# What a word of the header may be called in the body: the plural of a repeated argument, the place of its first key.
_ASSIGNED_KEYS: Final = re.compile(r"^local ([\w, ]+) = (KEYS\[1\][^\n]*)$", re.MULTILINE)


@pytest.fixture(params=names())
def text(request: pytest.FixtureRequest) -> Text:
    """Each script in turn."""
    return read(request.param)


def test_there_are_scripts() -> None:
    """Given the folder / Then the verbs are there, and all of them load."""
    assert {"purchase", "reserve", "give_back", "add_stock", "set_sale", "trim", "lease"} <= set(names())
    assert all(load(name).name == name for name in names())


def test_the_first_line_says_what_it_may_do(text: Text) -> None:
    """Then a script that takes is refused at maxmemory; one that frees, stops a sale or only reads runs then too."""
    writes = {call.command for call in text.calls} & WRITES
    flags = " flags=allow-oom" if text.name in WITHOUT_MEMORY else "" if writes else " flags=no-writes"
    assert text.first_line == f"#!lua{flags}"


def test_the_header_says_what_it_is_and_about_the_second_time(text: Text) -> None:
    """Then the second line begins with the script's name, and a line says whether it is safe to repeat."""
    lines = text.source.splitlines()
    assert lines[1].startswith(f"-- {text.name}: ")
    assert any(line.startswith("-- Safe to repeat") for line in lines)


def test_keys_have_the_headers_names_in_its_order(text: Text) -> None:
    """Then the body names its keys as the header does; a repeated last key is the number of those before it."""
    assignment = _ASSIGNED_KEYS.search(text.code)
    assert assignment, "the keys are named in one line: local a, b = KEYS[1], KEYS[2]"
    words, values = assignment[1].split(", "), assignment[2].split(", ")
    assert words == [key.removesuffix("...") for key in text.header.keys]
    for place, (key, value) in enumerate(zip(text.header.keys, values, strict=True), start=1):
        assert value == (f"{place - 1}" if key.endswith("...") else f"KEYS[{place}]")
    used = re.findall(r"KEYS\[([^\]]+)\]", text.code.replace(assignment[0], ""))
    repeated = [key.removesuffix("...") for key in text.header.keys if key.endswith("...")]
    assert all(any(place.startswith(f"{name} + ") for name in repeated) for place in used)


def test_every_command_is_given_a_named_key(text: Text) -> None:
    """Then each command but TIME gets one of the header's keys, or one taken from the repeated ones."""
    keys = {key.removesuffix("...") for key in text.header.keys} | {"key"}
    assert text.calls
    assert [call for call in text.calls if call.command != "TIME" and call.key not in keys] == []
    if "key" in {call.key for call in text.calls}:
        assert re.search(r"local key(, \w+)* = KEYS\[\w+ \+ \w+\]", text.code)


def test_every_argument_of_the_header_is_used(text: Text) -> None:
    """Then each word of ARGV stands in the body: by its name, or ARGV is walked for a repeated one."""
    walked = re.search(r"ARGV\[i( [+-] \d+)?\]|unpack\(ARGV, \d+\)", text.code)
    for word in text.header.args:
        if word.endswith("..."):
            assert walked, f"{word} is never read"
        else:
            assert text.words.count(word) >= 2, f"{word} is named and never used"
    places = [int(place) for place in re.findall(r"ARGV\[(\d+)\]", text.code)]
    fixed = [word for word in text.header.args if not word.endswith("...")]
    assert sorted(set(places)) == list(range(1, len(fixed) + 1))


def test_codes_are_those_declared(text: Text) -> None:
    """Then the codes in the body are the header's, all of them known, none spelled as a number."""
    used = {word for word in text.words if word.isupper() and word not in {"KEYS", "ARGV", "LINE"}}
    assert used == set(text.header.codes)
    assert set(text.header.codes) <= CODES
    assert len(set(text.header.codes)) == len(text.header.codes)


def test_only_known_commands(text: Text) -> None:
    """Then there is no scan, no KEYS, nothing random, no pcall, no command whose name is made up at run time."""
    assert {call.command for call in text.calls} <= READS | WRITES
    assert text.code.count("redis.") == len(text.calls) + len(_malformed(text))
    assert not {"pcall", "random", "loadstring", "setmetatable", "os", "while", "repeat"} & set(text.words)


def test_time_is_the_servers(text: Text) -> None:
    """Then a script that knows the time has it from TIME; none is told it, except what happened before."""
    assert not {word for word in text.header.args if re.search(r"now|time", word)}
    if re.search(r"\bnow\b", text.code):
        assert "TIME" in {call.command for call in text.calls}


def test_no_refusal_of_all_after_a_write(text: Text) -> None:
    """Then, outside of loops and functions, no "return" with another code follows the first write.

    The count of a repeat is none of those writes when it stands alone with its own return.
    """
    repeats = {line for repeat in _REPEAT.finditer(text.code) for line in _lines_of(text, repeat)}
    writes = [call.line for call in text.calls if call.command in WRITES and call.line not in repeats]
    if not writes:
        return
    inside = {line for block in _FUNCTION_OR_LOOP.finditer(text.code) for line in _lines_of(text, block)}
    lines = enumerate(text.code.splitlines())
    returns = [number for number, line in lines if re.search(r"\breturn\b", line) and number not in inside]
    assert [number for number in returns if number > min(writes)] == returns[-1:]


def test_a_repeat_that_somebody_waits_for_counts_itself(text: Text) -> None:
    """Then it is counted in one place: alone with its return, or, of a batch, only when nothing else was written.

    WAIT covers what its own connection wrote: a repeat over a new one would prove nothing about the first write.
    """
    counted = [*_REPEAT.finditer(text.code), *_REPEATS.finditer(text.code)]
    assert len(counted) == text.code.count("'told'") == (text.name in WAITED_FOR)


def _lines_of(text: Text, found: "re.Match[str]") -> range:
    """The lines of the code that this part of it stands in."""
    first = text.code[: found.start()].count("\n")
    return range(first, first + found[0].count("\n") + 1)


def test_what_is_malformed_is_refused_before_any_write(text: Text) -> None:
    """Then an error is returned, says "ERR malformed …", and stands before the first write, in loops too."""
    writes = [call.line for call in text.calls if call.command in WRITES]
    assert text.code.count("error_reply") == len(_malformed(text))
    assert not writes or all(number < min(writes) for number in _malformed(text))


def _malformed(text: Text) -> list[int]:
    """The lines that refuse malformed arguments as they should."""
    lines = enumerate(text.code.splitlines())
    return [number for number, line in lines if re.search(r"\breturn redis\.error_reply\('ERR malformed \w", line)]


def test_it_ends_by_returning(text: Text) -> None:
    """Then the last line returns what the header says, never a fraction, a table with names or nothing."""
    assert text.source.rstrip().splitlines()[-1].startswith("return ")
    assert text.source.endswith("\n")
    assert "return nil" not in re.sub(r"local function.*?\nend", "", text.code, flags=re.DOTALL)


def test_codes_become_local_names_and_lines_stay(text: Text) -> None:
    """When it is loaded / Then the codes are the numbers of outcomes.py, and an error's line is the file's line."""
    sent = load(text.name).text
    assert len(sent.splitlines()) == len(text.source.splitlines())
    if text.header.codes:
        numbers = ", ".join(str(code_of(code)) for code in text.header.codes)
        assert f"\nlocal {', '.join(text.header.codes)} = {numbers}\n" in sent


def test_a_header_that_lacks_a_line_is_refused() -> None:
    """Given a script without a header / Then it can't be built; an unknown code neither."""
    with pytest.raises(ValueError, match="ARGV, RETURNS"):
        parse_header("#!lua\n-- KEYS: sale\nreturn 1\n")
    with pytest.raises(KeyError):
        build("x", "#!lua\n-- KEYS: sale\n-- ARGV: a\n-- RETURNS: code\n-- CODES: NEVER_HEARD_OF\nreturn 1\n")


def test_a_call_with_other_keys_is_refused_before_it_leaves() -> None:
    """Given the wrong number of keys / Then ValueError; repeated keys may be any number."""
    with pytest.raises(ValueError, match="trim takes the keys counts outbox"):
        load("trim").at(["one"])
    load("reserve").at(["sale", "counts", "slice", "slice", "slice"])
    with pytest.raises(ValueError, match="reserve takes"):
        load("reserve").at(["sale", "counts"])
