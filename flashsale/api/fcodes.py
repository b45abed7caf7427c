"""F-codes over HTTP: a fan redeems one. What is wrong with a code by itself is told without asking a store."""

import time
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from flashsale import fcode, limits
from flashsale.api import replies
from flashsale.api.answers import told
from flashsale.api.bodies import read_json
from flashsale.api.confirmations import Confirmations
from flashsale.api.picture import Pictures, Target
from flashsale.api.protection import Protection
from flashsale.api.replies import PREFIX, RefusedError, Reply, refusal
from flashsale.api.who import fan_of
from flashsale.batch import Batch
from flashsale.coalesce import CrowdedError
from flashsale.durability import Level
from flashsale.fcode import Code, CodeKeys, Fault
from flashsale.identity import Identities
from flashsale.metrics import ApiMetrics
from flashsale.outcomes import Outcome
from flashsale.purchase import Answer
from flashsale.rates import Rates
from flashsale.redeem import Redemptions

_MALFORMED: Final = refusal(Outcome.CODE_MISTYPED, detail=Fault.MALFORMED.value)
_GUESSED: Final = refusal(Outcome.TOO_OFTEN, retry_after_s=60, detail="too many codes of yours were none")


class Fcodes:
    """The resource of codes."""

    def __init__(
        self,
        *,
        pictures: Pictures,
        redemptions: Redemptions,
        confirmations: Confirmations,
        identities: Identities,
        protection: Protection,
        code_keys: CodeKeys,
        metrics: ApiMetrics,
    ) -> None:
        self._pictures = pictures
        self._redemptions = redemptions
        self._confirmations = confirmations
        self._identities = identities
        self._protection = protection
        self._code_keys = code_keys
        self._metrics = metrics
        self._guesses = Rates(per_s=limits.FCODE_GUESSES_PER_S, burst=limits.FCODE_GUESSES_BURST)

    async def redeem(self, request: Request) -> Response:
        """POST fcodes/redeem: {"code": "F-…"}. The same code again, by the same fan, tells the same win."""
        fan = await fan_of(self._identities, request.headers.get("authorization", ""))
        data = await read_json(request.receive, dict(request.scope["headers"]))
        text = data.get("code")
        if set(data) != {"code"} or not isinstance(text, str):
            raise RefusedError(replies.bad_input('the body has one key: {"code": "F-XXXXX-XXXXX-XXXXX-XXXXX"}'))
        slowed = self._protection.slowed(fan)
        key_id, code = self._read(fan, text)
        one, target = self._found(code, key_id)
        answer = await self._decided(code, one, target, fan, last=slowed)
        self._metrics.redeemed.counts[answer.outcome] += 1
        return (await self._reply(target, answer)).response()

    def _read(self, fan: str, text: str) -> tuple[str, Code]:
        """The code in this text and the id of its key. Raises RefusedError; of those that are none, a fan
        is told so many in a time."""
        read = self._code_keys.read(text)
        if not isinstance(read, Fault):
            return read
        if self._guesses.early_s(fan, time.monotonic()):
            self._metrics.redeemed.counts[Outcome.TOO_OFTEN] += 1
            raise RefusedError(_GUESSED)
        outcome = Outcome.CODE_FORGED if read is Fault.FORGED else Outcome.CODE_MISTYPED
        self._metrics.redeemed.counts[outcome] += 1
        if read is Fault.MALFORMED:
            raise RefusedError(_MALFORMED)
        group = fcode.mistyped_group(text) if read is Fault.MISTYPED else None
        detail = f"it seems to be in group {group} of the four" if group else ""
        raise RefusedError(refusal(outcome, detail=detail, group=group) if group else replies.BY_OUTCOME[outcome])

    def _found(self, code: Code, key_id: str) -> tuple[Batch, Target]:
        """The batch of a genuine code, and what it is for. Raises RefusedError while this process does not know it, and
        where the code was made with another key than its batch: that key is in somebody's hands."""
        one = self._pictures.batches.get(code.batch)
        if one is not None and one.key_id != key_id:
            raise RefusedError(replies.BY_OUTCOME[Outcome.CODE_FORGED])
        if one is not None:
            path = f"{PREFIX}sales/{one.sale}/items/{one.item_of(code.serial)}/purchase"
            target = self._pictures.targets.get(path)
            if target is not None:
                return one, target
        raise RefusedError(replies.BY_OUTCOME[Outcome.UNAVAILABLE])

    async def _decided(self, code: Code, one: Batch, target: Target, fan: str, *, last: bool) -> Answer:
        sale = target.picture.sale
        bucket = sale.fcode_bucket
        assert bucket is not None, "a batch is of a sale that takes F-codes"
        try:
            return await self._redemptions.redeem(
                code, bucket=bucket, item=target.item, level=sale.ack, fan=fan, channel=one.channel, last=last
            )
        except CrowdedError:
            return Answer(Outcome.WAIT)

    async def _reply(self, target: Target, answer: Answer) -> Reply:
        if answer.outcome is Outcome.WON and target.picture.sale.ack is Level.CONFIRMED:
            confirmed = await self._confirmations.confirmed(answer.order)
            answer = answer._replace(level=Level.CONFIRMED) if confirmed else answer
        return told(target, answer)
