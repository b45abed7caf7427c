"""What the hot lane says of a decision, and that it says the same by both ways out of the process."""

import asyncio
import uuid
from typing import Any, cast

import orjson
import pytest

from flashsale.api import answers, hot, picture, replies
from flashsale.api.picture import Target
from flashsale.coalesce import CrowdedError
from flashsale.metrics import api_metrics
from flashsale.outcomes import Outcome
from flashsale.purchase import Answer
from tests.support import samples
from tests.support.pictures import picture_of


@pytest.fixture
def target() -> Target:
    """A purchase path of a sale that is open."""
    pictures = {"mi3": picture_of(samples.sale("mi3"))}
    return picture.targets_of(pictures, early=True)["/api/v1/sales/mi3/items/a/purchase"]


@pytest.mark.parametrize("outcome", [one for one in Outcome if one is not Outcome.UNAVAILABLE])
def test_both_ways_out_say_the_same(target: Target, outcome: Outcome) -> None:
    """Given any answer / Then what goes out as bytes is what ASGI is given: the same headers, the same body."""
    told = answers.told(target, Answer(outcome, order=uuid.uuid4().hex, unit=7, accepted_ms=5))
    *headers, (name, length) = told.headers
    assert (name, int(length)) == (b"content-length", len(told.body))
    assert told == replies.reply(told.status, told.body, headers)


def test_a_win_is_written_as_json(target: Target) -> None:
    """Given a win / Then its body is JSON, as another writes it, with the time by which it is to be paid."""
    order = uuid.uuid4()
    told = answers.told(target, Answer(Outcome.WON, order=order.hex, unit=7, accepted_ms=5))
    data = {
        "outcome": "WON", "order": str(order), "sale": "mi3", "item": "a", "unit": 7, "level": "accepted",
        "pay_before_ms": 5 + 900_000,
    }  # fmt: skip
    assert told.body == orjson.dumps(data)


@pytest.mark.parametrize(
    ("trouble", "status", "told"), [(CrowdedError(), 503, replies.BY_OUTCOME[Outcome.WAIT]), (ValueError(), 500, None)]
)
async def test_a_press_that_was_not_decided_is_answered_all_the_same(
    target: Target, trouble: Exception, status: int, told: replies.Reply | None
) -> None:
    """Given a press that waited too long for its turn / Then WAIT by both ways, for nothing was done; given one that
    met something of ours that is broken / Then 500."""
    nothing = cast(Any, None)
    lane = hot.Hot(
        below=nothing, pictures=nothing, purchases=nothing, confirmations=nothing, entrance=nothing,
        challenges=nothing, protection=nothing, right_keys=nothing, metrics=api_metrics(), looks=nothing,
    )  # fmt: skip
    decided: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    decided.set_exception(trouble)
    press = hot.Press("/path", target, nothing, nothing, "k", "order", 0.0, decided)
    for reply in (lane.end(press), await lane.finish(press)):
        assert reply is not None
        assert (reply.status, reply == (told or replies.BROKEN)) == (status, True)
