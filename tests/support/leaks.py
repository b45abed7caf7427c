"""After a test: are all keys of its sale of the names that flashsale/keys.py declares?"""

import inspect
import re

from flashsale.keys import Bucket
from flashsale.stores import Client

_ANY = "any"


def declared(sale: str) -> re.Pattern[str]:
    """What the keys of this sale, and of its dated occurrences, may be called. Read from the makers in Bucket."""
    bucket = Bucket(sale, 0)
    names = [str(getattr(bucket, name)) for name in vars(Bucket) if name.endswith("_key") and _is_property(name)]
    for name, maker in inspect.getmembers(bucket, inspect.ismethod):
        if name.endswith("_key"):
            names.append(str(maker(_ANY)))
    assert len(names) >= 8, "keys.py has changed its form; teach this check"
    tag = re.escape(f"{{{sale}.0}}")
    patterns = [
        re.escape(name).replace(tag, rf"\{{{re.escape(sale)}(-[0-9a-z-]+)?\.\d+\}}").replace(f":{_ANY}", r":[0-9a-z-]+")
        for name in names
    ]
    return re.compile("|".join(patterns))


async def keys_of(redis: Client, sale: str) -> list[str]:
    """Every key that names this sale or one of its dated occurrences, whatever else it is called."""
    found = [key.decode() async for key in redis.scan_iter(match=f"*{sale}*", count=1000)]
    return sorted(found)


async def leaked(redis: Client, sale: str) -> list[str]:
    """The keys of this sale that nobody declared. All its keys are deleted."""
    keys = await keys_of(redis, sale)
    if keys:
        await redis.delete(*keys)
    pattern = declared(sale)
    return [key for key in keys if not pattern.fullmatch(key)]


def _is_property(name: str) -> bool:
    return isinstance(vars(Bucket)[name], property)
