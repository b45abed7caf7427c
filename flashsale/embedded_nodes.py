"""The nodes of the embedded cluster: their ports, how they are joined to a cluster, and what they say of each other."""

import random
import re
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from redis import Redis
from redis.exceptions import RedisError, ResponseError

from flashsale.embedded_server import POLL_S, START_S_MAX, EmbeddedError
from flashsale.embedded_valkey import LOOPBACK, ask, client_of

SLOTS: Final = 16_384
VIEW_S_MAX: Final = 1.0
# Below the ports that systems give to outgoing connections, so that none of those takes a port between two starts.
PORT_MIN: Final = 20_000
PORT_MAX: Final = 32_000
PORT_TRIES_MAX: Final = 1_000

Role = Literal["primary", "replica"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a node listens: its name, its port for clients, and its port for the other nodes."""

    name: str
    port: int
    bus_port: int

    @property
    def url(self) -> str:
        """Its address for clients."""
        return f"redis://{LOOPBACK}:{self.port}"


@dataclass(frozen=True, slots=True)
class Sight:
    """One line of what a node says of the cluster. up: no node thinks that it has failed."""

    node_id: str
    port: int
    role: Role
    primary_id: str | None
    up: bool
    slots: int


@dataclass(frozen=True, slots=True)
class Node:
    """A node as the cluster sees it now.

    pid: its process, which may have been killed. primary: the name of the node that a replica follows.
    up: whether the others hold it for alive; they notice a death after the cluster-node-timeout.
    slots: how many it owns.
    """

    name: str
    port: int
    pid: int
    role: Role
    primary: str | None
    up: bool
    slots: int


def places_for(names: Sequence[str], remembered: Sequence[Place]) -> list[Place]:
    """A place for each name: the remembered one where its ports are free, else one that is free now."""
    known = {place.name: place for place in remembered}
    taken: set[int] = set()
    places = []
    for name in names:
        place = known.get(name)
        if place is None or not all(_is_free(port) and port not in taken for port in (place.port, place.bus_port)):
            place = Place(name, _free_port(taken), _free_port(taken))
        taken |= {place.port, place.bus_port}
        places.append(place)
    return places


def move_nodes(config_file: Path, before: Sequence[Place], now: Sequence[Place]) -> None:
    """Write the nodes' new ports into what a node that is not running remembers of the others."""
    ports = {(old.port, old.bus_port): new for old, new in zip(before, now, strict=True) if old != new}
    if not ports or not config_file.exists():
        return

    def moved(found: "re.Match[str]") -> str:
        place = ports.get((int(found[1]), int(found[2])))
        return found[0] if place is None else f"{LOOPBACK}:{place.port}@{place.bus_port}"

    text = config_file.read_text()
    config_file.write_text(re.sub(rf"{re.escape(LOOPBACK)}:(\d+)@(\d+)", moved, text))


def form(places: Sequence[Place], *, primaries: int) -> None:
    """Make one cluster of nodes that know nothing yet: the first ones share the slots, the rest follow them in turn.

    Raises EmbeddedError when the nodes do not come together in time.
    """
    with _clients(places) as clients:
        for at, client in enumerate(clients):
            # Nodes with different epochs have nothing to settle; it can be set only before they meet any other.
            ask(client, "CLUSTER", "SET-CONFIG-EPOCH", at + 1)
        for at, client in enumerate(clients[:primaries]):
            low, high = at * SLOTS // primaries, (at + 1) * SLOTS // primaries - 1
            ask(client, "CLUSTER", "ADDSLOTSRANGE", low, high)
        for at, client in enumerate(clients):
            for other in places[at + 1 :]:
                ask(client, "CLUSTER", "MEET", LOOPBACK, other.port, other.bus_port)
        for at, client in enumerate(clients[primaries:]):
            _await(lambda: len(sights(client)) == len(places), what="the nodes know each other")  # noqa: B023
            primary_id = ask(clients[at % primaries], "CLUSTER", "MYID")
            _await(lambda: _follows(client, primary_id), what="a replica follows its primary")  # noqa: B023


def await_whole(places: Sequence[Place]) -> None:
    """Return once every node calls the cluster ok with all slots and all nodes, and each replica has its data.

    Raises EmbeddedError when that takes too long.
    """
    with _clients(places) as clients:
        for client in clients:
            _await(lambda: _is_whole(client, len(places)), what="the cluster is whole")  # noqa: B023


def sights(client: Redis) -> list[Sight]:
    """What this node says of all that it knows, without those it is just getting to know."""
    lines = str(ask(client, "CLUSTER", "NODES")).splitlines()
    return [_sight(line) for line in lines if "handshake" not in line.split()[2]]


def newest_sights(places: Sequence[Place]) -> list[Sight]:
    """What the node with the newest configuration says, which is the one that was made primary last.

    Raises EmbeddedError when no node answers.
    """
    best: tuple[int, list[Sight]] = (-1, [])
    for place in places:
        with client_of(place.url, timeout_s=VIEW_S_MAX) as client:
            try:
                best = max(best, (int(_info(client)["cluster_my_epoch"]), sights(client)), key=lambda found: found[0])
            except (RedisError, OSError):
                continue  # A node that was killed or stopped; another one tells of it.
    if not best[1]:
        raise EmbeddedError("No node of the cluster answers: restart() one, or stop() the cluster and start it again.")
    return best[1]


def _sight(line: str) -> Sight:
    node_id, address, flags, primary_id, _, _, _, _, *slots = line.split()
    given = flags.split(",")
    ranges = [part.partition("-") for part in slots if not part.startswith("[")]
    return Sight(
        node_id=node_id,
        port=int(address.partition("@")[0].rpartition(":")[2]),
        role="primary" if "master" in given else "replica",
        primary_id=None if primary_id == "-" else primary_id,
        up=not {"fail", "fail?", "noaddr"} & set(given),
        slots=sum(int(high or low) - int(low) + 1 for low, _, high in ranges),
    )


def _info(client: Redis) -> dict[str, str]:
    lines = str(ask(client, "CLUSTER", "INFO")).splitlines()
    return {name: value for name, _, value in (line.partition(":") for line in lines)}


def _follows(client: Redis, primary_id: str) -> bool:
    try:
        ask(client, "CLUSTER", "REPLICATE", primary_id)
    except ResponseError:  # It hasn't heard yet that the other one is a primary with slots.
        return False
    return True


def _is_whole(client: Redis, nodes: int) -> bool:
    told = _info(client)
    seen = sights(client)
    covered = told["cluster_slots_ok"] == str(SLOTS) and sum(sight.slots for sight in seen) == SLOTS
    if told["cluster_state"] != "ok" or not covered or len(seen) != nodes or not all(sight.up for sight in seen):
        return False
    link = ask(client, "INFO", "replication")
    return bool(link["role"] == "master" or link["master_link_status"] == "up")


def _await(true: Callable[[], bool], *, what: str) -> None:
    deadline = time.monotonic() + START_S_MAX
    while not true():
        if time.monotonic() > deadline:
            raise EmbeddedError(f"Waited {START_S_MAX:.0f} s in vain until {what}. See the logs of the nodes.")
        time.sleep(POLL_S)


@contextmanager
def _clients(places: Sequence[Place]) -> Iterator[list[Redis]]:
    with ExitStack() as stack:
        try:
            yield [stack.enter_context(closing(client_of(place.url))) for place in places]
        except (RedisError, OSError) as trouble:
            raise EmbeddedError(
                f"A node of the cluster went away or refused ({trouble}). See the logs of the nodes."
            ) from trouble


def _free_port(taken: set[int]) -> int:
    for port in random.sample(range(PORT_MIN, PORT_MAX), PORT_TRIES_MAX):
        if port not in taken and _is_free(port):
            taken.add(port)
            return port
    raise EmbeddedError(f"No port between {PORT_MIN} and {PORT_MAX} is free: end what listens there.")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As Valkey binds: connections of an earlier run that are still winding down are in nobody's way.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True
