"""Who presses in the suite http, and on which sales: an open one, one that is sold out, one that has yet to open."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from flashsale import plan, rights
from flashsale.bench.generators import Press
from flashsale.bench.ground import CHANNEL, ITEM, Ground, fans, plan_of
from flashsale.limits import UNITS_PER_ITEM_MAX
from flashsale.rights import LANE_PUBLIC, Kind, Right, RightKeys
from flashsale.sale import Sale, Verb

OPEN: Final = "http-open"
SOLD_OUT: Final = "http-sold-out"
NOT_OPEN: Final = "http-not-open"


@dataclass(slots=True)
class Crowd:
    """Who presses: fans that nobody has seen before, round after round, and those who are refused."""

    right_keys: RightKeys
    sales: dict[str, Sale]
    seen: int = 0
    presses: Sequence[Press] = field(default_factory=list)

    def renew(self, number: int) -> None:
        """New fans for the next round."""
        names = fans(number, first=self.seen)
        self.seen += number
        self.presses = [self.press(OPEN, fan) for fan in names]

    def refused(self, number: int) -> list[Press]:
        """In turn: sold out, not open yet, and a right that is not ours."""
        foreign = RightKeys({"k1": secrets.token_bytes(rights.KEY_BYTES)})
        presses = []
        for place, fan in enumerate(fans(number)):
            match place % 3:
                case 0:
                    presses.append(self.press(SOLD_OUT, fan))
                case 1:
                    presses.append(self.press(NOT_OPEN, fan))
                case _:
                    presses.append(self.press(OPEN, fan, keys=foreign))
        return presses

    def press(self, name: str, fan: str, *, keys: RightKeys | None = None) -> Press:
        """One press of this fan on that sale. keys: those of another than us."""
        expires_s = self.sales[name].closes_ms // 1000
        right = Right(Kind.RESERVATION, name, fan, LANE_PUBLIC, CHANNEL, expires_s)
        path = f"/api/v1/sales/{name}/items/{ITEM}/purchase"
        return Press(path, (keys or self.right_keys).sign(right), f"k-{fan}")


async def sales_of(ground: Ground) -> dict[str, Sale]:
    """An open sale with stock, an open one without, and one that opens in an hour."""
    sales = {OPEN: await ground.open_sale(OPEN, units=UNITS_PER_ITEM_MAX)}
    for name in (SOLD_OUT, NOT_OPEN):
        await ground.operations.create(plan.from_data(plan_of(name, units=0, reserved=0)))
        sales[name] = await ground.operations.load(name)
    sales[SOLD_OUT] = await ground.operations.move(SOLD_OUT, Verb.OPEN)
    return sales
