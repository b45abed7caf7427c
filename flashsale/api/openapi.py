"""The API described as OpenAPI 3.1, and the same as a page for people.

The operations, the problems and the schemas each have a module; here they are put together. Whatever the code already
keeps in a table (outcomes and how they are told, limits, states, the codes of the scripts) is taken from there, so
that the description can't drift from what is answered.
"""

import re
from collections.abc import Sequence
from copy import deepcopy
from functools import cache
from importlib.metadata import version
from typing import Any, Final

from flashsale import limits
from flashsale.api import openapi_page, openapi_schemas
from flashsale.api.openapi_operations import OPERATIONS, TAGS, Answer, Operation
from flashsale.api.openapi_parameters import PARAMETERS, SECURITY
from flashsale.api.openapi_problems import code_of, facts_of
from flashsale.api.replies import Reply

_PROBLEM_MEDIA: Final = "application/problem+json"
_PATH_NAME: Final = re.compile(r"{(\w+)}")
_INTRODUCTION: Final = f"""
Reserve a place, press buy at noon, follow the order, pay. This page and `/openapi.json` say the same.

**Names and numbers.** Bodies are JSON in UTF-8. A name that ends in `_ms` is a time in milliseconds since 1970 UTC,
one that ends in `_s` is a number of seconds, and one that ends in `_minor` is money in the smallest unit of its
currency. A request body may have {limits.BODY_BYTES_MAX:,} bytes at the most.

**Refusals.** Every refusal is a problem by RFC 9457. Its `type` never changes its meaning. Where the engine has
decided something about a fan, `outcome` says what. Where it is worth asking again, `Retry-After` and `retry_after_s`
say when, in seconds. Add a little chance to that wait, so that a crowd does not come back all at once.

**Asking again.** Send an `Idempotency-Key` with each purchase. After `UNKNOWN`, or when the connection was lost,
send the same key with `?retry=1`: the answer then tells how the first attempt ended. No unit is taken twice.

**Caching.** What holds for everybody is sent with `Cache-Control: public, max-age=1` and may be kept by any cache for
a second. The state of a sale also carries an `ETag`. What is about one fan is sent with `no-store`.

**Answers that any request may get.** `not-found` (404) for a path that is not listed here, `method-not-allowed` (405)
for a method that is not, `too-slow` (408) for a head or body that did not come whole within {limits.HEAD_S_MAX} s,
`head-too-large` (431) for a head of more than {limits.HEAD_BYTES_MAX:,} bytes. New fields may be added to any answer,
so ignore those you do not know.
""".strip()


def document() -> dict[str, Any]:
    """The OpenAPI document, made afresh, so that a caller may change their copy."""
    schemas = openapi_schemas.schemas()
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "flashsale",
            "version": version("flashsale"),
            "summary": "The HTTP interface of the flash-sale engine",
            "description": _INTRODUCTION,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/", "description": "The site that gave you this description"}],
        "tags": [{"name": name, "description": words} for name, words in TAGS.items()],
        "paths": paths,
        "components": {"schemas": schemas, "parameters": deepcopy(PARAMETERS), "securitySchemes": deepcopy(SECURITY)},
    }


@cache
def problems() -> dict[str, tuple[int, str]]:
    """Every problem that the API answers with: the last part of its type to its status and title."""
    found = {}
    for operations in document()["paths"].values():
        for operation in operations.values():
            for answer in operation["responses"].values():
                for media in answer.get("content", {}).values():
                    for example in media.get("examples", {}).values():
                        value = example["value"]
                        if isinstance(value, dict) and str(value.get("type", "")).startswith("/problems/"):
                            found[value["type"].rpartition("/")[2]] = (value["status"], value["title"])
    return found


def page() -> str:
    """The description as HTML. It is the same for the life of the process, so it is made once."""
    return openapi_page.render(document())


def _operation(operation: Operation, schemas: dict[str, Any]) -> dict[str, Any]:
    data: dict[str, Any] = {
        "operationId": operation.name,
        "tags": [operation.tag],
        "summary": operation.summary,
        "description": operation.words,
        "responses": {str(status): response for status, response in sorted(_responses(operation, schemas).items())},
    }
    names = [*_PATH_NAME.findall(operation.path), *operation.parameters]
    if names:
        data["parameters"] = [{"$ref": f"#/components/parameters/{name}"} for name in names]
    if operation.security:
        data["security"] = [{scheme: [] for scheme in together} for together in operation.security]
    if operation.body:
        data["requestBody"] = {
            "required": operation.body_required,
            "content": {"application/json": _content(operation.body, schemas)},
        }
    return data


def _responses(operation: Operation, schemas: dict[str, Any]) -> dict[int, dict[str, Any]]:
    found = {answer.status: _answer(answer, schemas) for answer in operation.answers}
    by_status: dict[int, list[Reply]] = {}
    for one in operation.problems:
        by_status.setdefault(facts_of(one)["status"], []).append(one)
    clash = found.keys() & by_status.keys()
    assert not clash, f"{operation.name}: {clash} are both an answer and a problem"
    return found | {status: _refusal(problems) for status, problems in by_status.items()}


def _answer(answer: Answer, schemas: dict[str, Any]) -> dict[str, Any]:
    data: dict[str, Any] = {"description": answer.words}
    if answer.headers:
        data["headers"] = {name: _header(words) for name, words in answer.headers.items()}
    if answer.schema:
        data["content"] = {answer.media: _content(answer.schema, schemas)}
    elif answer.text:
        data["content"] = {answer.media: {"schema": {"type": "string"}, "example": answer.text}}
    return data


def _content(schema: str, schemas: dict[str, Any]) -> dict[str, Any]:
    return {"schema": {"$ref": f"#/components/schemas/{schema}"}, "example": schemas[schema]["examples"][0]}


def _refusal(problems: Sequence[Reply]) -> dict[str, Any]:
    """One status with every problem that is told in it. The examples are the bodies that are really sent."""
    examples = {code_of(one): {"summary": facts_of(one)["title"], "value": facts_of(one)} for one in problems}
    names = {name.decode() for one in problems for name, _ in one.headers}
    headers = {"Cache-Control": _header(_cache_words(problems))}
    if "retry-after" in names:
        headers["Retry-After"] = {
            "description": "Ask again after so many seconds",
            "schema": {"type": "integer", "minimum": 1},
        }
    if "www-authenticate" in names:
        headers["WWW-Authenticate"] = _header("`Bearer`, with `no-identity`")
    return {
        "description": ". ".join(example["summary"] for example in examples.values()),
        "headers": headers,
        "content": {
            _PROBLEM_MEDIA: {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": examples},
        },
    }


def _cache_words(problems: Sequence[Reply]) -> str:
    shared = [f"`{code_of(one)}`" for one in problems if (b"cache-control", b"no-store") not in one.headers]
    if not shared:
        return "`no-store`"
    return f"`no-store`, or `public, max-age=1` where {' and '.join(shared)} holds for everybody"


def _header(words: str) -> dict[str, Any]:
    return {"description": words, "schema": {"type": "string"}}
