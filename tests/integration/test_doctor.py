"""The doctor at real servers that are set up wrongly: each is refused by name, and no process starts on it."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest
from redis import Redis

from flashsale import limits, stores
from flashsale.doctor import Facts, Finding, Verdict, examine, refused
from flashsale.doctor_facts import read_facts, refuse_unfit
from flashsale.durability import Level
from flashsale.embedded import Addresses, EmbeddedPair, erase
from flashsale.embedded_cluster import EmbeddedCluster
from flashsale.errors import SurroundingsError
from flashsale.operations import Operations
from flashsale.queries import Pool, migrations
from tests.integration.cli_process import Cli
from tests.integration.cluster_process import killed_primary
from tests.integration.hall import Halls
from tests.integration.shop import created, plan_text
from tests.support.servers import missing, private_valkey
from tests.support.waiting import soon

pytestmark = pytest.mark.servers

STOCK = Path("/usr/bin/redis-server")


@pytest.fixture
async def pool(migrated: Addresses) -> AsyncIterator[Pool]:
    """A pool of one connection."""
    opened = await stores.open_postgres(migrated.postgres_dsn, connections=1)
    yield opened
    await opened.close()


async def facts_of(url: str, pool: Pool) -> Facts:
    """The facts with this server as Valkey."""
    return await read_facts(Addresses(redis_url=url, postgres_dsn=""), pool)


def refusals(facts: Facts, levels: dict[str, Level]) -> list[Finding]:
    """What no process may start with."""
    return refused(examine(facts, levels))


def stock_redis() -> Path:
    """The program of the system's own Redis."""
    if not STOCK.exists():
        missing("There is no stock redis-server here.")
    return STOCK


@contextmanager
def changed(addresses: Addresses, *statements: str) -> Iterator[str]:
    """The address of a database beside ours after these statements; it is dropped afterwards."""
    name = f"doctor{os.getpid()}"

    async def run(dsn: str, *texts: str) -> None:
        connection = await asyncpg.connect(dsn)
        try:
            for text in texts:
                await connection.execute(text)
        finally:
            await connection.close()

    dsn = addresses.postgres_dsn.replace("/flashsale?", f"/{name}?")
    asyncio.run(run(addresses.postgres_dsn, f"create database {name}"))
    try:
        asyncio.run(stores.migrate(dsn))
        asyncio.run(run(dsn, *statements))
        yield dsn
    finally:
        asyncio.run(run(addresses.postgres_dsn, f"drop database {name} with (force)"))


def test_the_pair_of_the_run_is_fit(cli: Cli) -> None:
    """Given the servers of the run / When the doctor looks / Then exit 0, as a table and as JSON."""
    done = cli("doctor")
    assert (done.status, "Fit to s" in done.out.splitlines()[-1]) == (0, True), done.out + done.err
    done = cli("doctor", "--json")
    assert (done.status, done.json["warnings"]) == (0, [one["verdict"] for one in done.json["findings"]].count("warn"))
    found = {finding["check"]: finding for finding in done.json["findings"]}
    assert done.json["fit"] is True
    assert found["maxmemory-policy"] == {
        "check": "maxmemory-policy", "found": "noeviction", "needed": "noeviction", "verdict": "ok", "remedy": "",
    }  # fmt: skip
    assert found["schema step"]["found"] == str(len(migrations()))


async def test_buckets_that_sell_nothing_are_warned_of(cli: Cli, halls: Halls, addresses: Addresses) -> None:
    """Given a sale of which one bucket of two is empty / When ops ask the doctor / Then it warns of that, with the
    command that looks at it, and not that all is well. A start is not refused; a sale that is over is left out."""
    shop = await halls(2)
    await shop.lose(shop.sale.all_buckets[1])
    name = shop.sale.sale
    done = cli("doctor")
    assert (done.status, done.out.splitlines()[-1].startswith("Fit to start. ")) == (0, True), done.out
    assert f"warn: buckets of {name} is 1 of 2 empty; it must be whole: " in done.out
    assert f"flashsale recover {name} --dry-run" in done.out
    await refuse_unfit(addresses, shop.postgres)
    assert cli("sale", "close", name).status == 0
    assert f"buckets of {name}" not in cli("doctor").out


