"""Gathers the verbs of the command line from their files."""

from flashsale.cli import app
from flashsale.cli import audit as audit_verb
from flashsale.cli import bench as bench_verb
from flashsale.cli import demo as demo_verb
from flashsale.cli import rehearse as rehearse_verb
from flashsale.cli import sale as sale_verbs
from flashsale.cli import serve as serve_verbs


def all_verbs() -> None:
    """Put every verb on the application, in the order in which a newcomer needs them."""
    app.command("demo")(demo_verb.demo)
    app.command("up")(serve_verbs.up)
    app.command("migrate")(serve_verbs.migrate)
    app.add_typer(sale_verbs.app, name="sale")
    app.command("serve")(serve_verbs.serve)
    app.command("worker")(serve_verbs.worker)
    app.command("audit")(audit_verb.audit)
    app.command("rehearse")(rehearse_verb.rehearse)
    app.command("bench")(bench_verb.bench)
