"""Makes small pieces of HTML from text. Every text is escaped; of Markdown it knows paragraphs, `code` and **bold**."""

import html
import re
from collections.abc import Iterable
from typing import Any, Final

import orjson

_CODE: Final = re.compile(r"`([^`]+)`")
_BOLD: Final = re.compile(r"\*\*([^*]+)\*\*")


def table(heads: tuple[str, str], rows: Iterable[str]) -> str:
    """A table of two columns, of rows made by row()."""
    cells = "".join(f'<th scope="col">{head}</th>' for head in heads)
    body = "\n".join(rows)
    return f"<table>\n<thead><tr>{cells}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"


def row(head: str, words: str) -> str:
    """A row: what it is about, and what there is to say."""
    return f'<tr><th scope="row">{head}</th><td>{words}</td></tr>'


def listing(text: str) -> str:
    """Text as it is typed."""
    # It may be wider than the page, so it scrolls by itself; with tabindex it does so by keyboard, too.
    return f'<pre tabindex="0"><code>{escaped(text)}</code></pre>'


def pretty(value: Any) -> str:
    """A JSON value, indented."""
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()


def paragraphs(text: str) -> str:
    """Text with an empty line between its paragraphs."""
    return "\n".join(f"<p>{inline(part)}</p>" for part in text.split("\n\n"))


def inline(text: str) -> str:
    """Text with `code` and **bold** in it."""
    return _BOLD.sub(r"<strong>\1</strong>", _CODE.sub(r"<code>\1</code>", escaped(text)))


def breakable(text: str, after: str) -> str:
    """Text that may break after this character, so that long names fit a phone."""
    return f"{escaped(after)}<wbr>".join(escaped(part) for part in text.split(after))


def escaped(text: str) -> str:
    """Text that stands for itself."""
    return html.escape(text)