def test_memory_above_the_watermark_is_not_fit_to_sell_on(cli: Cli, tmp_path: Path) -> None:
    """Given a server above its watermark / When ops ask the doctor / Then it may start, and the last line says to read
    the warning, which says that selling pauses, and until when."""
    with private_valkey(tmp_path) as server, Redis(port=server.port) as client:
        client.config_set("maxmemory", int(client.info("memory")["used_memory"] * 1.05))
        done = cli("doctor", redis_url=server.url)
    assert (done.status, done.out.splitlines()[-1].startswith("Fit to start. ")) == (0, True), done.out
    for words in ("used, selling pauses; it must be", "until it is below 85%"):
        assert words in done.out


def test_nothing_starts_on_a_valkey_that_evicts(cli: Cli, tmp_path: Path) -> None:
    """Given a server that evicts / When the doctor looks, or a process starts / Then exit 1, or 3 with the remedy."""
    with private_valkey(tmp_path, settings={"maxmemory-policy": "allkeys-lru"}) as server:
        done = cli("doctor", redis_url=server.url)
        assert done.status == 1
        assert "Not fit to sell on" in done.out
        for verb in ("serve", "worker"):
            done = cli(verb, redis_url=server.url)
            assert done.status == 3, done.out + done.err
            assert (
                "maxmemory-policy is allkeys-lru; it must be noeviction: "
                "CONFIG SET maxmemory-policy noeviction, and in valkey.conf" in done.err
            )


def test_nothing_starts_on_slots_of_nobody(cli: Cli, tmp_path: Path) -> None:
    """Given a cluster with half of its slots / When the doctor looks / Then they are counted, and that is refused."""
    with private_valkey(tmp_path, cluster=True) as server:
        done = cli("doctor", "--json", redis_url=server.url)
        assert done.status == 1
        found = {finding["check"]: finding for finding in done.json["findings"]}
        assert (found["cluster_slots_ok"]["found"], found["cluster_slots_ok"]["verdict"]) == ("8192", "refuse")


def asked_for_the_cluster(client: Redis) -> int:
    """How often the server has been asked about its cluster."""
    return int(client.info("commandstats")["cmdstat_cluster|info"]["calls"])


async def test_a_start_waits_for_a_failover_but_not_for_ever(pool: Pool, tmp_path: Path) -> None:
    """Given slots of nobody / When they get an owner in time / Then the start goes on; else it is refused."""
    with private_valkey(tmp_path, cluster=True) as server, Redis(port=server.port) as client:
        addresses = Addresses(redis_url=server.url, postgres_dsn="")
        with pytest.raises(SurroundingsError, match="cluster_slots_ok is 8192; it must be 16384"):
            await refuse_unfit(addresses, pool)
        looks = asked_for_the_cluster(client)
        start = asyncio.create_task(refuse_unfit(addresses, pool))

        async def looked_twice() -> bool:
            return asked_for_the_cluster(client) >= looks + 2

        await soon(looked_twice, what="the start has looked twice")
        assert not start.done()
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", 8192, 16383)
        await start


