"""The memory watermark: selling and reserving pause before Valkey is full, and go on by themselves when there is room.

A full Valkey refuses whatever takes memory, wherever that stands. Long before, each bucket of the server is marked: its
scripts then tell WAIT, nothing is decided, and landing and returns have the room that they need. Whoever looks at the
buckets anyway keeps the mark (every api process and the worker), so that it needs no process of its own and outlives
any of them. The mark is in the bucket, so that it holds for everybody and its two bounds for all who look.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from redis.asyncio import RedisCluster

from flashsale import limits, scripts, stores
from flashsale.keys import Bucket
from flashsale.outcomes import Effect
from flashsale.stock import BucketFacts
from flashsale.stores import Client

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Memory:
    """What each primary has used of its memory: address to share, 0 where there is no limit.

    Of one server alone the address is empty.
    """

    shares: Mapping[str, float]

    def of(self, redis: Client, bucket: Bucket) -> float | None:
        """The share of the server that has this bucket; None when it is not known."""
        if not isinstance(redis, RedisCluster):
            return self.shares.get("")
        node = redis.get_node_from_key(bucket.sale_key)
        return None if node is None else self.shares.get(node.name)


async def look(redis: Client) -> Memory:
    """Ask every primary. One that gives no answer is left out: it is for others to say that a store is away."""
    if not isinstance(redis, RedisCluster):
        return Memory({"": used_share(await redis.info("memory"))})
    shares = {}
    for node in redis.get_primaries():
        try:
            told = await cast("Any", redis).execute_command("INFO", "memory", target_nodes=node)
        except stores.TROUBLE as trouble:
            _log.info("memory.not_told server=%s trouble=%s: %s", node.name, type(trouble).__name__, trouble)
            continue
        shares[node.name] = used_share(told.get(node.name, told))
    return Memory(shares)


def used_share(info: Mapping[str, Any]) -> float:
    """How much of maxmemory is used, as the server counts for itself when it refuses; 0 where there is no limit."""
    limit = int(info["maxmemory"])
    return used_bytes(info) / limit if limit else 0.0


def used_bytes(info: Mapping[str, Any]) -> int:
    """What counts against maxmemory: buffers of the log and of replicas do not."""
    return int(info["used_memory"]) - int(info.get("mem_not_counted_for_evict", 0))


def is_short(share: float, *, before: bool) -> bool:
    """Whether a server of this share takes nothing in. It begins at one bound and ends at a lower one, so that the
    orders that land don't let it go on and off. before: whether it was so until now."""
    return share >= (limits.MEMORY_RESUME_SHARE if before else limits.MEMORY_PAUSE_SHARE)


async def keep_marks(redis: Client, memory: Memory, buckets: Iterable[tuple[Bucket, BucketFacts]]) -> None:
    """Mark those buckets whose server has become short of memory, and take the mark from those whose has not.

    Safe to repeat and to do at once with others. Raises what the client raises.
    """
    script = scripts.load("mark_memory")
    for bucket, seen in buckets:
        share = memory.of(redis, bucket)
        if share is None or not seen.loaded or is_short(share, before=seen.memory_short) == seen.memory_short:
            continue
        short = not seen.memory_short
        effect = Effect(await script.at([bucket.sale_key, bucket.counts_key])(redis, int(short)))
        if effect is Effect.APPLIED:
            event = "memory.short" if short else "memory.room_again"
            _log.warning("%s sale=%s bucket=%d used=%.2f", event, bucket.sale, bucket.number, share)


def all_short(facts: Sequence[BucketFacts]) -> bool:
    """Whether no bucket of a sale takes anything in."""
    return bool(facts) and all(one.memory_short for one in facts)
