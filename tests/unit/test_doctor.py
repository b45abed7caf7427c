"""The doctor's rules: facts that are fit, then one wrong at a time."""

from dataclasses import replace
from typing import Any, Final

import pytest

from flashsale import limits
from flashsale.doctor import ClusterFacts, Facts, Finding, PostgresFacts, ValkeyFacts, Verdict, examine, refused
from flashsale.durability import Level
from flashsale.queries import migrations

VALKEY: Final = ValkeyFacts(
    address="127.0.0.1:7001", product="Valkey", version=(8, 1), primary=True, cluster=False, replicas=1,
    policy="noeviction", appendonly=True, appendfsync="always", intset_entries=512, memory_max=2**31,
    memory_used=2**20, clock_off_ms=0,
)  # fmt: skip
POSTGRES: Final = PostgresFacts(
    version="15.4", schema=len(migrations()), fsync="on", full_page_writes="on", synchronous_commit="on",
    connections_max=100, clock_off_ms=0, disk_free_bytes=2**35,
)  # fmt: skip
FIT: Final = Facts(valkeys=(VALKEY,), cluster=None, postgres=POSTGRES)
EVERY_LEVEL: Final = {"a": Level.ACCEPTED, "r": Level.REPLICATED, "f": Level.FSYNCED, "c": Level.CONFIRMED}


def valkey(levels: dict[str, Level] | None = None, **wrong: Any) -> list[Finding]:
    """What is found, apart from ok, when the one server has these facts instead."""
    return odd(replace(FIT, valkeys=(replace(VALKEY, **wrong),)), levels)


def postgres(**wrong: Any) -> list[Finding]:
    """What is found, apart from ok, when Postgres has these facts instead."""
    return odd(replace(FIT, postgres=replace(POSTGRES, **wrong)))


def odd(facts: Facts, levels: dict[str, Level] | None = None) -> list[Finding]:
    """All findings that are not ok."""
    return [finding for finding in examine(facts, levels or {}) if finding.verdict is not Verdict.OK]


def test_what_is_fit_is_found_fit() -> None:
    """Given servers as they should be / When sales of every level are looked at / Then all is ok."""
    assert odd(FIT, EVERY_LEVEL) == []
    assert odd(replace(FIT, cluster=ClusterFacts("ok", 16_384)), EVERY_LEVEL) == []


def test_the_sentence_says_what_to_set() -> None:
    """Given an evicting server / Then the sentence names the setting, the value it needs, and the command."""
    (finding,) = valkey(policy="allkeys-lru")
    assert finding.verdict is Verdict.REFUSE
    assert finding.sentence == (
        "maxmemory-policy is allkeys-lru; it must be noeviction: "
        "CONFIG SET maxmemory-policy noeviction, and in valkey.conf"
    )


@pytest.mark.parametrize(
    ("wrong", "check", "verdict"),
    [
        ({"product": "Valkey", "version": (7, 2)}, "valkey version", Verdict.REFUSE),
        ({"product": "Redis", "version": (6, 2)}, "valkey version", Verdict.REFUSE),
        ({"memory_max": 0}, "maxmemory", Verdict.WARN),
        ({"memory_max": 1000, "memory_used": 801}, "maxmemory", Verdict.WARN),
        ({"intset_entries": 511}, "set-max-intset-entries", Verdict.WARN),
        ({"intset_entries": None}, "set-max-intset-entries", Verdict.UNKNOWN),
        ({"appendonly": False}, "appendonly", Verdict.WARN),
        ({"appendfsync": "no"}, "appendfsync", Verdict.WARN),
        ({"appendfsync": None}, "appendfsync", Verdict.UNKNOWN),
        ({"clock_off_ms": 1001}, "valkey clock", Verdict.WARN),
        ({"clock_off_ms": -1001}, "valkey clock", Verdict.WARN),
    ],
)  # fmt: skip
def test_one_wrong_fact_of_valkey(wrong: dict[str, Any], check: str, verdict: Verdict) -> None:
    """Given one wrong fact / When no sale asks for more than accepted / Then just that is found."""
    assert [(found.check, found.verdict) for found in valkey({"a": Level.ACCEPTED}, **wrong)] == [(check, verdict)]


def test_memory_that_is_nearly_used_up_is_told_as_what_it_does() -> None:
    """Given a server at its watermark / Then the finding says that selling pauses; below it, it does not."""
    for used, told in ((899, "90% used"), (900, "90% used, selling pauses")):
        (found,) = valkey(memory_max=1000, memory_used=used)
        assert found.found.endswith(told)


@pytest.mark.parametrize(
    "right",
    [
        {"product": "Redis", "version": (7, 0)}, {"memory_max": 1000, "memory_used": 800}, {"clock_off_ms": 1000},
        {"clock_off_ms": -1000}, {"replicas": 0}, {"appendfsync": "always"}, {"intset_entries": 513},
    ],
)  # fmt: skip
def test_what_is_just_right_is_ok(right: dict[str, Any]) -> None:
    """Given a fact at its bound, or one that this level does not need / Then it is ok."""
    assert valkey({"a": Level.ACCEPTED, "c": Level.CONFIRMED}, **right) == []