async def test_what_a_level_lacks_keeps_nobody_from_landing(
    pool: Pool, operations: Operations, sale_name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Given a replicated sale and a primary whose replicas are gone / When a process starts that sells / Then it is
    refused; one that does not, the worker, is warned and starts. A server that evicts is refused to both."""
    monkeypatch.setattr(limits, "FAILOVER_S", 0.0)
    await created(operations, plan_text(sale_name, top='ack = "replicated"'))
    with private_valkey(tmp_path) as server, Redis(port=server.port) as client:
        addresses = Addresses(redis_url=server.url, postgres_dsn="")
        with pytest.raises(SurroundingsError, match="replicas per primary is 0; it must be 1 or more for level"):
            await refuse_unfit(addresses, pool)
        await refuse_unfit(addresses, pool, selling=False)
        assert "doctor.warning replicas per primary is 0" in caplog.text
        client.config_set("maxmemory-policy", "allkeys-lru")
        with pytest.raises(SurroundingsError, match="maxmemory-policy"):
            await refuse_unfit(addresses, pool, selling=False)


async def test_levels_need_what_a_bare_server_has_not(pool: Pool, tmp_path: Path) -> None:
    """Given a server without log and replicas / Then level accepted is let through, the higher ones are refused."""
    with private_valkey(tmp_path, settings={"appendonly": "no", "appendfsync": "always"}) as server:
        facts = await facts_of(server.url, pool)
        assert refusals(facts, {"s": Level.ACCEPTED, "c": Level.CONFIRMED}) == []
        assert [found.check for found in refusals(facts, {"s": Level.FSYNCED})] == ["appendonly"]
        assert [found.check for found in refusals(facts, {"s": Level.REPLICATED})] == ["replicas per primary"]


async def test_a_log_that_is_never_synced_cannot_be_waited_for(pool: Pool, tmp_path: Path) -> None:
    """Given appendfsync no / When its log is waited for / Then in vain; so level fsynced is refused."""
    with private_valkey(tmp_path, settings={"appendonly": "yes", "appendfsync": "no"}) as server:
        with Redis(port=server.port) as client:
            client.set("k", "v")
            assert client.execute_command("WAITAOF", 1, 0, 1500) == [0, 0]
        facts = await facts_of(server.url, pool)
        assert [found.check for found in refusals(facts, {"s": Level.FSYNCED})] == ["appendfsync"]


async def test_a_log_that_is_synced_later_proves_nothing(pool: Pool, tmp_path: Path) -> None:
    """Given appendfsync everysec / Then level fsynced is refused, with the value that it needs; accepted is not."""
    with private_valkey(tmp_path, settings={"appendonly": "yes", "appendfsync": "everysec"}) as server:
        facts = await facts_of(server.url, pool)
    (found,) = refusals(facts, {"mi3": Level.FSYNCED})
    assert found.sentence == (
        "appendfsync is everysec; it must be always for level fsynced of mi3: "
        "CONFIG SET appendfsync always, and in valkey.conf"
    )
    assert refusals(facts, {"mi3": Level.ACCEPTED}) == []


async def test_a_stock_redis_7_has_no_waitaof(pool: Pool, tmp_path: Path) -> None:
    """Given Redis 7.0 / Then level fsynced is refused by name, since it has no WAITAOF; the others are not."""
    with private_valkey(
        tmp_path, program=stock_redis(), settings={"appendonly": "yes", "appendfsync": "always"}
    ) as server:
        facts = await facts_of(server.url, pool)
    if facts.valkeys[0].version >= (7, 2):
        pytest.skip("this Redis has WAITAOF")
    (found,) = refusals(facts, {"mi3": Level.FSYNCED})
    assert found.sentence == (
        "WAITAOF is not there; it must be there for level fsynced of mi3: "
        "install Redis 7.2 or Valkey 8, or give the sale another level (ack)"
    )
    assert refusals(facts, {"mi3": Level.CONFIRMED}) == []


async def test_who_may_not_see_the_settings_is_told_so(pool: Pool, tmp_path: Path) -> None:
    """Given an account without CONFIG, and a password / Then what is not told is unknown, and no password is shown."""
    with private_valkey(tmp_path, password="hush") as server:
        with Redis(port=server.port, password="hush") as client:
            client.execute_command("ACL", "SETUSER", "shop", "on", ">hush-hush", "~*", "+@all", "-config")
        facts = await facts_of(server.url.replace("//", "//shop:hush-hush@"), pool)
    found = {finding.check: finding for finding in examine(facts, {})}
    assert found["appendfsync"].verdict is found["set-max-intset-entries"].verdict is Verdict.UNKNOWN
    assert found["maxmemory-policy"].verdict is Verdict.OK
    assert facts.valkeys[0].address == f"127.0.0.1:{server.port}"


async def test_the_replica_of_a_server_counts(pool: Pool, tmp_path: Path) -> None:
    """Given a primary with a replica / When the replica goes / Then level replicated is refused."""
    second = tmp_path / "second"
    second.mkdir()
    with private_valkey(tmp_path, settings={"repl-diskless-sync-delay": "0"}) as primary:
        with private_valkey(second) as replica, Redis(port=replica.port) as client:
            client.replicaof("127.0.0.1", primary.port)

            async def online() -> bool:
                return (await facts_of(primary.url, pool)).valkeys[0].replicas == 1

            await soon(online, what="the replica is online")
            assert refusals(await facts_of(primary.url, pool), {"s": Level.REPLICATED}) == []
        assert len(refusals(await facts_of(primary.url, pool), {"s": Level.REPLICATED})) == 1


@pytest.mark.parametrize("setting", ["fsync", "full_page_writes", "synchronous_commit"])
def test_nothing_starts_on_a_postgres_that_may_forget(cli: Cli, tmp_path: Path, setting: str) -> None:
    """Given a Postgres with one of its promises off / When a worker starts / Then exit 3 and the setting's name."""
    state = tmp_path / "wrong"
    try:
        with EmbeddedPair(state=state, postgres_settings={setting: "off"}) as addresses:
            asyncio.run(stores.migrate(addresses.postgres_dsn))
            done = cli("worker", redis_url=addresses.redis_url, postgres_dsn=addresses.postgres_dsn)
            assert done.status == 3, done.out + done.err
            assert f"{setting} is off; it must be" in done.err
            assert f"set {setting} = on in postgresql.conf" in done.err
    finally:
        erase(state)


def test_another_schema_is_refused(cli: Cli, migrated: Addresses) -> None:
    """Given a schema that is newer, then older, than the code / When the doctor looks / Then exit 1 and what to do."""
    if "?" not in migrated.postgres_dsn:
        pytest.skip("the address of a database beside the configured one can't be made")
    newer = "insert into schema_steps (number, name) values (9999, '9999_later.sql')"
    with changed(migrated, newer) as dsn:
        done = cli("doctor", postgres_dsn=dsn)
        assert (done.status, "install the newer flashsale" in done.out) == (1, True), done.out
    with changed(migrated, "drop schema public cascade", "create schema public") as dsn:
        done = cli("doctor", postgres_dsn=dsn)
        assert (done.status, "run: flashsale migrate" in done.out) == (1, True), done.out


def test_no_server_at_all(cli: Cli) -> None:
    """Given an address where nobody answers / When the doctor looks / Then exit 3 and what to do."""
    done = cli("doctor", redis_url="redis://127.0.0.1:1")
    assert (done.status, "Valkey does not answer" in done.err) == (3, True), done.err


@pytest.mark.slow
async def test_every_node_of_a_cluster_is_looked_at(pool: Pool, tmp_path: Path) -> None:
    """Given a real cluster / When one replica evicts, and a primary is killed / Then both are told by their address."""
    cluster = EmbeddedCluster(state=tmp_path / "cluster")
    try:
        with cluster as addresses:
            facts = await facts_of(addresses.redis_url, pool)
            assert len(facts.valkeys) == 6
            assert refusals(facts, {"s": Level.REPLICATED}) == []
            one = addresses.redis_url.split(",")[2]
            assert {v.address for v in (await facts_of(one, pool)).valkeys} == {v.address for v in facts.valkeys}
            replica = next(node for node in cluster.nodes if node.role == "replica")
            with Redis(port=replica.port) as client:
                client.config_set("maxmemory-policy", "allkeys-lru")
                (found,) = refusals(await facts_of(one, pool), {})
                assert found.found == f"allkeys-lru on 127.0.0.1:{replica.port}"
                client.config_set("maxmemory-policy", "noeviction")
            gone = await asyncio.to_thread(killed_primary, cluster)

            async def every_node_knows_the_new_primary() -> bool:
                seen = refusals(await facts_of(addresses.redis_url, pool), {"s": Level.REPLICATED})
                return [found.check for found in seen] == ["replicas per primary"]

            await soon(every_node_knows_the_new_primary, what="the failover is over for all", deadline_s=20)
            facts = await facts_of(addresses.redis_url, pool)
            assert facts.cluster is not None
            assert facts.cluster.silent == (f"127.0.0.1:{gone.port}",)
            assert [found.check for found in refusals(facts, {"s": Level.REPLICATED})] == ["replicas per primary"]
            assert refusals(replace(facts, cluster=replace(facts.cluster, silent=())), {"s": Level.ACCEPTED}) == []
    finally:
        erase(tmp_path / "cluster")
