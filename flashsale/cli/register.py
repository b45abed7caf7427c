"""Gathers the verbs of the command line from their files."""

from flashsale.cli import app
from flashsale.cli import audit as audit_verb
from flashsale.cli import bench as bench_verb
from flashsale.cli import demo as demo_verb
from flashsale.cli import doctor as doctor_verb
from flashsale.cli import fcode as fcode_verbs
from flashsale.cli import outbox as outbox_verbs
from flashsale.cli import payment as payment_verbs
from flashsale.cli import plan as plan_verb
from flashsale.cli import recover as recover_verb
from flashsale.cli import rehearse as rehearse_verb
from flashsale.cli import sale as sale_verbs
from flashsale.cli import serve as serve_verbs
from flashsale.cli import soak as soak_verb


def all_verbs() -> None:
    """Put every verb on the application, in the order in which a newcomer needs them."""
    app.command("demo")(demo_verb.demo)
    app.command("up")(serve_verbs.up)
    app.command("migrate")(serve_verbs.migrate)
    app.add_typer(sale_verbs.app, name="sale")
    app.add_typer(fcode_verbs.app, name="fcode")
    app.add_typer(payment_verbs.app, name="payment")
    app.add_typer(outbox_verbs.app, name="outbox")
    app.command("serve")(serve_verbs.serve)
    app.command("worker")(serve_verbs.worker)
    app.command("doctor")(doctor_verb.doctor)
    app.command("audit")(audit_verb.audit)
    app.command("recover")(recover_verb.recover)
    app.command("rehearse")(rehearse_verb.rehearse)
    app.command("soak")(soak_verb.soak)
    app.command("bench")(bench_verb.bench)
    app.command("plan")(plan_verb.plan)
