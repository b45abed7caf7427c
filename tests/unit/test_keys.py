"""Key names: one hash tag for all keys of a bucket; a fan's bucket is the same for ever."""

import inspect
from collections import Counter

from flashsale import limits
from flashsale.keys import PREFIX, Bucket, bucket_number, buckets_of

BUCKET = Bucket("mi3", 2)


def names() -> list[str]:
    """Every key that a bucket can make."""
    plain = [str(getattr(BUCKET, name)) for name, it in vars(Bucket).items() if isinstance(it, property)]
    methods = inspect.getmembers(BUCKET, inspect.ismethod)
    return [*plain, *(str(make("7")) for name, make in methods if name.endswith("_key"))]


def test_every_key_has_the_hash_tag_once() -> None:
    """Given all keys of a bucket / Then each begins with the prefix and the tag, and no two are the same."""
    assert len(names()) >= 8
    assert len(set(names())) == len(names())
    for name in names():
        assert name.startswith(f"{PREFIX}:{{mi3.2}}:")
        assert name.count("{") == name.count("}") == 1


def test_the_names_are_frozen() -> None:
    """Given a store written by an older flashsale / Then its keys are found again."""
    assert sorted(names()) == [
        "fs:{mi3.2}:buyers", "fs:{mi3.2}:counts", "fs:{mi3.2}:free:7", "fs:{mi3.2}:lease",
        "fs:{mi3.2}:loads", "fs:{mi3.2}:outbox", "fs:{mi3.2}:received", "fs:{mi3.2}:reserved:7", "fs:{mi3.2}:sale",
        "fs:{mi3.2}:spent:7", "fs:{mi3.2}:transfers",
    ]  # fmt: skip


def test_a_fans_bucket_is_stable() -> None:
    """Given fans of earlier runs / Then they are in the bucket they were in then."""
    numbers = [bucket_number(sale="mi3", fan=f"fan-{n}", buckets=64) for n in range(8)]
    assert numbers == [52, 4, 9, 23, 34, 44, 6, 58]


def test_fans_are_spread_evenly_and_differently() -> None:
    """Given ten thousand fans and eight buckets / Then no bucket has 15 % more than its share, and sales differ."""
    fans = [f"fan-{n}" for n in range(10_000)]
    one = [bucket_number(sale="mi3", fan=fan, buckets=8) for fan in fans]
    other = [bucket_number(sale="mi4", fan=fan, buckets=8) for fan in fans]
    assert set(one) == set(range(8))
    assert max(Counter(one).values()) < 1_250 * 1.15
    assert sum(a == b for a, b in zip(one, other, strict=True)) < 1_250 * 1.15


def test_one_bucket_has_everybody() -> None:
    """Given one bucket / Then every fan is in it; the longest names are no trouble for more."""
    assert bucket_number(sale="mi3", fan="anybody", buckets=1) == 0
    longest = bucket_number(sale="s" * limits.SLUG_LENGTH_MAX, fan="f" * limits.FAN_LENGTH_MAX, buckets=64)
    assert 0 <= longest < 64


def test_buckets_in_order() -> None:
    """Given a sale of three buckets / Then they are numbered from 0."""
    assert buckets_of("mi3", 3) == (Bucket("mi3", 0), Bucket("mi3", 1), Bucket("mi3", 2))
