"""The edge, a real nginx with deploy/nginx: what it may answer by itself, for how long, and what it never may.

Behind it stands a tiny api that gives the engine's own replies and counts who asks. With the real api behind it:
test_shop.py.
"""

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from flashsale import limits
from flashsale.api import replies
from flashsale.api.replies import Reply, refusal
from flashsale.outcomes import TELLINGS, Outcome
from tests.integration.edge.conftest import BUY, SOLD_OUT, as_spelled, kept
from tests.support.edge import cached
from tests.support.upstream import Asked, Upstream
from tests.support.waiting import until

WON = replies.success(201, {"outcome": "WON"}, (b"location", b"/api/v1/orders/1"))
LANDED_S = 0.05  # between a change in the test and the first request that can see it


def press_for(fans: httpx.Client, seconds: float, seen: list[tuple[float, httpx.Response]]) -> None:
    """Press again and again for so long; note when each press began and what was answered."""
    ends = time.monotonic() + seconds
    while (begun := time.monotonic()) < ends:
        seen.append((begun, fans.post(BUY)))


def test_sold_out_is_told_without_asking_the_app(fans: httpx.Client, api: Upstream) -> None:
    """Given an item that is sold out / When it is pressed for a second / Then the app is asked once a beat."""
    fans.post(BUY)
    seen: list[tuple[float, httpx.Response]] = []
    press_for(fans, 1.0, seen)
    assert {answer.status_code for _, answer in seen} == {409}
    assert {answer.json()["outcome"] for _, answer in seen} == {"SOLD_OUT"}
    assert seen[-1][1].headers["cache-control"] == "public, max-age=1"
    beats = 1.2 / limits.EDGE_BEAT_S + 2
    assert len(api.asked) <= beats < len(seen), f"{len(seen)} presses"
    assert any(cached(answer) for _, answer in seen)


def test_sold_out_is_never_told_for_longer_than_a_beat(fans: httpx.Client, api: Upstream) -> None:
    """Given a crowd that is told sold out / When a unit comes back / Then a beat later everybody's press goes through.

    With stale answers served while one asks, the crowd itself would keep the old answer alive.
    """
    seen: list[tuple[float, httpx.Response]] = []
    crowd = [threading.Thread(target=press_for, args=(fans, 1.6, seen)) for _ in range(4)]
    for fan in crowd:
        fan.start()
    until(lambda: any(cached(answer) for _, answer in list(seen)), what="the edge answers by itself")
    api.answer = lambda asked: WON
    late = time.monotonic() + limits.EDGE_BEAT_S + LANDED_S
    for fan in crowd:
        fan.join()
    outcomes = Counter((begun > late, answer.status_code) for begun, answer in seen)
    assert outcomes[True, 409] == 0, outcomes
    assert outcomes[True, 201] > 0 < outcomes[False, 409], outcomes


def test_not_open_is_never_told_after_the_opening() -> None:
    """Given the app's margin before the opening / Then an answer may lie at the edge for a beat and is not late."""
    oldest_picture_ms = limits.PICTURE_REFRESH_S * 1000
    margin_ms = limits.EARLY_REFUSAL_MARGIN_MS + 1000
    assert oldest_picture_ms + limits.EDGE_BEAT_S * 1000 < margin_ms


def test_a_win_is_never_kept(fans: httpx.Client, api: Upstream, tmp_path: Path) -> None:
    """Given an item that sells / When many press / Then each asks the app, and nothing is written down."""
    api.answer = lambda asked: WON
    answers = [fans.post(BUY) for _ in range(30)]
    assert {answer.status_code for answer in answers} == {201}
    assert len(api.asked) == 30
    assert not any(map(cached, answers))
    assert not kept(tmp_path)


def test_nobody_waits_for_anothers_press(fans: httpx.Client, api: Upstream) -> None:
    """Given an item that sells / When a crowd presses at once / Then nobody is held back.

    With a cache lock that makes others wait, each would wait for half a second at least.
    """

    def slowly(asked: Asked) -> Reply:
        time.sleep(0.02)
        return WON

    api.answer = slowly

    def seconds(_: int) -> float:
        begun = time.monotonic()
        assert fans.post(BUY).status_code == 201
        return time.monotonic() - begun

    with ThreadPoolExecutor(32) as crowd:
        list(crowd.map(seconds, range(32)))
        assert max(crowd.map(seconds, range(128))) < 0.45


