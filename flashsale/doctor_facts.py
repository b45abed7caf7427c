"""Reads what the doctor's rules look at, from every Valkey and from Postgres, and refuses a start that they forbid.

Each Valkey is asked on a connection of its own, also the nodes of a cluster that no address names: a setting that is
wrong on one replica is wrong on the day when it takes over.
"""

import asyncio
import logging
import os
import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from redis.asyncio import Redis
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from flashsale import clock, condition, ledger, limits, memory, stores
from flashsale.condition import Condition
from flashsale.doctor import (
    ClusterFacts,
    Facts,
    Finding,
    Levels,
    PostgresFacts,
    ValkeyFacts,
    Verdict,
    examine,
    refused,
)
from flashsale.embedded import Addresses
from flashsale.errors import SurroundingsError
from flashsale.queries import Pool, migrations, query, schema_number
from flashsale.sale import Sale, State
from flashsale.stores import Client

_log = logging.getLogger(__name__)
_CONFIGURED: Final = ("appendfsync", "set-max-intset-entries")


async def diagnose(addresses: Addresses, postgres: Pool) -> list[Finding]:
    """All findings. Raises SurroundingsError when no Valkey answers, or a server goes away in the middle."""
    try:
        facts = await read_facts(addresses, postgres)
        fits = facts.postgres.schema == len(migrations())
        return examine(facts, await promised(postgres) if fits else {})
    except stores.TROUBLE as trouble:
        raise SurroundingsError(f"A server went away while it was asked ({trouble}). Ask again.") from trouble


async def refuse_unfit(addresses: Addresses, postgres: Pool, *, selling: bool = True) -> None:
    """For the start of a process: log what is warned of. Raises SurroundingsError that names every refused setting.

    What a failover may heal by itself is looked at again for some seconds, so that a start in the middle waits for it.
    selling: whether the process tells fans of wins. One that does not is only warned of what a sale's level needs: what
    was won has to land all the same, and replicas have to be had by a person.
    """
    ends_s = time.monotonic() + limits.FAILOVER_S
    findings = await diagnose(addresses, postgres)
    while (found := refused(findings, selling=selling)) and time.monotonic() < ends_s:
        if not all(one.passing for one in found):
            break
        await asyncio.sleep(limits.PLAN_REFRESH_S / 2)
        findings = await diagnose(addresses, postgres)
    for finding in findings:
        if finding.verdict is Verdict.WARN or (finding.verdict is Verdict.REFUSE and finding not in found):
            _log.warning("doctor.warning %s", finding.sentence)
    if found:
        lines = "\n  ".join(finding.sentence for finding in found)
        raise SurroundingsError(f"The servers are not fit to sell on; see also: flashsale doctor\n  {lines}")


async def buckets_of_sales(redis: Client, postgres: Pool) -> list[Finding]:
    """A warning for each sale that sells or will sell, and has buckets that are not whole.

    It is for a person before a sale; processes start all the same, and sell what is whole. Raises SurroundingsError.
    """
    try:
        async with postgres.acquire() as connection:
            sales = await ledger.every(connection, drafts=False)
        now_ms = clock.now_ms()
        coming = [sale for sale in sales if sale.in_buckets and sale.state_at(now_ms) is not State.CLOSED]
        looked = [await condition.examine(redis, postgres, sale) for sale in coming]
    except stores.TROUBLE as trouble:
        raise SurroundingsError(f"A server went away while it was asked ({trouble}). Ask again.") from trouble
    return [found for sale, said in zip(coming, looked, strict=True) if (found := _not_whole(sale, said))]


def _not_whole(sale: Sale, looked: Sequence[condition.Finding]) -> Finding | None:
    broken = Counter(one.condition for one in looked if one.condition is not Condition.WHOLE)
    if not broken:
        return None
    told = ", ".join(f"{number} of {len(looked)} {name}" for name, number in broken.items())
    remedy = (
        f"see what is to be done: flashsale recover {sale.sale} --dry-run; one that is empty or fenced sells nothing"
    )
    return Finding(f"buckets of {sale.sale}", told, "whole", Verdict.WARN, remedy)


async def promised(postgres: Pool) -> Levels:
    """The level that the fans of each sale are promised; sales that are closed promise nothing any more."""
    async with postgres.acquire() as connection:
        sales = await ledger.every(connection, drafts=False)
    return {sale.sale: sale.ack for sale in sales if sale.state is not State.CLOSED}


async def read_facts(addresses: Addresses, postgres: Pool) -> Facts:
    """The facts of all servers. Raises SurroundingsError when no Valkey answers, and what the stores raise."""
    valkeys, cluster = await _valkeys(addresses.redis_url.split(","))
    return Facts(valkeys=valkeys, cluster=cluster, postgres=await _postgres(postgres))


@dataclass(frozen=True, slots=True)
class _Door:
    """How to get at a server. node: the host and port of a node that is reached as the address of another one says."""

    url: str
    node: tuple[str, int] | None = None

    @property
    def shown(self) -> str:
        """The address for people, without the password."""
        facts = cast("dict[str, Any]", parse_url(self.url))
        host, port = self.node or (facts.get("host", "127.0.0.1"), facts.get("port", 6379))
        return str(facts.get("path") or f"{host}:{port}")

    def connect(self) -> Redis:
        """A client that tries once."""
        client: Redis = Redis.from_url(
            self.url,
            decode_responses=True,
            socket_timeout=limits.CALL_TIMEOUT_S,
            socket_connect_timeout=limits.CALL_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
        )
        if self.node is not None:
            client.connection_pool.connection_kwargs |= {"host": self.node[0], "port": self.node[1]}
        return client


