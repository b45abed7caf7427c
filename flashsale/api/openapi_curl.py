"""Writes the curl command for an operation of an OpenAPI document, from the examples that the document gives."""

import shlex
from typing import Any, Final
from urllib.parse import quote

import orjson

_INDENT: Final = " \\\n  "
_JSON_LINE_MAX: Final = 60
_AUTHORIZATION: Final = {"Bearer": "Bearer $TOKEN", "Right": "Right $RIGHT"}
_VALUES: Final = {
    "webhook-id": "msg_5f0c9a1e",
    "webhook-timestamp": "1385611290",
    "webhook-signature": "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=",
}
# Asked for in other ways by most clients, and in the way of an example's point.
_LEFT_OUT: Final = frozenset({"If-None-Match", "retry"})


def curl(document: dict[str, Any], *, method: str, path: str) -> str:
    """The command, one option a line. $SITE, $TOKEN and $RIGHT stand for what only the reader knows."""
    operation = document["paths"][path][method]
    known = document["components"]["parameters"]
    parameters = [known[one["$ref"].rpartition("/")[2]] for one in operation.get("parameters", [])]
    for one in parameters:
        if one["in"] == "path":
            path = path.replace(f"{{{one['name']}}}", quote(one["example"]))
    manner = "-N " if _streams(operation) else "" if method == "get" else f"-X {method.upper()} "
    lines = [f'curl {manner}"$SITE{path}"']
    lines += _let_in(document, operation)
    lines += [
        _header(one["name"], one["example"])
        for one in parameters
        if one["in"] == "header" and one["name"] not in _LEFT_OUT
    ]
    return _INDENT.join([*lines, *_body(operation)])


def _let_in(document: dict[str, Any], operation: dict[str, Any]) -> list[str]:
    """The headers of the first way to be let in."""
    lines = []
    for name in next(iter(operation.get("security", [])), {}):
        if name in _AUTHORIZATION:
            lines.append(f'-H "Authorization: {_AUTHORIZATION[name]}"')
        else:
            header = document["components"]["securitySchemes"][name]["name"]
            lines.append(_header(header, _VALUES[header]))
    return lines


def _header(name: str, value: str) -> str:
    return f"-H {shlex.quote(f'{name}: {value}')}"


def _body(operation: dict[str, Any]) -> list[str]:
    if "requestBody" not in operation:
        return []
    media, content = next(iter(operation["requestBody"]["content"].items()))
    return [f"-H 'Content-Type: {media}'", f"-d {shlex.quote(_json(content['example']))}"]


def _json(value: Any) -> str:
    short = orjson.dumps(value).decode()
    return short if len(short) <= _JSON_LINE_MAX else orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()


def _streams(operation: dict[str, Any]) -> bool:
    return any("text/event-stream" in one.get("content", {}) for one in operation["responses"].values())
