"""What the tests of the edge get: a tiny api, the edge in front of it, and a client with many connections."""

from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Final

import httpx
import pytest

from flashsale.api.replies import refusal
from flashsale.outcomes import Outcome
from tests.support.edge import edge
from tests.support.upstream import Upstream, upstream

BUY: Final = "/api/v1/sales/mi3/items/silver/purchase"
SOLD_OUT: Final = refusal(Outcome.SOLD_OUT)


@pytest.fixture
def api() -> Iterator[Upstream]:
    """What stands behind the edge; sold out until it is told otherwise."""
    with upstream(lambda asked: SOLD_OUT) as running:
        yield running


@pytest.fixture
def fans(api: Upstream, tmp_path: Path) -> Iterator[httpx.Client]:
    """Many fans' connections to the edge."""
    with (
        edge(tmp_path / "edge", api_port=api.port) as address,
        httpx.Client(base_url=address, timeout=10, limits=httpx.Limits(max_connections=64)) as client,
    ):
        yield client


def as_spelled(fans: httpx.Client, path: str, *, method: str = "POST") -> int:
    """The status of a request whose path is sent as it stands, which httpx would tidy up."""
    connection = HTTPConnection(fans.base_url.host, fans.base_url.port, timeout=10)
    try:
        connection.request(method, path)
        return connection.getresponse().status
    finally:
        connection.close()


def kept(folder: Path) -> list[Path]:
    """What the edge has written down of the hot lane."""
    return [path for path in (folder / "edge" / "refusals").rglob("*") if path.is_file()]
