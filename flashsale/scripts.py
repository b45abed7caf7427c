"""Loads the Lua scripts of flashsale/lua and calls them.

A script's header is its signature: KEYS and ARGV are parsed from it, a call with other keys is refused before it
leaves the process, and the line CODES becomes the local names of those codes, so that no number is spelled twice.
"""

import re
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha1
from importlib.resources import files
from typing import Any, Protocol

from redis.exceptions import NoScriptError

from flashsale.outcomes import Effect, Outcome

_HEADER_LINE = re.compile(r"^-- (KEYS|ARGV|RETURNS|CODES):(?: (.*))?$")
_VARIADIC = "..."


class Commands(Protocol):
    """What a script needs of a client: the one coroutine that sends a command."""

    def execute_command(self, *args: Any, **options: Any) -> Awaitable[Any]: ...


class CommandsInRow(Commands, Protocol):
    """A client that can also send commands right behind each other over one connection."""

    def execute_together(self, *commands: Any) -> Awaitable[list[Any]]: ...


@dataclass(frozen=True, slots=True)
class Header:
    """The parsed header of a script. The last key or argument may end in "...", for any number of them."""

    keys: tuple[str, ...]
    args: tuple[str, ...]
    returns: str
    codes: tuple[str, ...]

    def takes_keys(self, number: int) -> bool:
        """Whether a call with so many keys fits the header."""
        if self.keys[-1].endswith(_VARIADIC):
            return number >= len(self.keys)
        return number == len(self.keys)


@dataclass(frozen=True, slots=True)
class Script:
    """One verb: its text as sent to the server, the SHA-1 it is known by there, and its signature."""

    name: str
    text: str
    sha: str
    header: Header

    def at(self, keys: Sequence[str]) -> "ScriptAt":
        """This script over these keys. Raises ValueError when the keys don't fit the header."""
        if not self.header.takes_keys(len(keys)):
            raise ValueError(f"{self.name} takes the keys {' '.join(self.header.keys)}, not {len(keys)} keys")
        return ScriptAt(script=self, prefix=(str(len(keys)), *keys))


@dataclass(frozen=True, slots=True)
class ScriptAt:
    """A script bound to its keys, made once and called many times."""

    script: Script
    prefix: tuple[str, ...]

    async def __call__(self, client: Commands, *args: str | int) -> Any:
        """Run it once; a server that doesn't know the script (restarted, flushed, failed over) is given the text.

        Raises what the client raises; a ResponseError that is not NOSCRIPT means that nothing was written.
        """
        try:
            return await client.execute_command("EVALSHA", self.script.sha, *self.prefix, *args)
        except NoScriptError:
            return await client.execute_command("EVAL", self.script.text, *self.prefix, *args)

    async def then(self, client: CommandsInRow, after: Sequence[Sequence[str | int]], *args: str | int) -> list[Any]:
        """Run it, and commands without a key right behind it over the same connection; all replies in order.

        Raises what the script's call raises. A refusal of another one stands in its place as an exception.
        """
        replies = await client.execute_together(("EVALSHA", self.script.sha, *self.prefix, *args), *after)
        if isinstance(replies[0], NoScriptError):
            replies = await client.execute_together(("EVAL", self.script.text, *self.prefix, *args), *after)
        if isinstance(replies[0], Exception):
            raise replies[0]
        return replies


def parse_header(source: str) -> Header:
    """The signature that stands in the first comment lines. Raises ValueError when a line is missing."""
    found: dict[str, str] = {}
    for line in source.splitlines():
        if match := _HEADER_LINE.match(line):
            found[match[1]] = match[2] or ""
    missing = {"KEYS", "ARGV", "RETURNS"} - found.keys()
    if missing:
        raise ValueError(f"the header lacks {', '.join(sorted(missing))}")
    split = {name: tuple(found.get(name, "").split()) for name in ("KEYS", "ARGV", "CODES")}
    return Header(keys=split["KEYS"], args=split["ARGV"], returns=found["RETURNS"], codes=split["CODES"])


def code_of(name: str) -> int:
    """The number of an Outcome or Effect. Raises KeyError for a name that is neither."""
    return Outcome[name].value if name in Outcome.__members__ else Effect[name].value


def build(name: str, source: str) -> Script:
    """A script from its source: the line CODES is replaced by local definitions, all else stays line by line."""
    header = parse_header(source)
    text = source
    if header.codes:
        values = ", ".join(str(code_of(code)) for code in header.codes)
        text = re.sub(r"^-- CODES: .*$", f"local {', '.join(header.codes)} = {values}", source, flags=re.MULTILINE)
    return Script(name=name, text=text, sha=sha1(text.encode()).hexdigest(), header=header)  # noqa: S324


@cache
def load(name: str) -> Script:
    """The script flashsale/lua/<name>.lua. Raises FileNotFoundError."""
    return build(name, (files("flashsale") / "lua" / f"{name}.lua").read_text(encoding="utf-8"))
