"""What the schema forbids about money, levels and returned units; and that the bounds themselves are allowed."""

from typing import Final

import asyncpg
import pytest

from tests.ground.two import Two

pytestmark = pytest.mark.servers
OF_ALICE: Final = "order_id = (select order_id from orders where sale = $1 and fan = 'alice')"
OF_CAROL: Final = "(select order_id from orders where sale = $1 and fan = 'carol')"
ANOTHER: Final = (
    "insert into payments (payment, order_id, amount_minor, currency, state, {columns})"
    " select gen_random_uuid(), order_id, 1, 'CNY', {values} from orders where sale = $1 and fan = 'bob'"
)
NEW_ITEM: Final = (
    "insert into items (sale, item, place, title, price_minor, loaded) values ($1, 'x', 9, '{{}}', 1, {loaded})"
)

# Name of the constraint: statements of which it must refuse the last. $1: the sale.
REFUSED: Final = {
    "sales_returned_check": ["update sales set returned = 'somewhere' where sale = $1"],
    "sales_challenged_check": ["update sales set challenged = 'perhaps' where sale = $1"],
    "sales_ack_check": ["update sales set ack = 'perhaps' where sale = $1"],
    "payments_paid_something": [f"update payments set state = 'succeeded' where {OF_ALICE}"],  # noqa: S608
    "payments_late_order": [
        f"update payments set state = 'late', late_at = now() where {OF_ALICE}",  # noqa: S608
    ],
    "payments_paid_order_fkey": [f"update payments set paid_order = gen_random_uuid() where {OF_ALICE}"],  # noqa: S608
    "payments_that_paid": [
        f"update payments set state = 'succeeded', paid_order = order_id where {OF_ALICE}",  # noqa: S608
        ANOTHER.format(
            columns="paid_order",
            values="'succeeded', (select order_id from orders where sale = $1 and fan = 'alice')",
        ),
    ],
    "payments_late_orders": [
        f"update payments set state = 'late', late_at = now(), late_order = {OF_CAROL} where {OF_ALICE}",  # noqa: S608
        ANOTHER.format(columns="late_at, late_order", values=f"'late', now(), {OF_CAROL}"),
    ],
}
ALSO_REFUSED: Final = {
    "payments_late_order": f"update payments set state = 'late', late_order = gen_random_uuid() where {OF_ALICE}",  # noqa: S608
    "items_loaded_check": NEW_ITEM.format(loaded=-1),
}
NEEDED: Final = (("sales", "ack"), ("sales", "challenged"), ("sales", "returned"), ("returns", "hold"))
# The bound itself, which is good.
ALLOWED: Final = (
    "update items set price_minor = 0 where sale = $1",
    "update items set loaded = 9999999 where sale = $1",
    NEW_ITEM.format(loaded=0),
    "update stock_loads set unit_from = 1, unit_to = 1, bucket = 0 where sale = $1",
    f"update payments set state = 'late', late_order = {OF_CAROL}, late_at = now() where {OF_ALICE}",  # noqa: S608
    f"update payments set state = 'succeeded', paid_order = order_id where {OF_ALICE}",  # noqa: S608
)


@pytest.mark.parametrize("name", REFUSED)
async def test_it_is_refused(two: Two, name: str) -> None:
    """Given two full sales / When one is spoiled / Then just this constraint refuses it."""
    *before, last = REFUSED[name]
    for statement in before:
        await two.connection.execute(statement, two.name)
    with pytest.raises(asyncpg.IntegrityConstraintViolationError) as refused:
        await two.connection.execute(last, two.name)
    assert getattr(refused.value, "constraint_name", None) == name


@pytest.mark.parametrize("name", ALSO_REFUSED)
async def test_the_other_half_is_refused_too(two: Two, name: str) -> None:
    """Given a constraint of two halves / When the other one is hurt / Then it refuses that too."""
    with pytest.raises(asyncpg.CheckViolationError) as refused:
        await two.connection.execute(ALSO_REFUSED[name], two.name)
    assert getattr(refused.value, "constraint_name", None) == name


@pytest.mark.parametrize(("table", "column"), NEEDED)
async def test_it_is_needed(two: Two, table: str, column: str) -> None:
    """Given full sales / When a row loses a value that it needs / Then that is refused."""
    with pytest.raises(asyncpg.NotNullViolationError) as refused:
        await two.connection.execute(f"update {table} set {column} = null where sale = $1", two.name)  # noqa: S608
    assert getattr(refused.value, "column_name", None) == column


@pytest.mark.parametrize("statement", ALLOWED)
async def test_the_bound_itself_is_good(two: Two, statement: str) -> None:
    """Given full sales / When a row has the last value that it may have / Then it is taken."""
    assert not (await two.connection.execute(statement, two.name)).endswith(" 0")
