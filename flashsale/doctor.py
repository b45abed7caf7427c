"""The doctor's rules: what the stores must be like for the promises to hold, and what to do where they are not.

A rule is a function of facts and of the levels of the sales; it asks nobody. The facts are read by doctor_facts.py.
What would make a yes a lie is refused; what only costs memory, or may hurt one day, is a warning.
"""

import enum
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from flashsale import limits
from flashsale.durability import Level
from flashsale.queries import migrations
from flashsale.stores import POSTGRES_VERSION_MIN, REDIS_VERSION_MIN, VALKEY_VERSION_MIN

SLOTS: Final = 16_384
WAITAOF_REDIS_MIN: Final = (7, 2)


class Verdict(enum.StrEnum):
    """What a finding means. REFUSE: processes do not start. UNKNOWN: the server does not tell."""

    OK = "ok"
    UNKNOWN = "unknown"
    WARN = "warn"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: what was found, what is needed, and what to do about it where that differs.

    passing: it may be over in seconds by itself, as a failover is. of_level: it touches only the level that wins are
    told at, so that it keeps nobody from landing them.
    """

    check: str
    found: str
    needed: str
    verdict: Verdict
    remedy: str
    passing: bool = False
    of_level: bool = False

    @property
    def sentence(self) -> str:
        """The finding for a log or a refusal."""
        return f"{self.check} is {self.found}; it must be {self.needed}: {self.remedy}"


@dataclass(frozen=True, slots=True)
class ValkeyFacts:
    """What one server said. clock_off_ms: how far its clock is ahead of ours; None: it would not tell.

    replicas: how many follow it and are online. cluster: whether it is a node of one.
    """

    address: str
    product: str
    version: tuple[int, ...]
    primary: bool
    cluster: bool
    replicas: int
    policy: str
    appendonly: bool
    appendfsync: str | None
    intset_entries: int | None
    memory_max: int
    memory_used: int
    clock_off_ms: int


@dataclass(frozen=True, slots=True)
class ClusterFacts:
    """What the cluster said of itself. silent: the addresses of nodes that gave no answer."""

    state: str
    slots_ok: int
    silent: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PostgresFacts:
    """What Postgres said. disk_free_bytes: of the disk of its data, where that is to be seen from here."""

    version: str
    schema: int
    fsync: str
    full_page_writes: str
    synchronous_commit: str
    connections_max: int
    clock_off_ms: int
    disk_free_bytes: int | None


@dataclass(frozen=True, slots=True)
class Facts:
    """All that the rules look at."""

    valkeys: tuple[ValkeyFacts, ...]
    cluster: ClusterFacts | None
    postgres: PostgresFacts


Levels = Mapping[str, Level]  # each sale that is not closed, with the level that its fans are promised


def examine(facts: Facts, levels: Levels) -> list[Finding]:
    """Every check with its verdict. levels: each sale with the level that its fans are promised."""
    return [finding for rule in _RULES for finding in rule(facts, levels)]


def refused(findings: Sequence[Finding], *, selling: bool = True) -> list[Finding]:
    """Those with which no process may start. selling: it tells fans of wins."""
    return [found for found in findings if found.verdict is Verdict.REFUSE and (selling or not found.of_level)]


def warned(findings: Sequence[Finding]) -> list[Finding]:
    """Those that a person should read before a sale."""
    return [found for found in findings if found.verdict is Verdict.WARN]


def _versions(facts: Facts, levels: Levels) -> Iterator[Finding]:
    def judge(valkey: ValkeyFacts) -> tuple[str, Verdict]:
        least = VALKEY_VERSION_MIN if valkey.product == "Valkey" else REDIS_VERSION_MIN
        told = f"{valkey.product} {'.'.join(map(str, valkey.version))}"
        return told, Verdict.OK if valkey.version >= least else Verdict.REFUSE

    yield _over(facts, "valkey version", judge, "Valkey 8.0 or Redis 7.0, or newer", "install a newer server")
    fits = int(facts.postgres.version.partition(".")[0]) >= POSTGRES_VERSION_MIN
    yield Finding(
        "postgres version", facts.postgres.version, f"{POSTGRES_VERSION_MIN} or newer",
        Verdict.OK if fits else Verdict.REFUSE, "install a newer server",
    )  # fmt: skip


def _eviction(facts: Facts, levels: Levels) -> Iterator[Finding]:
    def judge(valkey: ValkeyFacts) -> tuple[str, Verdict]:
        return valkey.policy, Verdict.OK if valkey.policy == "noeviction" else Verdict.REFUSE

    remedy = "CONFIG SET maxmemory-policy noeviction, and in valkey.conf"
    yield _over(facts, "maxmemory-policy", judge, "noeviction", remedy)


def _memory(facts: Facts, levels: Levels) -> Iterator[Finding]:
    def judge(valkey: ValkeyFacts) -> tuple[str, Verdict]:
        if not valkey.memory_max:
            return "0 (no limit)", Verdict.WARN
        share = valkey.memory_used / valkey.memory_max
        paused = ", selling pauses" if share >= limits.MEMORY_PAUSE_SHARE else ""
        told = f"{_size(valkey.memory_max)}, {share:.0%} used{paused}"
        return told, Verdict.OK if share <= limits.MEMORY_USED_SHARE_MAX else Verdict.WARN

    remedy = (
        "CONFIG SET maxmemory <half of the machine's memory>, and in valkey.conf; selling pauses from "
        f"{limits.MEMORY_PAUSE_SHARE:.0%} used until it is below {limits.MEMORY_RESUME_SHARE:.0%}"
    )
    yield _over(facts, "maxmemory", judge, f"set, and at most {limits.MEMORY_USED_SHARE_MAX:.0%} used", remedy)


def _small_sets(facts: Facts, levels: Levels) -> Iterator[Finding]:
    def judge(valkey: ValkeyFacts) -> tuple[str, Verdict]:
        if valkey.intset_entries is None:
            return "not told", Verdict.UNKNOWN
        fits = valkey.intset_entries >= limits.INTSET_ENTRIES_MIN
        return str(valkey.intset_entries), Verdict.OK if fits else Verdict.WARN

    least = limits.INTSET_ENTRIES_MIN
    remedy = (
        f"CONFIG SET set-max-intset-entries {least}, and in valkey.conf; a reservation takes several times its memory"
    )
    yield _over(facts, "set-max-intset-entries", judge, f"{least} or more", remedy)


def _log(facts: Facts, levels: Levels) -> Iterator[Finding]:
    sales = _at(levels, Level.FSYNCED)
    worse = Verdict.REFUSE if sales else Verdict.WARN

    def judge(valkey: ValkeyFacts) -> tuple[str, Verdict]:
        return ("yes", Verdict.OK) if valkey.appendonly else ("no", worse)

    remedy = "CONFIG SET appendonly yes, and in valkey.conf; a restart forgets wins without it"
    yield replace(_over(facts, "appendonly", judge, _for(sales, Level.FSYNCED, "yes"), remedy), of_level=True)

    def judge_fsync(valkey: ValkeyFacts) -> tuple[str, Verdict]:
        if valkey.appendfsync is None:
            return "not told", Verdict.UNKNOWN
        # With everysec, servers count themselves in WAITAOF before the second is over (decision 0019).
        fits = valkey.appendfsync == "always" if sales else valkey.appendfsync != "no"
        return valkey.appendfsync, Verdict.OK if fits else worse

    needed = "always" if sales else "everysec or always"
    remedy = f"CONFIG SET appendfsync {'always' if sales else 'everysec'}, and in valkey.conf"
    found = _over(facts, "appendfsync", judge_fsync, _for(sales, Level.FSYNCED, needed), remedy)
    yield replace(found, of_level=True)


def _waitaof(facts: Facts, levels: Levels) -> Iterator[Finding]:
    sales = _at(levels, Level.FSYNCED)
    if not sales:
        return

    def judge(valkey: ValkeyFacts) -> tuple[str, Verdict]:
        has = valkey.product == "Valkey" or valkey.version >= WAITAOF_REDIS_MIN
        return ("there", Verdict.OK) if has else ("not there", Verdict.REFUSE)

    remedy = "install Redis 7.2 or Valkey 8, or give the sale another level (ack)"
    yield replace(_over(facts, "WAITAOF", judge, _for(sales, Level.FSYNCED, "there"), remedy), of_level=True)


def _replicas(facts: Facts, levels: Levels) -> Iterator[Finding]:
    sales = _at(levels, Level.REPLICATED)
    if not sales and facts.cluster is None:
        return  # One server on its own is what the levels accepted, fsynced and confirmed were made for.
    least = limits.REPLICAS_MIN

    def judge(valkey: ValkeyFacts) -> tuple[str, Verdict]:
        if not valkey.primary:
            return "", Verdict.OK
        worse = Verdict.REFUSE if sales else Verdict.WARN
        return str(valkey.replicas), Verdict.OK if valkey.replicas >= least else worse

    remedy = "start a replica of each primary (replicaof, or CLUSTER REPLICATE), or give the sale another level (ack)"
    found = _over(facts, "replicas per primary", judge, _for(sales, Level.REPLICATED, f"{least} or more"), remedy)
    yield replace(found, passing=True, of_level=True)


def _cluster(facts: Facts, levels: Levels) -> Iterator[Finding]:
    cluster = facts.cluster
    if cluster is None:
        return
    whole = cluster.slots_ok == SLOTS
    remedy = "start the primaries that are down, or give their slots to others: valkey-cli --cluster fix"
    yield Finding("cluster_slots_ok", str(cluster.slots_ok), str(SLOTS), _refuse_unless(whole), remedy, passing=True)
    yield Finding("cluster_state", cluster.state, "ok", _refuse_unless(cluster.state == "ok"), remedy, passing=True)
    if cluster.silent:
        silent = ", ".join(cluster.silent)
        yield Finding("cluster nodes", f"without an answer: {silent}", "all answering", Verdict.WARN, "start them")


def _promises_of_postgres(facts: Facts, levels: Levels) -> Iterator[Finding]:
    postgres = facts.postgres
    for name, value in (
        ("fsync", postgres.fsync),
        ("full_page_writes", postgres.full_page_writes),
        ("synchronous_commit", postgres.synchronous_commit),
    ):
        remedy = f"set {name} = on in postgresql.conf and reload; a confirmed order can vanish without it"
        needed = "not off" if name == "synchronous_commit" else "on"
        yield Finding(name, value, needed, _refuse_unless(value != "off"), remedy)


def _schema(facts: Facts, levels: Levels) -> Iterator[Finding]:
    at, needed = facts.postgres.schema, len(migrations())
    remedy = "run: flashsale migrate" if at < needed else "install the newer flashsale"
    yield Finding("schema step", str(at), str(needed), _refuse_unless(at == needed), remedy)


def _room_of_postgres(facts: Facts, levels: Levels) -> Iterator[Finding]:
    postgres, least = facts.postgres, limits.POSTGRES_CONNECTIONS_MIN
    yield Finding(
        "max_connections", str(postgres.connections_max), f"{least} or more",
        _warn_unless(postgres.connections_max >= least),
        "set max_connections in postgresql.conf and restart it; each api and worker process wants ten",
    )  # fmt: skip
    free, needed = postgres.disk_free_bytes, limits.POSTGRES_DISK_FREE_BYTES_MIN
    yield Finding(
        "postgres disk", "not to be seen from here" if free is None else f"{_size(free)} free", f"{_size(needed)} free",
        Verdict.UNKNOWN if free is None else _warn_unless(free >= needed),
        "give Postgres's data a larger disk; sales pause when the outbox is full",
    )  # fmt: skip


def _clocks(facts: Facts, levels: Levels) -> Iterator[Finding]:
    most = limits.CLOCK_OFF_MS_MAX

    def judge(valkey: ValkeyFacts) -> tuple[str, Verdict]:
        return f"{valkey.clock_off_ms:+} ms", _warn_unless(abs(valkey.clock_off_ms) <= most)

    needed, remedy = f"within {most} ms of this machine's", "let NTP set the clocks of all machines"
    yield _over(facts, "valkey clock", judge, needed, f"{remedy}; sales open by Valkey's clock")
    off = facts.postgres.clock_off_ms
    yield Finding("postgres clock", f"{off:+} ms", needed, _warn_unless(abs(off) <= most), remedy)


_RULES: Final[tuple[Callable[[Facts, Levels], Iterator[Finding]], ...]] = (
    _versions, _schema, _eviction, _cluster, _replicas, _log, _waitaof, _promises_of_postgres,
    _memory, _small_sets, _room_of_postgres, _clocks,
)  # fmt: skip


def _over(
    facts: Facts, check: str, judge: Callable[[ValkeyFacts], tuple[str, Verdict]], needed: str, remedy: str
) -> Finding:
    """One finding over all servers: the worst verdict, and of more than one server the names of those that have it."""
    judged = [(valkey.address, *judge(valkey)) for valkey in facts.valkeys]
    worst = max((verdict for _, _, verdict in judged), key=list(Verdict).index)
    told = [(address, words) for address, words, verdict in judged if verdict is worst and words]
    words = dict.fromkeys(words for _, words in told)
    if worst is Verdict.OK or (len(words) == 1 and len(told) == len(judged)):
        found = ", ".join(words)
    else:
        found = ", ".join(f"{words} on {address}" for address, words in told)
    return Finding(check, found, needed, worst, remedy)


def _at(levels: Levels, level: Level) -> list[str]:
    return sorted(sale for sale, found in levels.items() if found == level)


def _for(sales: Sequence[str], level: Level, needed: str) -> str:
    return f"{needed} for level {level} of {', '.join(sales)}" if sales else needed


def _refuse_unless(fits: bool) -> Verdict:
    return Verdict.OK if fits else Verdict.REFUSE


def _warn_unless(fits: bool) -> Verdict:
    return Verdict.OK if fits else Verdict.WARN


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"
