"""The names of everything kept in Valkey. No other file spells a key.

All keys of one bucket share the hash tag {sale.bucket}, so that a script over them is atomic on a cluster.

| key | type | holds |
| --- | --- | --- |
| fs:{s.b}:sale | hash | what the scripts need of the plan: state, version, generation, times in ms, limits |
| fs:{s.b}:counts | hash | free:<item> and moving:<item> (units leaving), outbox (orders in it), reserved,
reserved:<channel number>, memory_short (1 while its server is), fence (while it is rebuilt); ever rising: wins,
returned (units that came back, to be free or held), loads (stock loads applied), moves (transfers out),
used:<item>:<batch> (codes redeemed),
lost:<item> (attempts without a unit), told and looked (repeats and
looks of fans, so that they write something) |
| fs:{s.b}:free:<item> | list | free units as ranges "lo-hi", taken from the left; returned units are put on the left |
| fs:{s.b}:transfers | hash | the transfer that is leaving the bucket: number, item, to, ranges |
| fs:{s.b}:received | hash | bucket -> number of the last transfer that came from there |
| fs:{s.b}:loads | set | ids of the stock loads already applied |
| fs:{s.b}:buyers | hash | fan -> one line per order: order, key, live flag, unit, item, accepted ms |
| fs:{s.b}:outbox | stream | accepted orders on their way to Postgres, one entry a batch |
| fs:{s.b}:reserved:<slice> | set of integers | keyed hashes of the fans that reserved; two last digits: the channel |
| fs:{s.b}:lease | string with TTL | which worker lands this bucket |

A sale that takes F-codes has one bucket more, behind the others, with all of these (sale holds batch:<batch> too, its
terms: version, valid_ms, expires_ms, whether released) and

| fs:{s.b}:spent:<batch> | string | one bit a code, by serial: 1 when it was redeemed |
"""

from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Final

PREFIX: Final = "fs"
COUNT_FREE: Final = "free:"
COUNT_MOVING: Final = "moving:"
COUNT_LOST: Final = "lost:"
COUNT_MOVES: Final = "moves"
COUNT_WINS: Final = "wins"
COUNT_RETURNED: Final = "returned"
COUNT_LOADS: Final = "loads"
COUNT_OUTBOX: Final = "outbox"
COUNT_USED: Final = "used:"
TERMS: Final = "batch:"
COUNT_MEMORY_SHORT: Final = "memory_short"
COUNT_RESERVED: Final = "reserved"
COUNT_FENCE: Final = "fence"
COUNT_RESERVED_BY_CHANNEL: Final = "reserved:"


@dataclass(frozen=True, slots=True)
class Bucket:
    """One shard of one sale; the maker of all its key names."""

    sale: str
    number: int

    def key(self, *parts: str) -> str:
        """The key of this bucket with that name."""
        return ":".join((PREFIX, f"{{{self.sale}.{self.number}}}", *parts))

    @property
    def sale_key(self) -> str:
        """Hash: what the scripts need of the plan."""
        return self.key("sale")

    @property
    def counts_key(self) -> str:
        """Hash: how many units are free, orders in the outbox, fans reserved."""
        return self.key("counts")

    @property
    def loads_key(self) -> str:
        """Set: ids of the stock loads already applied."""
        return self.key("loads")

    @property
    def transfers_key(self) -> str:
        """Hash: the transfer that is leaving the bucket."""
        return self.key("transfers")

    @property
    def received_key(self) -> str:
        """Hash: the last transfer that came from each bucket."""
        return self.key("received")

    @property
    def buyers_key(self) -> str:
        """Hash: fan to the lines of their orders."""
        return self.key("buyers")

    @property
    def outbox_key(self) -> str:
        """Stream: accepted orders on their way to Postgres."""
        return self.key("outbox")

    @property
    def lease_key(self) -> str:
        """String: which worker lands this bucket."""
        return self.key("lease")

    def spent_key(self, batch: int) -> str:
        """String of bits: which codes of a batch are spent."""
        return self.key("spent", str(batch))

    def free_key(self, item: str) -> str:
        """List: the free ranges of an item."""
        return self.key("free", item)

    def reserved_key(self, slice_number: int) -> str:
        """Integer set: reservations of one slice of the fans."""
        return self.key("reserved", str(slice_number))


def buckets_of(sale: str, buckets: int) -> tuple[Bucket, ...]:
    """All buckets of a sale, in order."""
    return tuple(Bucket(sale, number) for number in range(buckets))


def bucket_number(*, sale: str, fan: str, buckets: int) -> int:
    """The bucket that a fan belongs to: the same at every call, spread evenly, different from sale to sale."""
    if buckets == 1:
        return 0
    keyed = _keyed(sale).copy()
    keyed.update(fan.encode())
    return int.from_bytes(keyed.digest(), "big") % buckets


@lru_cache(1024)
def _keyed(sale: str) -> "blake2b":
    """The hash of a sale's fans, its key taken in. Copying it costs less than setting it up again."""
    return blake2b(key=sale.encode(), digest_size=8, person=b"flashsale-bucket")
