"""flashsale audit: where every unit of a sale is."""

import typer

from flashsale import audit as auditing
from flashsale.cli import show
from flashsale.cli.options import Json, Name
from flashsale.cli.run import opened, run


def audit(
    sale: Name,
    json: Json = False,
) -> None:
    """Check that every unit is in exactly one place; exit 1 when not. May run while the sale sells.

    loaded = free + moving + outbox + live + returning + held

    Example: flashsale audit mi3-2013
    """

    async def work() -> auditing.Audit:
        async with opened() as both:
            return await auditing.audit(both.redis, both.postgres, sale)

    audited = run(work())
    if json:
        show.json(auditing.as_data(audited))
    else:
        show.audit_table(audited)
    raise typer.Exit(0 if audited.balanced else 1)
