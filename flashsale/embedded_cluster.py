"""The embedded cluster: a real Valkey Cluster and a real Postgres from packages, for rehearsals and tests of faults.

Nodes must find each other, so they listen on TCP, on loopback only; Postgres has its unix socket as in the pair. Each
node may be killed and started again alone. All is plain and synchronous, as in the pair.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from flashsale.embedded_folder import own_folder, remove
from flashsale.embedded_nodes import Node, Place, await_whole, form, move_nodes, newest_sights, places_for
from flashsale.embedded_server import Account, EmbeddedError
from flashsale.embedded_stores import POSTGRES, Addresses, EmbeddedStores, Launch
from flashsale.embedded_valkey import LOOPBACK, memory_limit, valkey_answers, valkey_command

PRIMARIES_MIN: Final = 3  # Fewer can't agree that one of them is gone.
NODES_MAX: Final = 60
CLUSTER_SETTINGS: Final = {
    "cluster-node-timeout": "2000",
    # A replica that lost its primary more than 13 s ago may not take over; the defaults let it for half a minute.
    "cluster-replica-validity-factor": "5",
    "repl-ping-replica-period": "1",
    "cluster-require-full-coverage": "no",  # Buckets of other primaries sell on while one primary is gone.
    "repl-diskless-sync-delay": "0",  # Nobody waits for a second replica to join the same transfer.
}
_NODES_FILE: Final = "nodes.conf"


class EmbeddedCluster(EmbeddedStores):
    """Several Valkeys and one Postgres: `with EmbeddedCluster(state=folder) as addresses:`.

    Servers: valkey-1, valkey-2, … and postgres; at the first start the first ones are the primaries.
    primaries, replicas: how many primaries, and how many replicas of each; an earlier cluster keeps what it has.
    """

    def __init__(
        self,
        *,
        state: Path,
        fresh: bool = False,
        valkey_settings: Mapping[str, str] | None = None,
        postgres_settings: Mapping[str, str] | None = None,
        primaries: int = PRIMARIES_MIN,
        replicas: int = 1,
    ) -> None:
        super().__init__(state=state, fresh=fresh, valkey_settings=valkey_settings, postgres_settings=postgres_settings)
        if primaries < PRIMARIES_MIN or replicas < 0 or primaries * (1 + replicas) > NODES_MAX:
            raise EmbeddedError(
                f"A cluster has {PRIMARIES_MIN} primaries or more, 0 replicas or more, and at most {NODES_MAX} nodes."
            )
        self._primaries = primaries
        self._names = [f"valkey-{number}" for number in range(1, primaries * (1 + replicas) + 1)]
        self._places: list[Place] = []

    @property
    def nodes(self) -> tuple[Node, ...]:
        """All nodes as the cluster sees them now, in the order of their names.

        Raises EmbeddedError when it isn't started or no node answers.
        """
        pids = {place.name: self.pid_of(place.name) for place in self._places}
        if not pids:
            raise EmbeddedError("This cluster isn't started: start() it first.")
        seen = {sight.port: sight for sight in newest_sights(self._places)}
        ids = {seen[place.port].node_id: place.name for place in self._places if place.port in seen}
        return tuple(
            Node(
                name=place.name,
                port=place.port,
                pid=pids[place.name],
                role=seen[place.port].role,
                primary=ids.get(seen[place.port].primary_id or ""),
                up=seen[place.port].up,
                slots=seen[place.port].slots,
            )
            for place in self._places
            if place.port in seen
        )

    def _check_data(self) -> None:
        if not self._folder.cluster.exists() and any(self._folder.valkey.iterdir()):
            raise EmbeddedError(
                f"{self._folder.path} keeps the data of a pair. Start it without --topology cluster, "
                "begin without that data (--fresh), or choose another state folder."
            )

    def _start_servers(self, sockets: Path, account: Account | None) -> Addresses:
        """Side by side: the nodes read their data while Postgres makes or recovers its own."""
        formed = self._take_places()
        for place in self._places:
            self._launch_node(place)
        home = self._launch_postgres(sockets, account)
        for place in self._places:
            self._await_ready(place.name)
        if not formed:
            form(self._places, primaries=self._primaries)
        await_whole(self._places)
        self._remember(formed=True)
        self._await_ready(POSTGRES)
        home.make_database()
        return Addresses(redis_url=",".join(place.url for place in self._places), postgres_dsn=home.dsn)

    def _announced(self) -> dict[str, Any]:
        return {"nodes": [asdict(place) | {"pid": self.pid_of(place.name)} for place in self._places]}

    def _take_places(self) -> bool:
        """Settle where each node listens; whether they are a cluster already."""
        file = self._folder.cluster
        remembered: dict[str, Any] = {"formed": False, "nodes": []}
        if file.exists():
            remembered = json.loads(file.read_text())
        before = [Place(**place) for place in remembered["nodes"]]
        formed = bool(remembered["formed"])
        if formed:
            self._names = [place.name for place in before]
        self._places = places_for(self._names, before)
        for place in self._places:
            data = self._folder.valkey / place.name
            if formed:
                move_nodes(data / _NODES_FILE, before, self._places)
            else:
                remove(data)  # A start that did not come to its end has told nobody where to write.
            own_folder(data, 0o700)
        self._remember(formed=formed)
        return formed

    def _remember(self, *, formed: bool) -> None:
        unfinished = self._folder.cluster.with_suffix(".new")
        unfinished.write_text(json.dumps({"formed": formed, "nodes": [asdict(place) for place in self._places]}))
        unfinished.replace(self._folder.cluster)

    def _launch_node(self, place: Place) -> None:
        listening = {
            "port": str(place.port),
            "bind": LOOPBACK,
            "protected-mode": "yes",
            "cluster-enabled": "yes",
            "cluster-port": str(place.bus_port),
            "cluster-announce-ip": LOOPBACK,
            "cluster-config-file": _NODES_FILE,
        }
        self._launches[place.name] = Launch(
            command=valkey_command(
                data=self._folder.valkey / place.name,
                settings={"maxmemory": memory_limit(len(self._places)), **CLUSTER_SETTINGS, **self._valkey_settings},
                places=listening,
            ),
            account=None,
            answers=lambda: valkey_answers(place.url),
            tidy=lambda: None,
        )
        self._run(place.name)
