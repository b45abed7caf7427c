"""Reads what a client sends, up to a limit and no further."""

from collections.abc import Mapping
from typing import Any

import orjson

from flashsale import limits
from flashsale.api import replies
from flashsale.api.replies import Receive, RefusedError, Reply


def has_body(headers: Mapping[bytes, bytes]) -> bool:
    """Whether a body follows."""
    return headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers


def body_fault(headers: Mapping[bytes, bytes]) -> Reply | None:
    """Whether a body is too long or not JSON, told before it is read."""
    if not has_body(headers):
        return None
    length = headers.get(b"content-length", b"")
    if length.isdigit() and int(length) > limits.BODY_BYTES_MAX:
        return replies.TOO_LARGE
    content_type = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    return None if content_type == b"application/json" else replies.NOT_JSON


async def pass_over_body(receive: Receive, headers: Mapping[bytes, bytes]) -> None:
    """Read a body that nobody needs, so that it is held to the same limit as one that somebody does.

    Raises RefusedError.
    """
    if has_body(headers):
        fault = body_fault(headers)
        if fault is not None:
            raise RefusedError(fault)
        if await read_body(receive) is None:
            raise RefusedError(replies.TOO_LARGE)


async def read_body(receive: Receive) -> bytes | None:
    """The whole body, or None as soon as it is longer than the limit or the client is gone."""
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += bytes(message.get("body", b""))
        if len(body) > limits.BODY_BYTES_MAX:
            return None
        if not message.get("more_body", False):
            return body


async def read_json(receive: Receive, headers: Mapping[bytes, bytes]) -> dict[str, Any]:
    """The JSON object in the body; an empty one when there is no body. Raises RefusedError."""
    fault = body_fault(headers)
    if fault is not None:
        raise RefusedError(fault)
    body = await read_body(receive) if has_body(headers) else b"{}"
    if body is None:
        raise RefusedError(replies.TOO_LARGE)
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError as fault_found:
        raise RefusedError(replies.bad_input(f"the body is not JSON: {fault_found}")) from fault_found
    if not isinstance(data, dict):
        raise RefusedError(replies.bad_input("the body is not a JSON object"))
    return data
