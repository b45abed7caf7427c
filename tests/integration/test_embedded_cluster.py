"""The embedded cluster, with real processes: it forms, fails over, keeps data, refuses clearly, leaves nothing."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from redis import Redis

from flashsale.embedded import EmbeddedError, EmbeddedPair, erase, running
from flashsale.embedded_cluster import EmbeddedCluster
from tests.integration.cli_process import Cli, bare_environment, console_script
from tests.integration.cluster_process import (
    client,
    cluster_holder,
    is_listening,
    killed_primary,
    ports,
    texts_everywhere,
    write_everywhere,
)
from tests.integration.pair_process import is_alive, sql
from tests.support.waiting import until

pytestmark = [pytest.mark.servers, pytest.mark.slow]


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    """A state folder that does not exist yet, and of which nothing is left afterwards."""
    folder = tmp_path / "state"
    yield folder
    erase(folder)


def test_a_cluster_forms_and_leaves_nothing(state: Path) -> None:
    """Given no folder / When a cluster runs and stops / Then it is whole within ten seconds, on loopback; all ends."""
    began = time.monotonic()
    cluster = EmbeddedCluster(state=state)
    with cluster as addresses:
        assert time.monotonic() - began < 10
        nodes = cluster.nodes
        assert [node.role for node in nodes] == ["primary"] * 3 + ["replica"] * 3
        assert sum(node.slots for node in nodes) == 16_384
        assert [node.primary for node in nodes[3:]] == ["valkey-1", "valkey-2", "valkey-3"]
        assert all(node.up for node in nodes)
        for node in nodes:
            listening = [c.laddr for c in psutil.Process(node.pid).net_connections() if c.status == psutil.CONN_LISTEN]
            assert {address.ip for address in listening} == {"127.0.0.1"}
            assert node.port in {address.port for address in listening}
            with Redis(port=node.port, decode_responses=True) as one:
                assert one.config_get("appendonly", "maxmemory-policy", "cluster-node-timeout") == {
                    "appendonly": "yes", "maxmemory-policy": "noeviction", "cluster-node-timeout": "2000",
                }  # fmt: skip
                link = one.info("replication")
                assert link["connected_slaves"] == 1 if node.role == "primary" else link["master_link_status"] == "up"
        assert running(state) == addresses
        assert sql(addresses, "select 1") == 1
        family = [node.pid for node in nodes] + [cluster.postgres_pid]
    assert not any(is_alive(pid) for pid in family)
    assert not any(is_listening(port) for port in ports(addresses))
    assert not Path(addresses.postgres_dsn.partition("?host=")[2]).exists()
    assert running(state) is None
    assert not (state / "running.json").exists()


def test_a_killed_primary_is_replaced_and_comes_back_as_a_replica(state: Path) -> None:
    """Given data / When a primary is killed, then started again / Then its replica serves it; it follows that one."""
    cluster = EmbeddedCluster(state=state)
    with cluster as addresses:
        write_everywhere(addresses, "before")
        with pytest.raises(EmbeddedError, match="valkey-1 still runs"):
            cluster.restart("valkey-1")
        gone = killed_primary(cluster)
        assert running(state) == addresses, "a cluster that has lost a node is still found"
        write_everywhere(addresses, "after")
        cluster.restart(gone.name)

        def follows() -> bool:
            node = next(node for node in cluster.nodes if node.name == gone.name)
            return node.up and node.role == "replica"

        until(follows, what="the node is a replica")
        assert cluster.pid_of(gone.name) != gone.pid
        written = json.loads((state / "running.json").read_text())
        assert [node["pid"] for node in written["nodes"]] == [node.pid for node in cluster.nodes]
        assert texts_everywhere(addresses) == {"after"}
    with cluster as again:
        assert again == addresses, "ports that are free are kept"
        assert texts_everywhere(again) == {"after"}
        assert {node.name for node in cluster.nodes if node.role == "primary"} == {"valkey-2", "valkey-3", "valkey-4"}


def test_the_nodes_find_each_other_on_other_ports(state: Path) -> None:
    """Given ports that others took meanwhile / When the cluster starts again / Then with its data, on new ones."""
    cluster = EmbeddedCluster(state=state)
    with cluster as addresses:
        write_everywhere(addresses, "kept")
    taken = [socket.create_server(("127.0.0.1", port)) for port in ports(addresses)]
    try:
        with cluster as again:
            assert not set(ports(again)) & set(ports(addresses))
            assert texts_everywhere(again) == {"kept"}
    finally:
        for listener in taken:
            listener.close()
    with EmbeddedCluster(state=state, fresh=True) as addresses:
        assert texts_everywhere(addresses) == {None}


def test_a_start_that_did_not_end_is_begun_anew(state: Path) -> None:
    """Given nodes that were never joined / When a cluster starts there / Then it forms all the same."""
    cluster = EmbeddedCluster(state=state)
    with cluster:
        pass
    file = state / "valkey" / "cluster.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"formed": False}))
    with cluster as addresses, client(addresses) as found:
        assert found.set("k", "v")


def test_a_stopped_node_is_told_of_and_ends_with_the_rest(state: Path) -> None:
    """Given a node stopped by a signal / When the cluster is looked at, then ends / Then soon, with that one."""
    cluster = EmbeddedCluster(state=state)
    with cluster:
        os.kill(cluster.pid_of("valkey-6"), signal.SIGSTOP)
        until(lambda: not cluster.nodes[5].up, what="the others hold it for gone", deadline_s=20)
        gone, began = cluster.nodes[5].pid, time.monotonic()
    assert time.monotonic() - began < 10
    assert not is_alive(gone)


def test_a_stopped_node_of_a_dead_parent_is_ended_first(state: Path) -> None:
    """Given a node that is stopped while its parent is killed / When the cluster starts again / Then soon, whole."""
    with cluster_holder(state) as (parent, _):
        stopped = json.loads((state / "running.json").read_text())["nodes"][0]["pid"]
        os.kill(stopped, signal.SIGSTOP)
        parent.kill()
    began = time.monotonic()
    with EmbeddedCluster(state=state) as addresses:
        assert time.monotonic() - began < 20
        assert not is_alive(stopped)
        write_everywhere(addresses, "works")


def test_pair_and_cluster_do_not_mix(state: Path) -> None:
    """Given a folder of the one / When the other starts there / Then it is refused, and the data stays."""
    with EmbeddedCluster(state=state) as addresses:
        write_everywhere(addresses, "kept")
        with pytest.raises(EmbeddedError, match="A pair or cluster already runs"):
            EmbeddedCluster(state=state).start()
    with pytest.raises(EmbeddedError, match=r"data of a cluster\. Start it with --topology cluster"):
        EmbeddedPair(state=state).start()
    with EmbeddedCluster(state=state) as addresses:
        assert texts_everywhere(addresses) == {"kept"}
    with EmbeddedPair(state=state, fresh=True):
        pass
    with pytest.raises(EmbeddedError, match=r"data of a pair\. Start it without --topology"):
        EmbeddedCluster(state=state).start()


def test_too_few_primaries_are_refused(state: Path) -> None:
    """Given two primaries / Then the refusal says how many are needed."""
    with pytest.raises(EmbeddedError, match="3 primaries or more"):
        EmbeddedCluster(state=state, primaries=2)
    with pytest.raises(EmbeddedError, match="isn't started"):
        _ = EmbeddedCluster(state=state).nodes


def test_a_killed_valkey_of_a_pair_starts_again(state: Path) -> None:
    """Given a pair with data / When each server is killed and started again / Then the data is there."""
    pair = EmbeddedPair(state=state)
    with pair as addresses:
        sql(addresses, "create table something as select 1")
        with Redis.from_url(addresses.redis_url) as valkey:
            valkey.set("k", "v")
        for name in ("valkey", "postgres"):
            os.kill(pair.pid_of(name), signal.SIGKILL)
            pair.restart(name)  # at once: it waits until the killed one is gone
        with Redis.from_url(addresses.redis_url) as valkey:
            assert valkey.get("k") == b"v"
        assert sql(addresses, "select count(*) from something") == 1
        assert running(state) == addresses


def test_up_runs_a_cluster_that_other_commands_find(state: Path, cli: Cli) -> None:
    """Given `up --topology cluster` / When the doctor looks, and a second `up` starts / Then it finds it; exit 3."""
    command = [console_script(), "up", "--topology", "cluster", "--state", str(state)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=bare_environment()) as terminal:
        try:
            assert terminal.stdout is not None
            lines = [terminal.stdout.readline() for _ in range(8)]
            assert [line.split()[0] for line in lines] == ["Valkey"] * 6 + ["Postgres", "Schema"]
            found = cli("doctor", "--json", redis_url=None, postgres_dsn=None, state_dir=str(state))
            assert found.status == 0, found.out + found.err
            assert {f["found"] for f in found.json["findings"] if f["check"] == "cluster_slots_ok"} == {"16384"}
            again = cli("up", "--topology", "cluster", "--state", str(state))
            assert (again.status, "already runs" in again.err) == (3, True)
        finally:
            terminal.send_signal(signal.SIGINT)
        assert terminal.wait(20) == 0
    assert not any(is_listening(int(line.rpartition(":")[2])) for line in lines[:6])
    wrong = cli("up", "--state", str(state))
    assert (wrong.status, "--topology cluster" in wrong.err) == (3, True)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent died")
def test_a_killed_parent_leaves_nothing_but_the_data(state: Path) -> None:
    """Given a cluster / When its parent is killed / Then no process and no port stay; the next start has the data."""
    with cluster_holder(state) as (parent, addresses):
        write_everywhere(addresses, "kept")
        assert running(state) == addresses
        family = [process.pid for process in psutil.Process(parent.pid).children(recursive=True)]
        assert len(family) > 7
        parent.kill()
        until(lambda: not any(is_alive(pid) for pid in family), what="the servers have ended")
    assert not any(is_listening(port) for port in ports(addresses))
    assert running(state) is None
    with EmbeddedCluster(state=state) as addresses:
        assert texts_everywhere(addresses) == {"kept"}
