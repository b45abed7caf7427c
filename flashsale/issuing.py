"""Issuing 发放: what ops do with F-codes, from a batch to the codes that leave the house.

Postgres first, then the bucket; where a verb dies in between, the worker brings the bucket level.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from flashsale import batch, ledger, stores
from flashsale.batch import Batch, Terms
from flashsale.errors import BadInputError, StateError
from flashsale.fcode import Code, CodeKeys
from flashsale.queries import Pool, query
from flashsale.sale import Sale
from flashsale.settled import Plain
from flashsale.stores import Client


@dataclass(frozen=True, slots=True)
class Range:
    """Codes that left the house together: serials first to last of a batch, both ends included."""

    batch: Batch
    first: int
    last: int

    @property
    def codes(self) -> int:
        """How many they are."""
        return self.last - self.first + 1


@dataclass(frozen=True, slots=True)
class Issuing:
    """Verbs over the two stores. actor: who is named in the log."""

    redis: Client
    postgres: Pool
    keys: CodeKeys
    actor: str

    async def create(self, sale_name: str, terms: Terms) -> Batch:
        """Make a batch; its codes can be used at once where its terms say so. Raises BadInputError or StateError."""
        async with self.postgres.acquire() as connection:
            sale = await ledger.find(connection, sale_name)
            made = await batch.create(connection, sale, terms, key_id=self.keys.first, actor=self.actor)
        await self._tell(sale, made)
        return made

    async def release(self, number: int) -> Batch:
        """Take no code of a batch any more; the worker puts its units on sale for everybody. Safe to repeat."""
        async with self.postgres.acquire() as connection:
            released = await batch.release(connection, number, actor=self.actor)
            sale = await ledger.find(connection, released.sale)
        await self._tell(sale, released)
        return released

    async def extend(self, number: int, *, expires_ms: int) -> Batch:
        """Let a batch's codes be used until another time. Raises BadInputError or StateError."""
        async with self.postgres.acquire() as connection:
            extended, sale = await batch.extend(connection, number, expires_ms=expires_ms, actor=self.actor)
        await self._tell(sale, extended)
        return extended

    async def take(self, number: int, codes: int | None) -> Range:
        """Take the next codes of a batch that nobody has, or all that are left: they count as given out from here on.

        Raises NotFoundError, BadInputError or StateError; then nothing is taken.
        """
        async with self.postgres.acquire() as connection, connection.transaction():
            one = await batch.lock(connection, number)
            self._check_key(one)
            left = one.codes - one.issued
            if one.released:
                raise StateError(f"Batch {number} is released; nobody can use its codes any more.")
            if not left:
                raise StateError(
                    f"All {one.codes} codes of batch {number} are given out. "
                    f"What was exported is written again by: flashsale fcode export {number} FILE --again"
                )
            wanted = left if codes is None else codes
            if not 1 <= wanted <= left:
                raise BadInputError(f"--codes: must be 1 to {left}, which are left in batch {number}, not {wanted}")
            taken = Range(one, one.issued, one.issued + wanted - 1)
            await connection.execute(query("fcodes", "take_serials"), number, wanted)
            await connection.execute(query("fcodes", "export"), number, taken.first, taken.last, self.actor)
            detail = {"batch": number, "codes": wanted, "from": taken.first}
            await ledger.log(connection, actor=self.actor, verb="fcode-export", sale=one.sale, detail=detail)
        return taken

    async def taken(self, number: int) -> list[Range]:
        """What was exported of a batch, in order."""
        async with self.postgres.acquire() as connection:
            one = await batch.find(connection, number)
            rows = await connection.fetch(query("fcodes", "exports"), number)
        return [Range(one, row["serial_from"], row["serial_to"]) for row in rows]

    def codes_of(self, some: Range) -> Iterator[tuple[str, str]]:
        """The codes of a range as text, each with its item, one after the other: the same at every call.

        Raises StateError when the key that they were made with is not there any more.
        """
        one = some.batch
        self._check_key(one)
        for serial in range(some.first, some.last + 1):
            item = one.item_of(serial)
            assert item is not None, "slices cover the batch"
            yield self.keys.write(Code(one.batch, serial), key_id=one.key_id), item

    def _check_key(self, one: Batch) -> None:
        if one.key_id not in self.keys:
            raise StateError(
                f"FLASHSALE_FCODE_KEYS: has no key {one.key_id}, with which batch {one.batch} was made; add it again"
            )

    async def _tell(self, sale: Sale, told: Batch) -> None:
        """Trouble with the bucket is no trouble of the verb: the worker tells it."""
        try:
            await batch.tell(Plain(self.redis), sale, told)
        except stores.TROUBLE:
            return
