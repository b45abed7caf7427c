"""F5: the primary of a bucket dies under load, or stands still until its replica has taken over."""

import asyncio
from typing import ClassVar

from redis.asyncio import Redis
from redis.crc import key_slot

from flashsale.embedded_cluster import EmbeddedCluster
from flashsale.embedded_nodes import Node
from loadtest.faults.base import CLUSTER, After, Fault
from loadtest.faults.scene import Scene, held

_TAKEN_OVER_S = 30.0


class PrimaryKilled(Fault):
    """kill -9 of a primary that holds a bucket of the sale; it comes back as a replica."""

    name = "F5"
    words = "a cluster primary killed -9 under load"
    topologies = (CLUSTER,)
    lose = frozenset({"accepted"})

    async def inject(self, scene: Scene) -> None:
        """Kill it, and wait until its replica has taken over."""
        self._node = await _primary_of_a_bucket(scene)
        self.observed["killed"] = self._node.name
        scene.kill_server(self._node.name)
        self.observed["taken_over_s"] = await _taken_over(scene, self._node)

    async def heal(self, scene: Scene) -> None:
        """Start it again."""
        scene.fleet.servers.restart(self._node.name)

    def seen_to_work(self) -> int:
        """Whether another took over."""
        return int(self.observed["taken_over_s"] is not None)


class PrimaryKilledAhead(PrimaryKilled):
    """As F5, while its replica is behind: its units are sold again. What Postgres had not heard of either is lost."""

    name = "F5-lag"
    words = "a cluster primary killed -9 while its replica is behind"
    behind_s: ClassVar[float] = 0.5
    unlanded_s: ClassVar[float] = 0.5

    async def inject(self, scene: Scene) -> None:
        """Hold the replica and cut it off, let the primary sell on, then without the worker; kill it, let both go on.

        Cut off, since what is on its socket already would still reach a replica that is only held. What is sold first
        lands; what is sold while the worker stands still is known to nobody but its fans: the lost tail.
        """
        self._node = await _primary_of_a_bucket(scene)
        servers = scene.fleet.servers
        assert isinstance(servers, EmbeddedCluster)
        replicas = [node.pid for node in servers.nodes if node.primary == self._node.name]
        self.observed["killed"] = self._node.name
        with held(replicas):
            async with Redis(port=self._node.port, socket_timeout=5) as primary:
                self.observed["replicas_cut_off"] = await primary.execute_command("CLIENT", "KILL", "TYPE", "replica")  # type: ignore[no-untyped-call]
            await asyncio.sleep(self.behind_s)
            with held([scene.fleet.pid_of("worker")]):
                await asyncio.sleep(self.unlanded_s)
                scene.kill_server(self._node.name)
        self.observed["taken_over_s"] = await _taken_over(scene, self._node)

    def reasons(self, after: After) -> list[str]:
        """Where the level allows a tail to be lost, one is: a tail of nothing would prove nothing of it."""
        if after.allowed.ack in self.lose and not self.observed["lost"]:
            return ["no win was lost, though only the dead primary can have known some"]
        return []


class PrimaryStalled(PrimaryKilled):
    """SIGSTOP of a primary for longer than the node timeout; it wakes up as one that is primary no more."""

    name = "F5-stop"
    words = "a cluster primary stopped for longer than the node timeout (SIGSTOP)"
    stays_s: ClassVar[float] = 1.0

    async def inject(self, scene: Scene) -> None:
        """Hold it until another has taken over, and a little longer."""
        self._node = await _primary_of_a_bucket(scene)
        self.observed["stopped"] = self._node.name
        with held([self._node.pid]):
            self.observed["taken_over_s"] = await _taken_over(scene, self._node)
            await asyncio.sleep(self.stays_s)

    async def heal(self, scene: Scene) -> None:
        """It goes on by itself."""


async def _primary_of_a_bucket(scene: Scene) -> Node:
    """The primary that holds a bucket of the sale, drawn by the seed."""
    bucket = scene.random.choice(scene.sale.all_buckets)
    slot = key_slot(bucket.sale_key.encode())
    servers = scene.fleet.servers
    assert isinstance(servers, EmbeddedCluster)
    port = await _port_of(scene, slot)
    return next(node for node in servers.nodes if node.port == port)


async def _port_of(scene: Scene, slot: int) -> int:
    """The port of the slot's primary, as the cluster says it."""
    for client in scene.primaries():
        async with client:
            slots = await client.execute_command("CLUSTER SLOTS")  # type: ignore[no-untyped-call]
            for low, high, primary, *_ in slots:
                if low <= slot <= high:
                    return int(primary[1])
    raise AssertionError(f"no primary has slot {slot}")


async def _taken_over(scene: Scene, node: Node) -> float | None:
    """Seconds until another primary has what this one had; None when none did in time."""
    servers, began = scene.fleet.servers, asyncio.get_running_loop().time()
    assert isinstance(servers, EmbeddedCluster)
    replicas = {other.name for other in servers.nodes if other.primary == node.name}
    while (passed := asyncio.get_running_loop().time() - began) < _TAKEN_OVER_S:
        seen = await asyncio.to_thread(lambda: servers.nodes)
        if any(other.name in replicas and other.role == "primary" and other.slots for other in seen):
            return round(passed, 2)
        await asyncio.sleep(0.1)
    return None
