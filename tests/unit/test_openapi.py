"""The description of the API and the code that answers say the same: routes, problems, outcomes and bodies."""

import ast
import inspect
import itertools
import re
import textwrap
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, cast

import orjson
import pytest
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import validate
from starlette.routing import Route

from flashsale import purchase
from flashsale.api import answers, app, looks, openapi, orders, picture
from flashsale.api.replies import PREFIX, Reply, slug_of
from flashsale.config import Settings
from flashsale.order import Order, State
from flashsale.outcomes import TELLINGS, Outcome
from flashsale.sale import Reservation, Sale
from tests.support import samples
from tests.support.pictures import picture_of

# Pages for people and their files are no part of the API.
PAGES: Final = {"/", "/docs", "/openapi.json", "/problems/{slug}", "/s", "/s/{sale}", "/static/{name}"}
# Told in the introduction, since any request may get them.
EVERYWHERE: Final = {"not-found", "method-not-allowed", "http", "too-slow", "head-too-large"}
METHODS: Final = {"get", "post", "put", "patch", "delete"}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """The description."""
    return openapi.document()


def test_it_is_valid_openapi(document: dict[str, Any]) -> None:
    """Given the description / Then the validator for OpenAPI 3.1 has nothing to say."""
    validate(document)
    assert document["openapi"].startswith("3.1.")


def test_every_route_is_described_and_nothing_else(document: dict[str, Any]) -> None:
    """Given the routes of the application and the cases of the hot lane / Then just these are described."""
    routed = {
        (method.lower(), route.path)
        for route in _routes()
        if route.path not in PAGES
        for method in route.methods or ()
        if method != "HEAD"
    }
    hot_cases = set(_hot_cases())
    purchase = ("post", _purchase_form())
    # The case beside the targets answers the same path where sale or item is unknown.
    assert ("post", purchase[1].replace("{item}", "{_}")) in hot_cases
    hot_cases = {case for case in hot_cases if "{_}" not in case[1]} | {purchase}
    assert len(hot_cases) == 7
    described = {(method, path) for path, methods in document["paths"].items() for method in methods}
    assert described == routed | hot_cases


def test_every_outcome_is_told_somewhere(document: dict[str, Any]) -> None:
    """Given every outcome / Then it is in the enumeration, and in an answer with the status of its telling."""
    assert document["components"]["schemas"]["Outcome"]["enum"] == [outcome.name for outcome in Outcome]
    told = {
        (status, value["outcome"])
        for _, operation in _operations(document)
        for status, response in operation["responses"].items()
        for value in _examples(response)
        if isinstance(value, dict) and "outcome" in value
    }
    assert told == {(str(telling.status), outcome.name) for outcome, telling in TELLINGS.items()}


def test_every_problem_in_the_code_is_described_as_it_is_sent(document: dict[str, Any]) -> None:
    """Given each problem that a module of the api makes / Then status, type and title are described; no others."""
    described = {
        (value["status"], value["type"].rpartition("/")[2], value["title"])
        for _, operation in _operations(document)
        for status, response in operation["responses"].items()
        for value in _examples(response)
        if isinstance(value, dict) and str(value.get("type", "")).startswith("/problems/")
    }
    made = {(status, slug): title for status, slug, title in _problems_in_code() if slug not in EVERYWHERE}
    outcomes = {slug_of(outcome) for outcome in Outcome}
    own = {(status, slug): title for status, slug, title in described if slug not in outcomes | EVERYWHERE}
    assert own.keys() == made.keys()
    for key, title in made.items():
        # Where the code puts a word into the title, the description has that word.
        assert re.fullmatch(title, own[key]), key


def test_each_answer_has_the_status_that_its_problem_says(document: dict[str, Any]) -> None:
    """Given the examples of refusals / Then they stand under their own status, fit the schema and say when to come."""
    for name, operation in _operations(document):
        for status, response in operation["responses"].items():
            if "application/problem+json" not in response.get("content", {}):
                continue
            values = list(_examples(response))
            for value in values:
                assert str(value["status"]) == status, name
                _check(document, "Problem", value)
            waits = any("retry_after_s" in value for value in values)
            assert waits == ("Retry-After" in response["headers"]), name


def test_every_example_fits_its_schema(document: dict[str, Any]) -> None:
    """Given every schema / Then its own examples are of that shape."""
    for name, schema in document["components"]["schemas"].items():
        assert schema["examples"], name
        for example in schema["examples"]:
            _check(document, name, example)


def test_a_sale_is_described_as_it_is_shown(document: dict[str, Any]) -> None:
    """Given a sale as the picture shows it / Then its fields are just those of the schema, and it fits."""
    sale = samples.sale("mi3", reservation=Reservation(opens_ms=0, closes_ms=samples.FAR_MS, capacity=10))
    shown = orjson.loads(picture_of(sale).shown.body)
    _same_fields(document, "Sale", shown)
    _same_fields(document, "Item", shown["items"][0])
    _same_fields(document, "ReservationTimes", shown["reservation"])
    _check(document, "Sale", orjson.loads(picture_of(samples.sale("mi3")).shown.body))


@pytest.mark.parametrize("state", list(State))
def test_an_order_is_described_as_it_is_shown(document: dict[str, Any], state: State) -> None:
    """Given an order in any state / Then its fields are just those of the schema, and it fits."""
    one = Order(
        order=str(uuid.uuid4()), sale="mi3", item="silver", unit=1, fan="alice", state=state, price_minor=100,
        currency="CNY", channel="", accepted_ms=1, pay_before_ms=2,
    )  # fmt: skip
    _same_fields(document, "Order", orders.shown(one))


