"""Which replies the locust crowd takes as honest, and which it counts as failures."""

import json

import pytest

from flashsale.api.replies import Reply, problem, refusal
from flashsale.outcomes import TELLINGS, Outcome
from loadtest.locust_answers import ASK_AGAIN, HONEST_5XX, NOT_KNOWN, Answer, read

HONEST = [outcome for outcome in Outcome if outcome not in {Outcome.WON, Outcome.RESERVED, Outcome.UNAVAILABLE}]


def answer_to(reply: Reply) -> Answer:
    """A reply of the engine's as the crowd reads it."""
    headers = {name.decode(): value.decode() for name, value in reply.headers}
    return read(reply.status, headers, reply.body)


@pytest.mark.parametrize("outcome", HONEST)
def test_an_honest_refusal_is_no_failure(outcome: Outcome) -> None:
    """Given a refusal as the engine words it / Then it is an outcome, and its waiting time is kept to."""
    answer = answer_to(refusal(outcome))
    assert (answer.outcome, answer.fault) == (outcome.name, "")
    assert answer.retry_after_s == max(1, TELLINGS[outcome].retry_after_s)


def test_what_the_engine_should_never_answer_is_a_failure() -> None:
    """Given a broken process, a closed state and a lost reply / Then each is a failure that says what it was."""
    assert answer_to(problem(500, "broken", "Broken")).fault == "500 /problems/broken"
    assert answer_to(refusal(Outcome.UNAVAILABLE)).fault == "503 /problems/unavailable"
    assert answer_to(problem(503, "store-away", "Away")).fault
    for status in (0, None):
        assert (read(status, None, None).outcome, read(status, None, None).fault) == ("LOST", "no reply")


def test_the_edges_brake_is_no_failure() -> None:
    """Given a 429 of the edge's / Then the crowd waits as it says."""
    body = json.dumps({"retry_after_s": 2}).encode()
    answer = read(429, {"content-type": "application/problem+json"}, body)
    assert (answer.outcome, answer.fault, answer.retry_after_s) == ("SLOWED", "", 2)


def test_a_page_that_is_not_json_is_read_too() -> None:
    """Given an answer of some proxy's / Then its status is the outcome."""
    assert read(502, {"content-type": "text/html"}, b"<html>").fault


def test_every_5xx_that_is_honest_is_asked_again() -> None:
    """Given the words for "not decided" / Then the crowd keeps its key for each."""
    assert HONEST_5XX <= ASK_AGAIN | NOT_KNOWN
    assert not ASK_AGAIN & NOT_KNOWN
