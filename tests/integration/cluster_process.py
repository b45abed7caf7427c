"""What the tests of the embedded cluster share: a cluster in another process, and what is seen of one from outside."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from redis.cluster import ClusterNode, RedisCluster

from flashsale.embedded import Addresses
from flashsale.embedded_cluster import EmbeddedCluster
from flashsale.embedded_nodes import Node
from tests.integration.pair_process import child_environment
from tests.support.waiting import until

HOLD = """
import sys, json, signal
from pathlib import Path
from flashsale.embedded_cluster import EmbeddedCluster
cluster = EmbeddedCluster(state=Path(sys.argv[1]))
addresses = cluster.start()
print(json.dumps([addresses.redis_url, addresses.postgres_dsn]), flush=True)
signal.pause()
"""


@contextmanager
def cluster_holder(state: Path) -> Iterator[tuple[subprocess.Popen[str], Addresses]]:
    """Another process that runs a cluster; killed at the end."""
    command = [sys.executable, "-W", "error", "-c", HOLD, str(state)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=child_environment()) as parent:
        try:
            assert parent.stdout is not None
            redis_url, postgres_dsn = json.loads(parent.stdout.readline())
            yield parent, Addresses(redis_url=redis_url, postgres_dsn=postgres_dsn)
        finally:
            parent.kill()


def ports(addresses: Addresses) -> list[int]:
    """The ports for clients, in the order of the nodes."""
    return [int(urlsplit(url).port or 0) for url in addresses.redis_url.split(",")]


def is_listening(port: int) -> bool:
    """Whether something accepts connections there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def client(addresses: Addresses) -> Iterator[RedisCluster]:
    """A client of the whole cluster."""
    found = RedisCluster(
        startup_nodes=[cast("Any", ClusterNode)("127.0.0.1", port) for port in ports(addresses)], decode_responses=True
    )
    try:
        yield found
    finally:
        found.close()


def write_everywhere(addresses: Addresses, text: str) -> None:
    """A hundred keys over all primaries, each told to its replica when this returns."""
    with client(addresses) as cluster:
        for number in range(100):
            cluster.set(f"k{number}", text)


def texts_everywhere(addresses: Addresses) -> set[object]:
    """What the hundred keys hold."""
    with client(addresses) as cluster:
        return {cluster.get(f"k{number}") for number in range(100)}


def killed_primary(cluster: EmbeddedCluster) -> Node:
    """A primary that is killed now; returns once its replica has taken over."""
    gone = next(node for node in cluster.nodes if node.role == "primary")
    os.kill(gone.pid, signal.SIGKILL)

    def taken_over() -> bool:
        owners = [node for node in cluster.nodes if node.role == "primary" and node.up and node.slots]
        return len(owners) == 3 and gone.name not in {node.name for node in owners}

    until(taken_over, what="the replica has taken over", deadline_s=20)
    return gone
