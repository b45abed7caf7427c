"""How an attempt ended, as HTTP: a win, or why not. Made for one fan, so nobody keeps it."""

from typing import Final

from flashsale.api import replies
from flashsale.api.picture import Target
from flashsale.api.replies import PREFIX, Reply, refusal
from flashsale.outcomes import Outcome
from flashsale.purchase import Answer

_ORDER_PATH: Final = f"{PREFIX}orders/"
_WON_HEAD: Final = "content-type: application/json\r\ncache-control: no-store\r\nlocation: "
_WON: Final = Outcome.WON  # see purchase.py


def told(target: Target, answer: Answer) -> Reply:
    """An answer as HTTP. target: what was pressed for."""
    if answer.outcome is _WON:
        return _won(target, answer)
    match answer.outcome:
        case Outcome.ALREADY_BOUGHT:
            return refusal(Outcome.ALREADY_BOUGHT, order=_dashed(answer.order))
        case Outcome.NOT_OPEN:
            return refusal(Outcome.NOT_OPEN, opens_ms=target.picture.sale.opens_ms, shared=False)
        case outcome:
            return replies.BY_OUTCOME[outcome]


def _won(target: Target, answer: Answer) -> Reply:
    """The reply to a win. It is made for each, so it is filled in rather than encoded: nothing in it needs escaping."""
    order, pay_before_ms = _dashed(answer.order), answer.accepted_ms + target.pay_window_ms
    body = (
        f'{{"outcome":"WON","order":"{order}",{target.names},"unit":{answer.unit},"level":"{answer.level}",'
        f'"pay_before_ms":{pay_before_ms}}}'
    )
    head = f"{_WON_HEAD}{_ORDER_PATH}{order}\r\ncontent-length: {len(body)}\r\n\r\n"
    return Reply(201, (head + body).encode())


def _dashed(order: str) -> str:
    return f"{order[:8]}-{order[8:12]}-{order[12:16]}-{order[16:20]}-{order[20:]}"