@pytest.mark.parametrize(
    ("wrong", "level", "check"),
    [
        ({"appendonly": False}, "fsynced", "appendonly"),
        ({"appendfsync": "no"}, "fsynced", "appendfsync"),
        ({"appendfsync": "everysec"}, "fsynced", "appendfsync"),
        ({"product": "Redis", "version": (7, 0)}, "fsynced", "WAITAOF"),
        ({"replicas": 0}, "replicated", "replicas per primary"),
    ],
)  # fmt: skip
def test_what_a_level_needs_is_refused_for_its_sales_only(wrong: dict[str, Any], level: str, check: str) -> None:
    """Given a server without what one level needs / Then it is refused with the sale's name, for that level only."""
    found = refused(valkey(EVERY_LEVEL, **wrong))
    assert [finding.check for finding in found] == [check]
    assert f"for level {level} of {level[0]}" in found[0].sentence
    assert refused(found, selling=False) == [], "what was won has to land all the same"
    others = {sale: name for sale, name in EVERY_LEVEL.items() if name != level}
    assert refused(valkey(others, **wrong)) == []


@pytest.mark.parametrize(
    ("wrong", "check", "verdict"),
    [
        ({"version": "14.9"}, "postgres version", Verdict.REFUSE),
        ({"schema": len(migrations()) - 1}, "schema step", Verdict.REFUSE),
        ({"schema": len(migrations()) + 1}, "schema step", Verdict.REFUSE),
        ({"fsync": "off"}, "fsync", Verdict.REFUSE),
        ({"full_page_writes": "off"}, "full_page_writes", Verdict.REFUSE),
        ({"synchronous_commit": "off"}, "synchronous_commit", Verdict.REFUSE),
        ({"connections_max": limits.POSTGRES_CONNECTIONS_MIN - 1}, "max_connections", Verdict.WARN),
        ({"disk_free_bytes": limits.POSTGRES_DISK_FREE_BYTES_MIN - 1}, "postgres disk", Verdict.WARN),
        ({"disk_free_bytes": None}, "postgres disk", Verdict.UNKNOWN),
        ({"clock_off_ms": 1001}, "postgres clock", Verdict.WARN),
    ],
)  # fmt: skip
def test_one_wrong_fact_of_postgres(wrong: dict[str, Any], check: str, verdict: Verdict) -> None:
    """Given one wrong fact / Then just that is found."""
    assert [(found.check, found.verdict) for found in postgres(**wrong)] == [(check, verdict)]


def test_what_to_do_about_the_schema() -> None:
    """Given an older or a newer schema / Then the remedy is to migrate, or to install the newer code."""
    assert postgres(schema=0)[0].remedy == "run: flashsale migrate"
    assert postgres(schema=9999)[0].remedy == "install the newer flashsale"


@pytest.mark.parametrize("synchronous_commit", ["local", "remote_write", "remote_apply"])
def test_what_waits_for_the_disk_is_enough(synchronous_commit: str) -> None:
    """Given a commit that waits at least for this machine's disk / Then it is ok."""
    assert postgres(synchronous_commit=synchronous_commit) == []


def test_a_cluster_that_is_not_whole_is_refused() -> None:
    """Given slots of nobody, or a failed cluster / Then it is refused; a silent node is warned of."""
    some_slots = replace(FIT, cluster=ClusterFacts("ok", 16_383))
    assert [(found.check, found.passing) for found in refused(examine(some_slots, {}))] == [("cluster_slots_ok", True)]
    failed = replace(FIT, cluster=ClusterFacts("fail", 16_384))
    assert [(found.check, found.passing) for found in refused(examine(failed, {}))] == [("cluster_state", True)]
    (silent,) = odd(replace(FIT, cluster=ClusterFacts("ok", 16_384, ("127.0.0.1:7005",))))
    assert (silent.verdict, silent.found) == (Verdict.WARN, "without an answer: 127.0.0.1:7005")


def test_a_setting_that_is_wrong_on_one_node_is_found_there() -> None:
    """Given a cluster where one replica evicts / Then it is refused, and the node is named."""
    other = replace(VALKEY, address="127.0.0.1:7004", primary=False, replicas=0, policy="volatile-ttl")
    facts = Facts(valkeys=(VALKEY, other), cluster=ClusterFacts("ok", 16_384), postgres=POSTGRES)
    (finding,) = odd(facts)
    assert (finding.check, finding.found) == ("maxmemory-policy", "volatile-ttl on 127.0.0.1:7004")
    everywhere = replace(facts, valkeys=(replace(VALKEY, policy="volatile-ttl"), other))
    assert odd(everywhere)[0].found == "volatile-ttl"


def test_a_primary_without_a_replica_is_warned_of_in_a_cluster() -> None:
    """Given a cluster where one primary has no replica / Then a warning, or for level replicated a refusal."""
    lonely = replace(VALKEY, address="127.0.0.1:7002", replicas=0)
    facts = Facts(valkeys=(VALKEY, lonely), cluster=ClusterFacts("ok", 16_384), postgres=POSTGRES)
    (finding,) = odd(facts, {"a": Level.ACCEPTED})
    assert (finding.verdict, finding.found) == (Verdict.WARN, "0 on 127.0.0.1:7002")
    (finding,) = odd(facts, {"r": Level.REPLICATED})
    assert (finding.verdict, finding.passing) == (Verdict.REFUSE, True)
