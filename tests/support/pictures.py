"""Pictures of sales without a server."""

from flashsale.api import picture
from flashsale.sale import Sale
from flashsale.stock import BucketFacts


def picture_of(sale: Sale) -> picture.SalePicture:
    """A sale of one bucket in which item a is sold out, and of b there is one."""
    facts = BucketFacts(
        now_ms=1_000, loaded=True, generation=sale.generation, version=1, state=sale.state, opens_ms=sale.opens_ms,
        closes_ms=sale.closes_ms, free={"a": 0, "b": 1}, moving={}, lost={}, moves=0, wins=0, returned=0,
        loads=0, reserved=3, reserved_by_channel={}, outbox=0, fenced=False,
    )  # fmt: skip
    return picture.draw(sale, [facts])
