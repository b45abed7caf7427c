"""Reads a script's text: its code without comments and texts, and what it calls. For the static contract."""

import re
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

from flashsale.scripts import Header, parse_header

READS: Final = {
    "EXISTS", "GET", "GETBIT", "HEXISTS", "HGET", "HGETALL", "HLEN", "HMGET", "LINDEX", "LLEN", "LRANGE", "SCARD",
    "SISMEMBER", "SMISMEMBER", "TIME", "XLEN",
}  # fmt: skip
WRITES: Final = {
    "DEL", "HDEL", "HINCRBY", "HSET", "LPOP", "LPUSH", "RPOP", "RPUSH", "SADD", "SET", "SETBIT", "UNLINK", "XADD",
    "XDEL",
}  # fmt: skip

_CALL: Final = re.compile(r"redis\.(call|pcall)\(\s*'([^']*)'\s*(?:,\s*([^,)]+))?")


@dataclass(frozen=True, slots=True)
class Call:
    """One command in a script: its name, the word given as its key, and the line it stands in."""

    command: str
    key: str
    line: int


@dataclass(frozen=True, slots=True)
class Text:
    """A script as it stands in its file."""

    name: str
    source: str
    header: Header

    @property
    def first_line(self) -> str:
        """The line that tells the server what the script may do."""
        return self.source.splitlines()[0]

    @property
    def code(self) -> str:
        """The lines without comments, in their places."""
        return "\n".join(line.partition("--")[0] for line in self.source.splitlines()[1:])

    @property
    def words(self) -> list[str]:
        """The code's names and numbers, without what stands in texts."""
        return re.findall(r"[A-Za-z_]\w*", re.sub(r"'[^']*'", "''", self.code))

    @property
    def calls(self) -> list[Call]:
        """Every command, in order."""
        found = []
        for number, line in enumerate(self.code.splitlines()):
            found += [Call(match[2], (match[3] or "").strip(), number) for match in _CALL.finditer(line)]
        return found


def read(name: str) -> Text:
    """The script of that name."""
    source = (files("flashsale") / "lua" / f"{name}.lua").read_text(encoding="utf-8")
    return Text(name, source, parse_header(source))


def names() -> list[str]:
    """All scripts."""
    return sorted(path.name.removesuffix(".lua") for path in (files("flashsale") / "lua").iterdir())
