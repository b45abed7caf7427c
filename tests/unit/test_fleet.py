"""What the children of a fleet are told."""

from pathlib import Path

import pytest

from flashsale import config
from flashsale.embedded import Addresses
from flashsale.fleet import Fleet


def test_children_are_told_where_the_servers_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given servers that run, and other settings around us / Then a child gets these servers, and none of those."""
    monkeypatch.setenv("FLASHSALE_REDIS_URL", "redis://elsewhere:6379")
    monkeypatch.setenv("FLASHSALE_PUBLIC_URL", "https://elsewhere")
    settings = config.load(sandbox=True, state_dir=tmp_path, redis_url="", postgres_dsn="", public_url="")
    fleet = Fleet(settings, fresh=True)
    fleet._addresses = Addresses(redis_url="unix:///valkey.sock", postgres_dsn="postgresql:///here")
    told = {name: value for name, value in fleet._environment().items() if name.startswith(config.ENV_PREFIX)}
    assert told == {
        "FLASHSALE_REDIS_URL": "unix:///valkey.sock", "FLASHSALE_POSTGRES_DSN": "postgresql:///here",
        "FLASHSALE_STATE_DIR": str(tmp_path), "FLASHSALE_HOST": "127.0.0.1", "FLASHSALE_PORT": "8000",
        "FLASHSALE_SANDBOX": "true",
    }  # fmt: skip