def test_a_win_is_described_as_it_is_told(document: dict[str, Any]) -> None:
    """Given a win / Then its body is just that of the schema, and its Location is described."""
    answer = purchase.Answer(Outcome.WON, order=uuid.uuid4().hex, unit=7, accepted_ms=5)
    targets = picture.targets_of({"mi3": picture_of(samples.sale("mi3"))}, early=True)
    reply = answers.told(targets["/api/v1/sales/mi3/items/a/purchase"], answer)
    _same_fields(document, "Won", orjson.loads(reply.body))
    path = "/api/v1/sales/{sale}/items/{item}/purchase"
    response = document["paths"][path]["post"]["responses"][str(reply.status)]
    sent = {name.decode() for name, _ in reply.headers} - {"content-type", "content-length"}
    assert {name.lower() for name in response["headers"]} == sent


def test_the_time_is_described_as_it_is_told(document: dict[str, Any]) -> None:
    """Given the answer to GET /time, in the sandbox or not / Then it is of the schema described."""
    nothing = cast(Any, None)
    for sandbox in (True, False):
        reply = looks.Looks(nothing, sandbox=sandbox).answer("GET", f"{PREFIX}time", ())
        assert isinstance(reply, Reply)
        _same_fields(document, "Time", told := orjson.loads(reply.body))
        assert told["sandbox"] is sandbox


def test_the_cache_words_are_those_of_the_replies(document: dict[str, Any]) -> None:
    """Given the refusals of a purchase / Then those that a cache may keep are named beside Cache-Control."""
    path = "/api/v1/sales/{sale}/items/{item}/purchase"
    for status, response in document["paths"][path]["post"]["responses"].items():
        for outcome, telling in TELLINGS.items():
            if str(telling.status) == status and telling.shared:
                assert f"`{outcome.name}`" in response["headers"]["Cache-Control"]["description"]


def _routes() -> list[Route]:
    """The application's route table, sandbox included. Nothing is opened: no request reaches a store."""
    nothing = cast(Any, None)
    made = app._routes(
        Settings.model_validate({"sandbox": True}), opened=nothing, pictures=nothing, proofs=nothing,
        watchers=nothing, client=nothing,
        trust=cast(Any, SimpleNamespace(right_keys=None, identities=None, webhook=None, code_keys=None)),
        metrics=nothing, redemptions=nothing, confirmations=nothing, protection=nothing,
    )  # fmt: skip
    return [route for route in made if isinstance(route, Route)]


def _hot_cases() -> Iterator[tuple[str, str]]:
    """Method and path of each case in the match of what is looked at, read from its source; not those that refuse."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(looks.Looks.answer)))
    for case in (node for node in ast.walk(tree) if isinstance(node, ast.match_case) and node.guard is None):
        for path in _paths(case.pattern):
            for method in looks._METHODS.get(path.rpartition("/")[2], "GET").split(", "):
                yield method.lower(), PREFIX + path


def _paths(pattern: ast.pattern) -> Iterator[str]:
    """What a pattern fits, its pieces with slashes between."""
    match pattern:
        case ast.MatchOr(patterns):
            for one in patterns:
                yield from _paths(one)
        case ast.MatchSequence(patterns):
            yield from ("/".join(pieces) for pieces in itertools.product(*map(_paths, patterns)))
        case ast.MatchValue(value):
            yield str(ast.literal_eval(value))
        case ast.MatchAs(ast.pattern() as inner, _):
            yield from _paths(inner)
        case ast.MatchAs(None, name):
            yield f"{{{name or '_'}}}"


def _purchase_form() -> str:
    """The path of a purchase, read from the targets of a sale and an item whose names are those of the parameters."""
    forms = {
        path.replace("sale-name", "{sale}").replace("item-name", "{item}")
        for path in picture.targets_of({"sale-name": picture_of(_named("item-name"))}, early=True)
    }
    (form,) = forms
    return form


def _named(item: str) -> Sale:
    sale = samples.sale("sale-name")
    return replace(sale, items=(replace(sale.items[0], item=item),))


def _problems_in_code() -> Iterator[tuple[int, str, str]]:
    """Status, slug and a pattern for the title of each problem() with fixed words, the description's own left out."""
    folder = Path(inspect.getfile(app)).parent
    for file in sorted(folder.glob("*.py")):
        if file.name.startswith("openapi"):
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not (
                isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) == "problem"
            ):
                continue
            status, slug, title = node.args
            if isinstance(status, ast.Constant) and isinstance(slug, ast.Constant):
                yield ast.literal_eval(status), ast.literal_eval(slug), _title_pattern(title)


def _title_pattern(title: ast.expr) -> str:
    if isinstance(title, ast.JoinedStr):
        return "".join(re.escape(str(one.value)) if isinstance(one, ast.Constant) else r"\w+" for one in title.values)
    return re.escape(str(ast.literal_eval(title)))


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for methods in document["paths"].values():
        for method, operation in methods.items():
            assert method in METHODS
            yield operation["operationId"], operation


def _examples(response: dict[str, Any]) -> Iterator[Any]:
    for content in response.get("content", {}).values():
        if "example" in content:
            yield content["example"]
        yield from (example["value"] for example in content.get("examples", {}).values())


def _check(document: dict[str, Any], schema: str, value: Any) -> None:
    whole = {"$ref": f"#/components/schemas/{schema}", "components": document["components"]}
    faults = [fault.message for fault in OAS31Validator(whole).iter_errors(value)]
    assert not faults, (schema, value)


def _same_fields(document: dict[str, Any], schema: str, value: dict[str, Any]) -> None:
    assert list(value) == list(document["components"]["schemas"][schema]["properties"])
    _check(document, schema, value)
