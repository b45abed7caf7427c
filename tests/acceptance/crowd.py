"""Other fans for the pictures: they reserve and buy over HTTP, so that counts and unit numbers are real ones."""

import asyncio
import itertools
import uuid
from dataclasses import dataclass, field
from typing import Final

import httpx
from anyio.from_thread import BlockingPortal

_IN_FLIGHT: Final = 32


@dataclass(frozen=True, slots=True)
class Crowd:
    """Any number of fans. numbers: each has a name of its own."""

    portal: BlockingPortal
    base_url: str
    numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    def reserve(self, sale: str, fans: int) -> None:
        """So many reserve."""
        self.portal.call(self._all, sale, fans, None)

    def buy(self, sale: str, item: str, fans: int) -> None:
        """So many reserve and buy."""
        self.portal.call(self._all, sale, fans, item)

    async def _all(self, sale: str, fans: int, item: str | None) -> None:
        places = asyncio.Semaphore(_IN_FLIGHT)
        async with httpx.AsyncClient(base_url=f"{self.base_url}/api/v1", timeout=20) as client:
            names = [f"other-{next(self.numbers)}" for _ in range(fans)]
            await asyncio.gather(*(_visit(client, places, sale, name, item) for name in names))


async def _visit(client: httpx.AsyncClient, places: asyncio.Semaphore, sale: str, name: str, item: str | None) -> None:
    async with places:
        signed_in = (await client.post("sandbox/login", json={"fan": name})).raise_for_status()
        headers = {"authorization": f"Bearer {signed_in.json()['token']}"}
        reserved = (await client.post(f"sales/{sale}/reservation", headers=headers)).raise_for_status()
        if item is not None:
            headers = {"authorization": f"Right {reserved.json()['right']}", "idempotency-key": uuid.uuid4().hex}
            (await client.post(f"sales/{sale}/items/{item}/purchase?retry=1", headers=headers)).raise_for_status()
