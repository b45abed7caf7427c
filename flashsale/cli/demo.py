"""flashsale demo: a whole sale in one terminal, with a crowd, and a page that a person can buy on."""

import asyncio
import secrets
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from flashsale import audit, config, queries, stock, stores
from flashsale.cli import show
from flashsale.cli.run import run
from flashsale.config import Settings
from flashsale.embedded import Addresses
from flashsale.errors import BadInputError
from flashsale.fleet import Fleet
from flashsale.identity import secrets_of
from flashsale.operations import Operations
from flashsale.sale import Sale
from flashsale.stores import Stores
from loadtest import rehearsal, scenario
from loadtest.crowds import Crowds

_LOOK_S: Final = 0.5
_BAR_WIDTH: Final = 40
_CROWD_MAX: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the live view shows."""

    free: dict[str, int]
    reserved: int
    outbox: int
    landed: int
    paid: int
    now_ms: int


def demo(
    crowd: Annotated[int, typer.Option(help="How many simulated fans come; 0 for none.")] = 5000,
    opens_in: Annotated[int, typer.Option(help="Seconds until the sale opens.")] = 30,
    port: Annotated[int | None, typer.Option(help="The page's port; else FLASHSALE_PORT.")] = None,
    state: Annotated[Path | None, typer.Option(help="The state folder; else FLASHSALE_STATE_DIR.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin without earlier demos' data.")] = False,
    once: Annotated[
        bool, typer.Option("--once", help="End by itself when the crowd is done; exit 1 if it is off.")
    ] = False,
) -> None:
    """Run a whole sale here: Valkey, Postgres, api, worker, three items, a crowd. Ctrl-C ends everything.

    Open the printed page on a phone or in a browser and try to be faster than the crowd.

    Example: flashsale demo --crowd 20000 --opens-in 45
    """
    if not 0 <= crowd <= _CROWD_MAX:
        raise BadInputError(f"--crowd: must be 0 to {_CROWD_MAX:,}")
    if not 1 <= opens_in <= 3600:
        raise BadInputError("--opens-in: must be 1 to 3600 seconds")
    given: dict[str, Any] = {"sandbox": True, "redis_url": "", "postgres_dsn": ""}
    given |= {name: value for name, value in (("port", port), ("state_dir", state)) if value is not None}
    settings = config.load(**given)
    balanced = _Demo(settings, crowd=crowd, opens_in=opens_in, fresh=fresh, once=once).run()
    raise typer.Exit(0 if balanced else 1)


class _Demo:
    """One demo. run() returns whether the audit balanced."""

    def __init__(self, settings: Settings, *, crowd: int, opens_in: int, fresh: bool, once: bool) -> None:
        self._settings = settings
        self._crowd = crowd
        self._opens_in = opens_in
        self._fresh = fresh
        self._once = once
        self._console = Console()
        self._undo = ExitStack()

    def run(self) -> bool:
        with self._undo:
            fleet = self._undo.enter_context(Fleet(self._settings, fresh=self._fresh))
            addresses = fleet.start_pair()
            run(stores.migrate(addresses.postgres_dsn))
            base_url = fleet.start_api()
            fleet.start_worker()
            sale = run(self._prepare(addresses))
            rehearsal.wait_until_shown(base_url, sale.sale)
            self._console.print(f"\n  The fan's page:  [bold]{base_url}/s/{sale.sale}[/bold]")
            self._console.print(f"  The API:         {base_url}/docs\n")
            try:
                return run(self._show(addresses, sale, fleet))
            except (KeyboardInterrupt, asyncio.CancelledError):
                self._console.print("\nStopping everything.")
                return True

    async def _prepare(self, addresses: Addresses) -> Sale:
        loaded = scenario.load("demo")
        scale = max(1, self._crowd) / loaded.crowd.reserved
        name = f"demo-{time.strftime('%m%d-%H%M%S')}"
        times = {"opens": f"+{self._opens_in}s", "closes": "+6h", "reserve_opens": f"-{self._opens_in + 60}s"}
        ready = scenario.scaled(loaded, scale=scale, sale=name, times=times, stock_scale=1.0)
        async with stores.opened(redis_url=addresses.redis_url, postgres_dsn=addresses.postgres_dsn) as both:
            operations = Operations(redis=both.redis, postgres=both.postgres, actor="demo")
            await operations.create(ready.plan)
            return await operations.load(name)

    def _start_crowd(self, sale: Sale) -> Crowds | None:
        if not self._crowd:
            return None
        loaded = scenario.load("demo")
        crowd = loaded.crowd.model_copy(update={"reserved": self._crowd})
        job = rehearsal.job_of(crowd, sale, settings=self._settings, seed=secrets.randbelow(10**6))
        folder = Path(self._undo.enter_context(tempfile.TemporaryDirectory(prefix="demo-crowd-")))
        jwt_key = secrets_of(self._settings).jwt_key
        return self._undo.enter_context(Crowds(job, processes=1, jwt_key=jwt_key, folder=folder))

    async def _show(self, addresses: Addresses, sale: Sale, fleet: Fleet) -> bool:
        crowds = self._start_crowd(sale)
        async with stores.opened(redis_url=addresses.redis_url, postgres_dsn=addresses.postgres_dsn) as both:
            balanced: bool | None = None
            with Live(console=self._console, auto_refresh=False, transient=False) as live:
                while balanced is None or not self._once:
                    fleet.check()
                    seen = await _look(both, sale)
                    going = crowds is not None and crowds.running
                    live.update(_view(sale, seen, crowds, going=going), refresh=True)
                    if balanced is None and not going and not seen.outbox and (crowds or self._sold_out(seen)):
                        balanced = await self._audit(both, sale, live)
                    await asyncio.sleep(_LOOK_S)
            return balanced

    def _sold_out(self, seen: _Seen) -> bool:
        return not any(seen.free.values())

    async def _audit(self, both: Stores, sale: Sale, live: Live) -> bool:
        audited = await audit.audit(both.redis, both.postgres, sale.sale)
        live.stop()
        show.audit_table(audited)
        if not self._once:
            self._console.print(
                "The page stays up; unpaid orders come back on sale. [bold]Ctrl-C[/bold] ends everything."
            )
        live.start()
        return audited.balanced


async def _look(both: Stores, sale: Sale) -> _Seen:
    facts = await stock.facts(both.redis, sale.all_buckets)
    async with both.postgres.acquire() as connection:
        progress = await connection.fetchrow(queries.query("orders", "progress"), sale.sale)
    assert progress is not None
    return _Seen(
        free={item.item: sum(one.free.get(item.item, 0) for one in facts) for item in sale.items},
        reserved=sum(one.reserved for one in facts),
        outbox=sum(one.outbox for one in facts),
        landed=progress["landed"],
        paid=progress["paid"],
        now_ms=facts[0].now_ms,
    )


def _view(sale: Sale, seen: _Seen, crowds: Crowds | None, *, going: bool) -> RenderableType:
    """Stock, wins and landed orders, as they are now."""
    stock_table = Table.grid(padding=(0, 2))
    for item in sale.items:
        free = seen.free[item.item]
        bar = ProgressBar(total=item.loaded, completed=free, width=_BAR_WIDTH)
        words = "[red]sold out[/red]" if free == 0 else f"{free:,} of {item.loaded:,} free"
        stock_table.add_row(item.title.en, bar, words)
    wait_s = (sale.opens_ms - seen.now_ms) / 1000
    head = f"opens in {wait_s:.0f} s" if wait_s > 0 else "open"
    loaded = sum(item.loaded for item in sale.items)
    lines: list[RenderableType] = [
        Text(f"Sale {sale.sale}: {head}", style="bold"),
        stock_table,
        Text(f"reserved {seen.reserved:,}   won {loaded - sum(seen.free.values()):,}   "
             f"on their way {seen.outbox:,}   landed in Postgres {seen.landed:,}   paid {seen.paid:,}"),
    ]  # fmt: skip
    if crowds is not None:
        told = crowds.told
        state = told["phase"] if going else "gone home"
        lines.append(Text(f"crowd: {state}, {told.get('answered', 0):,} presses answered", style="dim"))
    return Group(*lines, Text(""))
