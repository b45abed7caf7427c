"""Row locks held on purpose: to see that somebody waits for one."""

from typing import Final

from flashsale.queries import Pool
from tests.support.waiting import soon

_WAITING: Final = (
    "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
)


async def until_somebody_waits(postgres: Pool) -> None:
    """Wait until a statement waits for a lock."""

    async def is_so() -> bool:
        async with postgres.acquire() as connection:
            return bool(await connection.fetchval(_WAITING))

    await soon(is_so, what="somebody waits for a lock")