async def _valkeys(urls: list[str]) -> tuple[tuple[ValkeyFacts, ...], ClusterFacts | None]:
    doors = [_Door(url.strip()) for url in urls]
    answers = await _ask_all(doors)
    if not any(isinstance(answer, ValkeyFacts) for answer in answers):
        raise SurroundingsError(
            f"Valkey does not answer ({answers[0]}). Start it, or set FLASHSALE_REDIS_URL; "
            "to try things out run: flashsale up"
        )
    for door, answer in zip(doors, answers, strict=True):
        if isinstance(answer, ValkeyFacts) and answer.cluster:
            return await _cluster(door)
    return tuple(answer for answer in answers if isinstance(answer, ValkeyFacts)), None


async def _cluster(seed: _Door) -> tuple[tuple[ValkeyFacts, ...], ClusterFacts]:
    """The facts of all nodes that this node knows, and what it says of the cluster."""
    async with seed.connect() as client:
        told = str(await cast("Any", client).execute_command("CLUSTER", "INFO"))
        lines = str(await cast("Any", client).execute_command("CLUSTER", "NODES")).splitlines()
    info = {name: value for name, _, value in (line.partition(":") for line in told.splitlines())}
    nodes = [node for line in lines if (node := _node(line, seed)) is not None]
    answers = await _ask_all(nodes)
    silent = [node.shown for node, answer in zip(nodes, answers, strict=True) if not isinstance(answer, ValkeyFacts)]
    cluster = ClusterFacts(info["cluster_state"], int(info["cluster_slots_ok"]), tuple(silent))
    return tuple(answer for answer in answers if isinstance(answer, ValkeyFacts)), cluster


def _node(line: str, seed: _Door) -> _Door | None:
    """The door to a node of this line of CLUSTER NODES, or None while its address is not known."""
    _, address, flags, *_ = line.split()
    host, _, port = address.partition("@")[0].rpartition(":")
    if {"handshake", "noaddr"} & set(flags.split(",")):
        return None
    # A node that has not met another one does not know its own host; it is the one that was asked.
    return _Door(seed.url, (host, int(port)) if host else None)


async def _ask_all(doors: list[_Door]) -> list[ValkeyFacts | Exception]:
    return list(await asyncio.gather(*map(_answer, doors)))


async def _answer(door: _Door) -> ValkeyFacts | Exception:
    """What the server says, or why it does not."""
    try:
        async with door.connect() as client:
            return await _ask(client, door.shown)
    except (RedisError, OSError) as trouble:
        return trouble


async def _ask(client: Redis, address: str) -> ValkeyFacts:
    info: dict[str, Any] = await client.info()
    before_ms = clock.now_ms()
    seconds, micros = await client.time()
    ours_ms = (before_ms + clock.now_ms()) // 2
    version = str(info.get("valkey_version") or info["redis_version"])
    configured = await _configured(client)
    entries = configured.get("set-max-intset-entries")
    return ValkeyFacts(
        address=address,
        product="Valkey" if "valkey_version" in info else "Redis",
        version=tuple(int(part) for part in version.split(".")[:2]),
        primary=info["role"] == "master",
        cluster=bool(info.get("cluster_enabled")),
        replicas=sum(
            isinstance(facts, dict) and facts.get("state") == "online"
            for name, facts in info.items()
            if re.fullmatch(r"slave\d+", name)
        ),
        policy=str(info["maxmemory_policy"]),
        appendonly=bool(info["aof_enabled"]),
        appendfsync=configured.get("appendfsync"),
        intset_entries=None if entries is None else int(entries),
        memory_max=int(info["maxmemory"]),
        memory_used=memory.used_bytes(info),
        clock_off_ms=int(seconds) * 1000 + int(micros) // 1000 - ours_ms,
    )


async def _configured(client: Redis) -> dict[str, str]:
    """The settings that only CONFIG tells; none where hosts forbid it."""
    try:
        told = await client.config_get(*_CONFIGURED)
    except ResponseError:
        return {}
    return {str(name): str(value) for name, value in told.items()}


async def _postgres(postgres: Pool) -> PostgresFacts:
    async with postgres.acquire() as connection:
        schema = await schema_number(connection)
        before_ms = clock.now_ms()
        row = await connection.fetchrow(query("doctor", "settings"))
        ours_ms = (before_ms + clock.now_ms()) // 2
    assert row is not None, "a query without tables has one row"
    return PostgresFacts(
        version=row["version"],
        schema=schema,
        fsync=row["fsync"],
        full_page_writes=row["full_page_writes"],
        synchronous_commit=row["synchronous_commit"],
        connections_max=row["connections_max"],
        clock_off_ms=row["now_ms"] - ours_ms,
        disk_free_bytes=_free_bytes(row["data_here"]),
    )


def _free_bytes(folder: str | None) -> int | None:
    """What is free where this folder lies, if it is told and may be looked at from here."""
    if folder is None:
        return None
    try:
        found = os.statvfs(folder)
    except OSError:
        return None
    return found.f_bavail * found.f_frsize
