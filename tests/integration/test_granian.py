"""The api under granian: the same answers, a graceful end, and what it can't do is refused."""

import signal
import subprocess
from collections.abc import AsyncIterator

import httpx
import pytest

from flashsale.bench.uvicorns import free_port
from flashsale.cli import apis
from flashsale.config import Settings, parse_right_keys
from flashsale.errors import BadInputError
from flashsale.operations import Operations
from flashsale.rights import LANE_PUBLIC, Kind, Right
from tests.integration.cli_process import Cli, console_script
from tests.integration.shop import BASE, created, plan_text
from tests.support.waiting import soon

pytestmark = [pytest.mark.servers, pytest.mark.timeout(120)]


@pytest.fixture
async def granian(cli: Cli) -> AsyncIterator[tuple["subprocess.Popen[str]", str]]:
    """The command and the address where it serves."""
    port = free_port()
    process = _started(cli, "--server", "granian", "--processes", "2", "--port", str(port))
    address = f"http://127.0.0.1:{port}"
    try:

        async def ready() -> bool:
            try:
                async with httpx.AsyncClient() as client:
                    return (await client.get(f"{address}/readyz")).is_success
            except httpx.HTTPError:
                return False

        await soon(ready, what="it answers", deadline_s=60)
        yield process, address
    finally:
        process.kill()
        process.communicate()


def _started(cli: Cli, *words: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [console_script(), "serve", *words],
        cwd=cli.folder,
        env=dict(cli.environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


async def test_a_sale_by_granian(
    granian: "tuple[subprocess.Popen[str], str]", operations: Operations, settings: Settings, sale_name: str
) -> None:
    """Given one unit / When two fans press / Then one has it and one hears sold out, as by uvicorn; a right that is not
    ours is refused. Told to stop, the server ends in order and all its processes with it."""
    process, address = granian
    sale = await created(operations, plan_text(sale_name, silver=1))
    keys = parse_right_keys(settings.right_keys)
    path = f"{BASE}/sales/{sale}/items/silver/purchase"
    async with httpx.AsyncClient(base_url=address) as client:

        async def shown() -> bool:
            return all([(await client.get(f"{BASE}/sales/{sale}")).is_success for _ in range(8)])

        async def press(fan: str) -> httpx.Response:
            right = keys.sign(Right(Kind.RESERVATION, sale, fan, LANE_PUBLIC, "web", 2**31))
            return await client.post(path, headers={"authorization": f"Right {right}", "idempotency-key": fan})

        await soon(shown, what="each process shows the sale")
        told = [await press(fan) for fan in ("alice", "bob")]
        assert [one.status_code for one in told] == [201, 409]
        assert [one.json()["outcome"] for one in told] == ["WON", "SOLD_OUT"]
        forged = await client.post(path, params={"retry": "1"}, headers={"authorization": "Right v1.r.x"})
        assert (forged.status_code, forged.json()["outcome"]) == (403, "NO_RIGHT")
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out.splitlines()[0]) == (0, f"Serving on {address}, by granian"), err
    async with httpx.AsyncClient() as client:
        with pytest.raises(httpx.ConnectError):
            await client.get(address)


def test_what_granian_cant_do_is_refused(settings: Settings) -> None:
    """When ports of their own are asked for / Then it is said that uvicorn has them."""
    with pytest.raises(BadInputError, match=r"--own-port.*--server uvicorn"):
        apis.serve_by_granian(settings.model_copy(update={"own_port": 9_101}), 2)
