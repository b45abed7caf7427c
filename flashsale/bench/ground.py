"""The ground that suites stand on: a fresh pair of servers of their own, and sales made through the real verbs."""

import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

from flashsale import plan, queries
from flashsale.durability import Level
from flashsale.embedded import Addresses, EmbeddedPair, erase
from flashsale.embedded_cluster import EmbeddedCluster
from flashsale.keys import Bucket
from flashsale.operations import Operations
from flashsale.purchase import attempt_line
from flashsale.queries import Pool
from flashsale.rights import LANE_PUBLIC
from flashsale.sale import Sale, Verb
from flashsale.scripts import Commands, ScriptAt, load
from flashsale.stores import Client, opened

SEED: Final = 2013
ITEM: Final = "silver"
CHANNEL: Final = "web"
BATCH: Final = 64
FAN_LENGTH: Final = 28
_NAMES: Final = 10 ** (FAN_LENGTH - 4)
_STRIDE: Final = 618_033_988_749_894_848_204_587  # shares no divisor with _NAMES, so that no name comes twice


@dataclass(frozen=True, slots=True)
class Ground:
    """A running pair, or cluster, and what works on it. valkey_pid: of a cluster, its first node's."""

    redis: Client
    postgres: Pool
    operations: Operations
    addresses: Addresses
    valkey_pid: int
    postgres_pid: int

    async def open_sale(self, name: str, *, units: int, reserved: int = 0) -> Sale:
        """A new sale that is open now, in an otherwise empty Valkey. reserved: room for so many reservations."""
        commands: Commands = self.redis
        await commands.execute_command("FLUSHALL", "SYNC")
        await self.operations.create(plan.from_data(plan_of(name, units=units, reserved=reserved)))
        await self.operations.load(name)
        return await self.operations.move(name, Verb.OPEN)

    async def used_bytes(self) -> int:
        """What the data takes: memory in use without the clients' and the log's buffers, which come and go."""
        told = await self.redis.info("memory")
        return int(told["used_memory"]) - int(told["mem_clients_normal"]) - int(told["mem_aof_buffer"])


@asynccontextmanager
async def own_ground(*, cluster: bool = False) -> AsyncIterator[Ground]:
    """A pair that nobody else uses, with the schema made; nothing of it is left at the end.

    cluster: of three primaries with a replica each instead of one Valkey.
    """
    with tempfile.TemporaryDirectory(prefix="flashsale-bench-") as folder:
        state = Path(folder) / "state"
        kind = EmbeddedCluster if cluster else EmbeddedPair
        servers: EmbeddedPair | EmbeddedCluster = kind(state=state, fresh=True)
        try:
            with servers as addresses:
                async with opened(
                    redis_url=addresses.redis_url, postgres_dsn=addresses.postgres_dsn, schema=False
                ) as stores:
                    async with stores.postgres.acquire() as connection:
                        await queries.migrate(connection)
                    operations = Operations(stores.redis, stores.postgres, actor="bench")
                    yield Ground(
                        stores.redis,
                        stores.postgres,
                        operations,
                        addresses,
                        servers.pid_of("valkey-1" if cluster else "valkey"),
                        servers.postgres_pid,
                    )
        finally:
            erase(state)


def attempts(number: int, *, seed: int = SEED) -> list[str]:
    """So many attempts of as many fans, as the purchase script reads them. The same seed gives the same."""
    random = Random(seed)  # noqa: S311 -- a crowd that can be had again, not a secret
    return [
        attempt_line(
            order=f"{place:012x}{random.getrandbits(80):020x}",  # time-ordered, as the real ones are
            key=f"{random.getrandbits(64):016x}",
            fan=fan,
            channel=CHANNEL,
            lane=LANE_PUBLIC,
        )
        for place, fan in enumerate(fans(number))
    ]


def fans(number: int, *, first: int = 0) -> list[str]:
    """So many names of fans, each of 28 characters and in no order, as a crowd comes."""
    return [f"fan-{place * _STRIDE % _NAMES:0{FAN_LENGTH - 4}d}" for place in range(first, first + number)]


def purchase_at(bucket: Bucket) -> ScriptAt:
    """The purchase script over the bucket's keys."""
    return load("purchase").at(
        [bucket.sale_key, bucket.counts_key, bucket.buyers_key, bucket.outbox_key, bucket.free_key(ITEM)]
    )


def cut(lines: Sequence[str], size: int) -> list[Sequence[str]]:
    """The lines in batches of that size; the last may be shorter."""
    return [lines[at : at + size] for at in range(0, len(lines), size)]


def plan_of(name: str, *, units: int, reserved: int = 0, ack: Level = Level.ACCEPTED) -> dict[str, object]:
    """The plan of a sale of one item that opens in an hour."""
    written: dict[str, object] = {
        "sale": name,
        "title": {"zh": "测量", "en": "Bench"},
        "opens": "+1h",
        "closes": "+2h",
        "entry": "open",
        "ack": str(ack),
        "currency": "CNY",
        "channels": [CHANNEL],
        "items": [{"item": ITEM, "title": {"zh": "银色", "en": "Silver"}, "price_minor": 199_900, "stock": units}],
    }
    if reserved:
        reservation = {"opens": "-2h", "closes": "+1h", "capacity": reserved}
        written |= {"entry": "reservation", "reservation": reservation}
    return written