def test_one_fans_reply_never_reaches_another(fans: httpx.Client, api: Upstream, tmp_path: Path) -> None:
    """Given fans who have bought / When they press in turn and at once / Then each is told their own order."""
    api.answer = lambda asked: refusal(Outcome.ALREADY_BOUGHT, order=asked.headers["authorization"])

    def own(number: int) -> bool:
        answer = fans.post(BUY, headers={"authorization": f"Right {number}"})
        return bool(answer.json()["order"] == f"Right {number}")

    assert all(map(own, range(20)))
    with ThreadPoolExecutor(16) as crowd:
        assert all(crowd.map(own, range(200)))
    assert len(api.asked) == 220
    assert not kept(tmp_path)


@pytest.mark.parametrize("said", [None, b"max-age=60", b"private, max-age=60", b"no-store", b"public"])
def test_only_what_is_called_public_is_kept(
    fans: httpx.Client, api: Upstream, tmp_path: Path, said: bytes | None
) -> None:
    """Given a reply that says too little about itself / When asked twice / Then the app is asked twice."""
    headers = [] if said is None else [(b"cache-control", said)]
    api.answer = lambda asked: replies.reply(409, b"{}", headers)
    assert not any(cached(fans.post(BUY)) for _ in range(3))
    assert len(api.asked) == 3
    assert not kept(tmp_path)


def test_a_retry_always_asks_the_app(fans: httpx.Client, api: Upstream) -> None:
    """Given sold out at the edge / When a fan asks again after a lost reply / Then they get their own, others don't."""
    until(lambda: cached(fans.post(BUY)), what="the edge answers by itself")
    api.answer = lambda asked: WON if asked.path.endswith("?retry=1") else SOLD_OUT
    before = len(api.asked)
    answers = [fans.post(f"{BUY}?retry=1") for _ in range(5)]
    assert {answer.status_code for answer in answers} == {201}
    assert len([asked for asked in api.asked[before:] if asked.path == f"{BUY}?retry=1"]) == 5
    assert fans.post(BUY).status_code == 409


def test_a_shared_answer_to_a_retry_is_not_kept(fans: httpx.Client, api: Upstream, tmp_path: Path) -> None:
    """Given a retry that is told sold out / Then that answer is for the asker, whatever it says about itself."""
    for _ in range(3):
        assert fans.post(f"{BUY}?retry=1").status_code == 409
    assert len(api.asked) == 3
    assert not kept(tmp_path)


def test_a_query_does_not_get_past_the_cache(fans: httpx.Client, api: Upstream) -> None:
    """Given sold out / When someone adds queries at will / Then the app is not asked more often for that."""
    for number in range(100):
        assert fans.post(f"{BUY}?x={number}").status_code == 409
    assert len(api.asked) < 50


def test_two_spellings_never_share_an_answer(fans: httpx.Client, api: Upstream) -> None:
    """Given an app that tells spellings of a path apart / Then so does the cache, or one could poison the other."""
    api.answer = lambda asked: SOLD_OUT if asked.path != BUY else WON
    below = BUY.removeprefix("/api/v1/")
    for path in (BUY.replace("mi3", "%6di3"), f"/api/v1/x/../{below}", f"/api//v1/{below}"):
        for _ in range(3):
            as_spelled(fans, path)
        assert api.asked[-1].path == path
        assert fans.post(BUY).status_code == 201


def test_unknown_is_worded_as_the_app_words_it(fans: httpx.Client, api: Upstream) -> None:
    """Given an app that hangs up midway / When a fan presses / Then it is UNKNOWN, for the press may have won."""

    def hang_up(asked: Asked) -> Reply:
        raise ConnectionResetError

    api.answer = hang_up
    answer = fans.post(BUY)
    telling = TELLINGS[Outcome.UNKNOWN]
    expected = refusal(Outcome.UNKNOWN)
    assert (answer.status_code, answer.json()["title"]) == (telling.status, telling.title)
    assert answer.content == expected.body
    assert answer.headers["retry-after"] == str(telling.retry_after_s)
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-type"] == "application/problem+json"
    assert len(api.asked) == 1, "a press must not be sent twice by the edge"
