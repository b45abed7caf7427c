"""A running api answers as it is described: each status, media type and body that comes back is in the description."""

import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from httpx import ASGITransport, AsyncClient, Response
from openapi_schema_validator import OAS31Validator

from flashsale.api import app
from flashsale.api.events import Watchers
from flashsale.config import Settings
from flashsale.embedded import Addresses
from flashsale.metrics import api_metrics

pytestmark = pytest.mark.servers

SALE = "/api/v1/sales/{sale}"
PURCHASE = f"{SALE}/items/{{item}}/purchase"
ORDER = "/api/v1/orders/{order}"


@pytest.fixture
async def client(migrated: Addresses, tmp_path: Path) -> AsyncIterator[AsyncClient]:
    """An api in sandbox mode on the servers of the run, without a socket."""
    given = {"redis_url": migrated.redis_url, "postgres_dsn": migrated.postgres_dsn}
    settings = Settings.model_validate({"sandbox": True, "state_dir": tmp_path, **given})
    async with (
        app._assembled(settings, app.trust_of(settings), Watchers(), api_metrics()) as hot,
        AsyncClient(transport=ASGITransport(hot), base_url="http://site") as made,
    ):
        yield made


@pytest.fixture
async def described(client: AsyncClient) -> dict[str, Any]:
    """The description as it is served."""
    served = await client.get("/openapi.json")
    assert served.status_code == 200
    document: dict[str, Any] = served.json()
    return document


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("get", "/api/v1/time", 200),
        ("get", "/api/v1/sales", 200),
        ("get", SALE, 404),
        ("post", f"{SALE}/reservation", 404),
        ("post", PURCHASE, 404),
        ("get", "/api/v1/orders", 401),
        ("get", ORDER, 401),
        ("get", f"{ORDER}/events", 401),
        ("post", f"{ORDER}/payment", 401),
        ("post", f"{ORDER}/cancellation", 401),
        ("post", "/api/v1/hooks/payment", 401),
        ("post", "/api/v1/sandbox/login", 400),
        ("post", "/api/v1/sandbox/payments/{payment}", 404),
        ("get", "/healthz", 200),
        ("get", "/readyz", 200),
        ("get", "/metrics", 200),
    ],
)
async def test_a_stranger_is_answered_as_described(
    client: AsyncClient, described: dict[str, Any], method: str, path: str, status: int
) -> None:
    """Given nothing but the path / When it is asked / Then the answer is one of those described."""
    names = {"{sale}": "no-such", "{item}": "x", "{order}": str(uuid.uuid4()), "{payment}": str(uuid.uuid4())}
    address = path
    for name, value in names.items():
        address = address.replace(name, value)
    answer = await client.request(method, address)
    assert answer.status_code == status
    _check(described, answer, method=method, path=path)


async def test_a_fan_is_answered_as_described(client: AsyncClient, described: dict[str, Any]) -> None:
    """Given a fan who has signed in / When they ask for their orders / Then every answer is one of those described."""
    login = await client.post("/api/v1/sandbox/login", json={"fan": f"fan-{uuid.uuid4().hex}"})
    assert login.status_code == 200
    _check(described, login, method="post", path="/api/v1/sandbox/login")
    headers = {"authorization": f"Bearer {login.json()['token']}"}
    orders = await client.get("/api/v1/orders", headers=headers)
    assert orders.status_code == 200
    _check(described, orders, method="get", path="/api/v1/orders")
    unknown = await client.get(f"/api/v1/orders/{uuid.uuid4()}", headers=headers)
    assert unknown.status_code == 404
    _check(described, unknown, method="get", path=ORDER)


async def test_what_has_not_changed_is_answered_as_described(client: AsyncClient, described: dict[str, Any]) -> None:
    """Given the ETag of the list / When it is asked for again / Then 304, which is described, with the same headers."""
    tag = (await client.get("/api/v1/sales")).headers["etag"]
    again = await client.get("/api/v1/sales", headers={"if-none-match": tag})
    assert again.status_code == 304
    _check(described, again, method="get", path="/api/v1/sales")


def _check(document: dict[str, Any], answer: Response, *, method: str, path: str) -> None:
    responses = document["paths"][path][method]["responses"]
    assert str(answer.status_code) in responses
    response = responses[str(answer.status_code)]
    assert response.get("headers", {}).keys() <= {name.title().replace("Etag", "ETag") for name in answer.headers} | {
        "Retry-After", "WWW-Authenticate",
    }  # fmt: skip
    if "content" not in response:
        assert not answer.content
        return
    content = response["content"][answer.headers["content-type"]]
    if not answer.headers["content-type"].endswith("json"):
        return
    whole = {**content["schema"], "components": document["components"]}
    assert not [fault.message for fault in OAS31Validator(whole).iter_errors(answer.json())]
    if answer.is_error:
        kinds = {example["value"]["type"] for example in content["examples"].values()}
        assert answer.json()["type"] in kinds
