"""flashsale doctor: whether the servers are fit to sell on, and what to set where they are not."""

from typing import Final

import typer
from rich.markup import escape

from flashsale import config, doctor_facts, stores
from flashsale.cli import show
from flashsale.cli.options import Json
from flashsale.cli.run import run
from flashsale.doctor import Finding, Verdict, refused, warned

_COLOURS: Final = {Verdict.OK: "green", Verdict.UNKNOWN: "cyan", Verdict.WARN: "yellow", Verdict.REFUSE: "red"}


def doctor(json: Json = False) -> None:
    """Check every setting of Valkey and Postgres that the promises need, and the buckets of each sale that is not over.

    Changes nothing; may run at any time.

    Exit 1 when something is refused: then serve and worker do not start either.

    Example: flashsale doctor --json
    """
    findings = run(_findings())
    if json:
        show.json({
            "fit": not refused(findings),
            "warnings": len(warned(findings)),
            "findings": [_as_data(finding) for finding in findings],
        })  # fmt: skip
    else:
        _show(findings)
    raise typer.Exit(1 if refused(findings) else 0)


async def _findings() -> list[Finding]:
    addresses = stores.addresses_of(config.load())
    postgres = await stores.open_postgres(addresses.postgres_dsn, connections=1)
    try:
        findings = await doctor_facts.diagnose(addresses, postgres)
        if refused(findings):
            return findings
        redis = await stores.open_redis(addresses.redis_url)
        try:
            return findings + await doctor_facts.buckets_of_sales(redis, postgres)
        finally:
            await redis.aclose()
    finally:
        await postgres.close()


def _as_data(finding: Finding) -> dict[str, str]:
    return {
        "check": finding.check,
        "found": finding.found,
        "needed": finding.needed,
        "verdict": finding.verdict,
        "remedy": "" if finding.verdict is Verdict.OK else finding.remedy,
    }


def _show(findings: list[Finding]) -> None:
    show.table(("check", "found", "needed", "verdict"), [(f.check, f.found, f.needed, f.verdict) for f in findings])
    for finding in findings:
        if finding.verdict in {Verdict.WARN, Verdict.REFUSE}:
            show.text(f"[{_COLOURS[finding.verdict]}]{finding.verdict}: {escape(finding.sentence)}[/]")
    if refused(findings):
        show.text("[red]Not fit to sell on: serve and worker will not start.[/red]")
    elif warnings := len(warned(findings)):
        told = "1 warning above: read it" if warnings == 1 else f"{warnings} warnings above: read them"
        show.text(f"[yellow]Fit to start. {told} before you sell.[/yellow]")
    else:
        show.text("[green]Fit to sell on.[/green]")
