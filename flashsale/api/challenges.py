"""A challenge and its solution over HTTP: who solves one gets a right that says so, and presses with that."""

from collections.abc import Mapping
from typing import Final

from flashsale import clock, limits
from flashsale.api import replies
from flashsale.api.bodies import read_json
from flashsale.api.replies import Receive, RefusedError, Reply, refusal
from flashsale.challenge import Challenges, Unsolved
from flashsale.metrics import ApiMetrics
from flashsale.outcomes import Outcome
from flashsale.rights import Right, RightKeys

_REFUSED: Final = {why: refusal(Outcome.CHALLENGE, detail=why.value) for why in Unsolved}


class ChallengeDesk:
    """Gives challenges out and takes solutions in, of fans who have a right."""

    def __init__(self, challenges: Challenges, right_keys: RightKeys, metrics: ApiMetrics) -> None:
        self._challenges = challenges
        self._right_keys = right_keys
        self._metrics = metrics

    def give(self, right: Right) -> Reply:
        """GET sales/{sale}/challenge."""
        self._metrics.challenges.labels("given").inc()
        return replies.success(200, self._challenges.give(sale=right.sale, fan=right.fan, now_s=clock.now_s()))

    async def take(self, right: Right, headers: Mapping[bytes, bytes], receive: Receive) -> Reply:
        """POST sales/{sale}/challenge. Raises RefusedError."""
        data = await read_json(receive, headers)
        payload = data.get("payload")
        if set(data) != {"payload"} or not isinstance(payload, str):
            raise RefusedError(replies.bad_input('the body has one key: {"payload": "<what ALTCHA\'s clients send>"}'))
        unsolved = self._challenges.check(payload, sale=right.sale, fan=right.fan)
        self._metrics.challenges.labels(unsolved.name.lower() if unsolved else "solved").inc()
        return _REFUSED[unsolved] if unsolved else self._given(right)

    def _given(self, right: Right) -> Reply:
        """The fan's right, good for a while and with the mark that they have solved one."""
        expires_s = min(right.expires_s, int(clock.now_s()) + limits.SOLVED_S)
        solved = right._replace(expires_s=expires_s, solved=True)
        return replies.success(200, {"right": self._right_keys.sign(solved), "expires_ms": expires_s * 1000})
