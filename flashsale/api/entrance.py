"""The entrance: how a fan comes by a right, by reserving, or by their identity where a sale is open to all."""

from collections.abc import Mapping

from flashsale import stock
from flashsale.api import replies
from flashsale.api.bodies import body_fault, has_body, read_json
from flashsale.api.picture import SalePicture, right_expires_s
from flashsale.api.replies import Receive, RefusedError, Reply, refusal
from flashsale.api.who import fan_of
from flashsale.identity import Identities
from flashsale.metrics import OutcomeTally
from flashsale.outcomes import Outcome
from flashsale.reservation import Request, Reservations
from flashsale.rights import LANE_PUBLIC, Kind, Right, RightKeys
from flashsale.sale import Entry

_NO_RIGHT_SENT = refusal(Outcome.NO_RIGHT, detail="send Authorization: Right <the right from your reservation>")


class Entrance:
    """Gives rights out."""

    def __init__(
        self, *, reservations: Reservations, right_keys: RightKeys, identities: Identities, reserved: OutcomeTally
    ) -> None:
        self._reservations = reservations
        self._right_keys = right_keys
        self._identities = identities
        self._reserved = reserved

    async def by_identity(self, picture: SalePicture, authorization: bytes) -> Right:
        """The right of whoever signs in, for a sale that is open to all. Raises RefusedError."""
        if picture.sale.entry is not Entry.OPEN or not authorization:
            raise RefusedError(_NO_RIGHT_SENT)
        fan = await self._fan(authorization)
        return _right(picture, fan, picture.sale.channels[0])

    async def reserve(self, picture: SalePicture | None, headers: Mapping[bytes, bytes], receive: Receive) -> Reply:
        """POST sales/{sale}/reservation. Raises RefusedError."""
        if picture is None:
            raise RefusedError(replies.UNKNOWN_SALE)
        fault = body_fault(headers)
        if fault is not None:
            raise RefusedError(fault)
        fan = await self._fan(headers.get(b"authorization", b""))
        channel = await _channel(receive, headers, picture)
        sale = picture.sale
        answer = await self._reservations.reserve(
            bucket=sale.bucket_of(fan),
            slices=stock.slices_of(sale),
            channels=len(sale.channels),
            request=Request(fan, channel),
        )
        self._reserved.counts[answer.outcome] += 1
        if answer.outcome is not Outcome.RESERVED:
            return replies.BY_OUTCOME[answer.outcome]
        return self._given(_right(picture, fan, sale.channels[answer.channel_number]))

    def _given(self, right: Right) -> Reply:
        return replies.success(
            200,
            {
                "outcome": Outcome.RESERVED.name,
                "sale": right.sale,
                "fan": right.fan,
                "channel": right.channel,
                "right": self._right_keys.sign(right),
                "expires_ms": right.expires_s * 1000,
            },
        )

    async def _fan(self, authorization: bytes) -> str:
        return await fan_of(self._identities, authorization.decode("latin-1"))


def _right(picture: SalePicture, fan: str, channel: str) -> Right:
    return Right(Kind.RESERVATION, picture.sale.sale, fan, LANE_PUBLIC, channel, right_expires_s(picture.sale))


async def _channel(receive: Receive, headers: Mapping[bytes, bytes], picture: SalePicture) -> int:
    """The number of the channel that the fan says they came through; the first one when they say nothing.

    Raises RefusedError.
    """
    channels = picture.sale.channels
    if not has_body(headers):
        return 0
    data = await read_json(receive, headers)
    if set(data) - {"channel"}:
        raise RefusedError(replies.bad_input('the body may hold one key: {"channel": "…"}'))
    channel = data.get("channel", channels[0])
    if channel not in channels:
        raise RefusedError(replies.bad_input(f"channel: is one of {', '.join(channels)}"))
    return channels.index(channel)
