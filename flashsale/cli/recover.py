"""flashsale recover: rebuild buckets that lost their memory."""

from typing import Annotated, Any

import typer

from flashsale import config, ledger, stores
from flashsale.cli import show
from flashsale.cli.options import Actor, Json, Name
from flashsale.cli.run import opened, person, run
from flashsale.condition import Condition, Finding
from flashsale.recovery import Rebuilt, Recovery

_WORDS = {
    Condition.WHOLE: "whole",
    Condition.EMPTY: "empty: its server lost everything",
    Condition.OLDER: "older than Postgres: its server lost the newest part",
    Condition.FENCED: "closed by a recovery that is at work or died",
}


def recover(
    sale: Name,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only look, and say what would be done.")] = False,
    every: Annotated[bool, typer.Option("--all", help="Rebuild the buckets that look whole as well.")] = False,
    json: Json = False,
    actor: Actor = None,
) -> None:
    """Rebuild a sale's buckets from Postgres and from what is left in their outboxes.

    Only buckets that lost a part of their memory are rebuilt; they are closed meanwhile, the others go on selling.
    It may be stopped and begun again at any time. Orders that were only in the lost memory are lost; no unit is sold
    twice.

    Example: flashsale recover mi3-2013 --dry-run

    Example: flashsale recover mi3-2013
    """
    found, made = run(_work(sale, dry_run=dry_run, every=every, actor=actor or person(), told=not json))
    if json:
        show.json(_as_data(sale, found, made))
        return
    show.table(
        ("bucket", "condition", "orders won", "known to Postgres", "free units"),
        [
            (
                one.bucket.number,
                _WORDS[one.condition],
                one.facts.wins,
                one.known.wins,
                sum(one.facts.free.values()),
            )
            for one in found
        ],
        title=f"Buckets of {sale}" + ("" if dry_run else ", as they were"),
    )
    damaged = [one for one in found if every or one.condition is not Condition.WHOLE]
    if not damaged:
        show.text("[green]Every bucket is whole; nothing to recover.[/green]")
    elif dry_run:
        again = f"flashsale recover {sale}" + " --all" * every
        show.text(f"{len(damaged)} of {len(found)} would be rebuilt. To do it: {again}")
    else:
        free = sum(sum(one.free.values()) for one in made)
        show.text(f"[green]Recovered: {len(made)} of {len(found)} rebuilt, {free:,} units free there.[/green]")
        show.text(f"See that every unit is in one place: flashsale audit {sale}")


async def _work(
    name: str, *, dry_run: bool, every: bool, actor: str, told: bool
) -> tuple[list[Finding], list[Rebuilt]]:
    async with opened() as both:
        router = await stores.open_router(stores.addresses_of(config.load()).redis_url)
        try:
            async with both.postgres.acquire() as connection:
                sale = await ledger.find(connection, name)
            recovery = Recovery(both.redis, router, both.postgres, sale, told=show.text if told else _silent)
            found = await recovery.examine()
            damaged = [one for one in found if every or one.condition is not Condition.WHOLE]
            return found, [] if dry_run else await recovery.rebuild(damaged, actor=actor)
        finally:
            await router.aclose()


def _silent(words: str) -> None:
    """Scripts read the document at the end."""


def _as_data(sale: str, found: list[Finding], made: list[Rebuilt]) -> dict[str, Any]:
    rebuilt = {one.bucket.number: one for one in made}
    return {
        "sale": sale,
        "buckets": [
            {
                "bucket": one.bucket.number,
                "condition": one.condition,
                "wins": one.facts.wins,
                "known_wins": one.known.wins,
                "rebuilt": (again := rebuilt.get(one.bucket.number)) is not None,
                "landed": again.landed if again else 0,
                "fans": again.fans if again else None,
                "free": again.free if again else one.facts.free,
            }
            for one in found
        ],
    }
