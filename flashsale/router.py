"""The router: one ordered connection to each primary of a cluster, and which of them a command goes to.

It follows what the servers say: MOVED and ASK, a primary that has become a replica, one that is gone. What a server
refused before doing anything is sent on to the right one; what may have had its effect is never sent twice.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeAlias, TypeVar
from urllib.parse import urlsplit

from redis import exceptions
from redis.crc import key_slot

from flashsale import limits
from flashsale.connection import OrderedConnection

Command: TypeAlias = Sequence[str | int | bytes]
Reply = TypeVar("Reply")

# Said before anything was done: by a node that has not (or no longer) got the slot, and by one that can't serve it now.
_ELSEWHERE: Final = (exceptions.MovedError, exceptions.AskError, exceptions.ReadOnlyError)
UNDONE: Final = (
    *_ELSEWHERE, exceptions.ClusterDownError, exceptions.TryAgainError, exceptions.BusyLoadingError,
    exceptions.OutOfMemoryError,
)  # fmt: skip


class Router:
    """Sends commands to the primary of their key. Not safe across threads: one event loop owns it.

    urls: some nodes of the cluster, or the one server that is no cluster. Raises what OrderedConnection raises.
    """

    def __init__(self, urls: Sequence[str], *, cluster: bool, timeout_s: float = limits.CALL_TIMEOUT_S) -> None:
        self._seeds = tuple(urls)
        self.cluster = cluster
        self._timeout_s = timeout_s
        self._connections: dict[str, OrderedConnection] = {}
        self._url_of_slot: dict[int, str] = {}
        self._slots: dict[str | int | bytes, int] = {}
        self._learned = 0.0
        self._learning = asyncio.Lock()

    async def execute_command(self, *args: str | int | bytes, **options: Any) -> Any:
        """Send one command and wait for its reply."""
        if not self.cluster:
            return await self._connection(self._seeds[0]).execute_command(*args)
        return await self._routed(key_of(args), lambda way: way.execute_command(*args), [args])

    async def execute_together(self, *commands: Command) -> list[Any]:
        """Send commands to the primary of the first one's key, one right behind the other; their replies in order.

        A refusal by the server stands in its place. When the first one was sent on to another node, so were all.
        """
        if not self.cluster:
            return await self._connection(self._seeds[0]).execute_together(*commands)
        replies: list[Any] = await self._routed(key_of(commands[0]), lambda way: _first_raised(way, commands), commands)
        return replies

    def place(self, key: str) -> str:
        """The address to which a command with this key would go now, as far as is known without asking."""
        return self._url_of_slot.get(self._slot(key), "") if self.cluster else self._seeds[0]

    async def aclose(self) -> None:
        """Close every connection. A later command opens them anew."""
        for connection in self._connections.values():
            await connection.aclose()

    async def _routed(
        self,
        key: str | int | bytes,
        send: Callable[[OrderedConnection], Awaitable[Reply]],
        commands: Sequence[Command],
    ) -> Any:
        """Send to where the key is, and on to where a server says that it is; so many times at the most."""
        for _ in range(limits.REDIRECTIONS_MAX):
            url = self._url_of_slot.get(self._slot(key)) or await self._learn(self._slot(key))
            try:
                return await send(self._connection(url))
            except exceptions.AskError as asked:
                return await self._asking(self._beside(url, asked), commands)
            except exceptions.MovedError as moved:
                self._url_of_slot[self._slot(key)] = self._beside(url, moved)
            except exceptions.ReadOnlyError:
                await self._forget(url)
            except (exceptions.ConnectionError, exceptions.TimeoutError):
                # The primary may be gone for good: whoever comes next asks again where the slot is.
                await self._forget(url)
                raise
        raise exceptions.ClusterDownError("CLUSTERDOWN the slot is moved about without an end")

    async def _asking(self, url: str, commands: Sequence[Command]) -> Any:
        """To a node that takes the slot over just now: it serves one command after ASKING."""
        way = self._connection(url)
        replies = [(await way.execute_together(("ASKING",), command))[1] for command in commands]
        if len(replies) > 1:
            return replies
        if isinstance(replies[0], Exception):
            raise replies[0]
        return replies[0]

    def _slot(self, key: str | int | bytes) -> int:
        """The slot of a key. The keys of hot scripts are few, so that reckoning is done once."""
        slot = self._slots.get(key)
        if slot is None:
            if len(self._slots) >= limits.KEYS_REMEMBERED_MAX:
                self._slots.clear()
            slot = self._slots[key] = key_slot(key if isinstance(key, bytes) else str(key).encode())
        return slot

    def _beside(self, url: str, told: exceptions.AskError) -> str:
        """The address of the node that a server has told of. Without a host it is the one that told."""
        return _at(url, told.host or urlsplit(url).hostname or "", told.port)

    async def _forget(self, url: str) -> None:
        """This node is a primary no longer, or is away: its slots are asked for again."""
        self._url_of_slot = {slot: at for slot, at in self._url_of_slot.items() if at != url}
        connection = self._connections.pop(url, None)
        if connection is not None:
            await connection.aclose()

    async def _learn(self, slot: int) -> str:
        """Ask the nodes, one after the other, who has which slot. Raises ClusterDownError when nobody has this one."""
        async with self._learning:
            if slot in self._url_of_slot:
                return self._url_of_slot[slot]
            await self._wait_a_little()
            for url in {**dict.fromkeys(self._connections), **dict.fromkeys(self._seeds)}:
                try:
                    ranges = await asyncio.wait_for(self._connection(url).execute_command("CLUSTER", "SLOTS"), 1.0)
                except (exceptions.RedisError, OSError, TimeoutError):
                    continue
                self._take_in(url, ranges)
                if slot in self._url_of_slot:
                    return self._url_of_slot[slot]
        raise exceptions.ClusterDownError("CLUSTERDOWN no node that answers knows a primary of this slot")

    async def _wait_a_little(self) -> None:
        """A cluster that is choosing a new primary is not asked more often than it can answer."""
        loop = asyncio.get_running_loop()
        wait_s = self._learned + limits.SLOTS_ASKED_EVERY_S - loop.time()
        if wait_s > 0:
            await asyncio.sleep(wait_s)
        self._learned = loop.time()

    def _take_in(self, url: str, ranges: Sequence[Any]) -> None:
        for first, last, primary, *_ in ranges:
            host = (primary[0] or b"").decode() or urlsplit(url).hostname or ""
            address = _at(url, host, primary[1])
            self._url_of_slot.update(dict.fromkeys(range(first, last + 1), address))

    def _connection(self, url: str) -> OrderedConnection:
        connection = self._connections.get(url)
        if connection is None:
            connection = self._connections[url] = OrderedConnection(url, timeout_s=self._timeout_s)
        return connection


def key_of(args: Command) -> str | int | bytes:
    """The first key of a command of ours: scripts name how many they have, everything else begins with its key."""
    return args[3] if args[0] in ("EVALSHA", "EVAL") else args[1]


def _at(url: str, host: str, port: int) -> str:
    """The same way in (scheme, password, options) at another node."""
    parts = urlsplit(url)
    login, has_login, _ = parts.netloc.rpartition("@")
    host = f"[{host}]" if ":" in host else host
    return parts._replace(netloc=f"{login}{has_login}{host}:{port}").geturl()


async def _first_raised(way: OrderedConnection, commands: Sequence[Command]) -> list[Any]:
    """The replies; what the first one met is raised, since it decides where all of them belong."""
    replies = await way.execute_together(*commands)
    if isinstance(replies[0], _ELSEWHERE):
        raise replies[0]
    return replies
