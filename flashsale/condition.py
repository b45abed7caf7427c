"""The condition of a sale's buckets: whole, empty, older than what Postgres knows, or fenced by a recovery.

A bucket does a thing before Postgres notes it, so at any time it has done at least what Postgres has noted. One that
has done less has lost a part of its memory: its server came back with an older copy, or a lagging replica took over.
"""

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from flashsale import stock
from flashsale.keys import Bucket
from flashsale.queries import Pool, query
from flashsale.sale import Sale
from flashsale.stock import BucketFacts
from flashsale.stores import Client


class Condition(enum.StrEnum):
    """What a bucket is like."""

    WHOLE = "whole"
    EMPTY = "empty"
    OLDER = "older"
    FENCED = "fenced"
    STRANGE = "strange"  # it holds another sale of that name


@dataclass(frozen=True, slots=True)
class Known:
    """What Postgres has noted of a bucket: orders won in it, units given back to it, stock loads applied to it.

    sent: the highest number of a transfer from it that came in elsewhere, as the other buckets have noted.
    """

    wins: int = 0
    returned: int = 0
    loads: int = 0
    sent: int = 0


@dataclass(frozen=True, slots=True)
class Finding:
    """A bucket, what is known of it elsewhere, and what it says of itself."""

    bucket: Bucket
    condition: Condition
    known: Known
    facts: BucketFacts


async def examine(redis: Client, postgres: Pool, sale: Sale) -> list[Finding]:
    """Look at every bucket of a sale. What is known elsewhere is read first: a bucket can only have done more since."""
    known = await known_of(redis, postgres, sale)
    facts = await stock.facts(redis, sale.all_buckets)
    rows = zip(sale.all_buckets, known, facts, strict=True)
    return [Finding(bucket, condition_of(sale, noted, said), noted, said) for bucket, noted, said in rows]


def condition_of(sale: Sale, known: Known, facts: BucketFacts) -> Condition:
    """Hold what a bucket says of itself against what was known before it said so."""
    if facts.generation and facts.generation != sale.generation:
        return Condition.STRANGE
    if not facts.generation:
        return Condition.EMPTY
    if facts.fenced:
        return Condition.FENCED
    done = (facts.wins, facts.returned, facts.loads, facts.moves)
    noted = (known.wins, known.returned, known.loads, known.sent)
    return Condition.OLDER if any(a < b for a, b in zip(done, noted, strict=True)) else Condition.WHOLE


async def known_of(redis: Client, postgres: Pool, sale: Sale) -> list[Known]:
    """What is known elsewhere of each bucket of a sale."""
    sent = await _sent(redis, sale)
    async with postgres.acquire() as connection:
        rows = await connection.fetch(query("recovery", "known_of_buckets"), sale.sale)
    noted = {row["bucket"]: (row["wins"], row["returned"], row["loads"]) for row in rows}
    return [Known(*noted.get(bucket.number, (0, 0, 0)), sent[bucket.number]) for bucket in sale.all_buckets]


async def _sent(redis: Client, sale: Sale) -> Sequence[int]:
    """The highest number that came in from each bucket."""
    sent = [0] * len(sale.all_buckets)
    if len(sent) > 1:
        for bucket in sale.all_buckets:
            for source, number in (await received_by(redis, bucket)).items():
                sent[source] = max(sent[source], number)
    return sent


async def received_by(redis: Client, bucket: Bucket) -> dict[int, int]:
    """The number of the last transfer that came into a bucket from each other."""
    return {int(source): int(number) for source, number in (await redis.hgetall(bucket.received_key)).items()}
