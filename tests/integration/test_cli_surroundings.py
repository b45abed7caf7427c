"""Configuration faults exit 2 and name the setting; servers, ports and schemas that are not as needed exit 3."""

import socket
import subprocess
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from flashsale.queries import Pool, migrations
from tests.integration.cli_process import Cli, Done, console_script

pytestmark = pytest.mark.servers


def assert_ended(done: Done, status: int, *words: str) -> None:
    """That exit status and these words, and no traceback."""
    assert "Traceback" not in done.err, done.err
    assert done.status == status, done
    for word in words:
        assert word in done.err, done.err


@dataclass(frozen=True, slots=True)
class BadSetting:
    """A setting with a fault, and what the sentence must name. None: it is not set."""

    name: str
    settings: dict[str, str | None]
    words: tuple[str, ...]


FAULTS: Final = (
    BadSetting("redis_scheme", {"redis_url": "http://localhost"}, ("FLASHSALE_REDIS_URL", "redis://")),
    BadSetting("redis_port", {"redis_url": "redis://localhost:port"}, ("FLASHSALE_REDIS_URL",)),
    BadSetting("postgres_scheme", {"postgres_dsn": "mysql://localhost"}, ("FLASHSALE_POSTGRES_DSN", "postgresql://")),
    BadSetting("postgres_port", {"postgres_dsn": "postgresql://localhost:port/x"}, ("FLASHSALE_POSTGRES_DSN",)),
    BadSetting("one_store", {"redis_url": None}, ("redis_url and postgres_dsn", "set both")),
    BadSetting("typo", {"redis_ur": "redis://localhost"}, ("FLASHSALE_REDIS_UR", "no such setting")),
    BadSetting("sandbox_in_production", {"sandbox": "true", "production": "true"}, ("FLASHSALE_SANDBOX", "production")),
    BadSetting("no_right_keys", {"right_keys": None}, ("FLASHSALE_RIGHT_KEYS", "is missing", "token_hex")),
    BadSetting("no_jwt_key", {"jwt_key": None}, ("FLASHSALE_JWT_KEY", "is missing")),
    BadSetting("no_webhook_secret", {"webhook_secret": None}, ("FLASHSALE_WEBHOOK_SECRET", "is missing")),
    BadSetting("short_right_key", {"right_keys": "k1:abcd"}, ("FLASHSALE_RIGHT_KEYS", "32 bytes")),
    BadSetting("right_key_no_hex", {"right_keys": "k1:zz"}, ("FLASHSALE_RIGHT_KEYS", "hex digits")),
    BadSetting("short_jwt_key", {"jwt_key": "short"}, ("FLASHSALE_JWT_KEY", "32 characters")),
    BadSetting("two_jwt_keys", {"jwt_jwks": "jwks.json"}, ("jwt_key and jwt_jwks", "one of them")),
    BadSetting("no_jwks", {"jwt_key": None, "jwt_jwks": "none.json"}, ("FLASHSALE_JWT_JWKS", "none.json")),
    BadSetting("odd_webhook_secret", {"webhook_secret": "whsec_!"}, ("FLASHSALE_WEBHOOK_SECRET",)),
    BadSetting("port_zero", {"port": "0"}, ("FLASHSALE_PORT", "1")),
    BadSetting("port_in_words", {"port": "http"}, ("FLASHSALE_PORT",)),
    BadSetting("no_config_file", {"config": "none.toml"}, ("FLASHSALE_CONFIG", "none.toml")),
    BadSetting("no_boolean", {"sandbox": "perhaps"}, ("FLASHSALE_SANDBOX",)),
)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda one: one.name)
def test_a_bad_setting(cli: Cli, fault: BadSetting) -> None:
    """Given a setting with a fault / When the api is to start / Then exit 2, and the sentence names the setting."""
    command = ("serve",) if "port" in fault.settings else ("serve", "--port", _free_port())
    assert_ended(cli(*command, **fault.settings), 2, *fault.words)


@pytest.mark.parametrize(
    ("text", "words"), [("redis_ur = 'x'", "redis_ur: there is no such setting"), ("port =", "is not valid TOML")]
)
def test_a_bad_config_file(cli: Cli, text: str, words: str) -> None:
    """Given a flashsale.toml with a fault / When a command runs there / Then exit 2, and the file is named."""
    (cli.folder / "flashsale.toml").write_text(text)
    assert_ended(cli("sale", "list"), 2, words, "flashsale.toml")


async def test_the_port_is_taken(cli: Cli, postgres: Pool) -> None:
    """Given somebody who listens there / When the api is to start / Then exit 3: give another port."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        assert_ended(cli("serve", "--port", port), 3, f"Port {port}", "is taken", "--port")


def test_the_host_is_not_ours(cli: Cli) -> None:
    """Given an address of another machine / When the api is to listen there / Then exit 3 and it is named."""
    assert_ended(cli("serve", "--host", "203.0.113.1", "--port", "8000"), 3, "203.0.113.1")


@pytest.mark.parametrize(
    "command", [("sale", "list"), ("worker",), ("migrate",), ("audit", "s"), ("serve", "--port", "1")]
)
def test_no_servers(cli: Cli, command: tuple[str, ...]) -> None:
    """Given no settings and no embedded pair / When a command needs servers / Then exit 3: run flashsale up."""
    if command[0] == "serve":
        command = ("serve", "--port", _free_port())
    done = cli(*command, redis_url=None, postgres_dsn=None)
    assert_ended(done, 3, "FLASHSALE_REDIS_URL", "flashsale up")


@pytest.mark.parametrize("command", [("sale", "list"), ("worker",), ("serve",)])
async def test_a_server_is_away(cli: Cli, postgres: Pool, command: tuple[str, ...]) -> None:
    """Given a port where nobody answers / When a command needs that server / Then exit 3 and it is named."""
    port = _free_port()
    command = (*command, "--port", _free_port()) if command == ("serve",) else command
    assert_ended(
        cli(*command, redis_url=f"redis://127.0.0.1:{port}"), 3, "Valkey does not answer", "FLASHSALE_REDIS_URL"
    )
    away = cli(*command, postgres_dsn=f"postgresql://nobody@127.0.0.1:{port}/x")
    assert_ended(away, 3, "Postgres does not answer", "FLASHSALE_POSTGRES_DSN")


def _free_port() -> str:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return str(found.getsockname()[1])


@pytest.fixture
async def empty_database(postgres: Pool, cli: Cli) -> AsyncIterator[str]:
    """The address of a database without our schema."""
    name = f"empty{uuid.uuid4().hex}"
    await postgres.execute(f"create database {name}")
    parts = urlsplit(cli.environment["FLASHSALE_POSTGRES_DSN"])
    yield urlunsplit(parts._replace(path=f"/{name}"))
    await postgres.execute(f"drop database {name} with (force)")


@pytest.mark.parametrize("command", [("sale", "list"), ("worker",), ("audit", "s"), ("serve",)])
async def test_migrations_are_missing(cli: Cli, empty_database: str, command: tuple[str, ...]) -> None:
    """Given a database without the schema / When a command needs it / Then exit 3: run flashsale migrate."""
    command = (*command, "--port", _free_port()) if command == ("serve",) else command
    assert_ended(cli(*command, postgres_dsn=empty_database), 3, "schema is at step 0", "flashsale migrate")


async def test_migrated_once(cli: Cli, empty_database: str) -> None:
    """Given a database without the schema / When it is migrated twice / Then the second has nothing to do."""
    first, second = (cli("migrate", postgres_dsn=empty_database) for _ in range(2))
    assert first.out.split() == [word for step in migrations() for word in ("done:", step.name)]
    assert (second.status, second.out.strip()) == (0, "The schema is up to date.")
    assert cli("sale", "list", "--json", postgres_dsn=empty_database).json == []


async def test_a_newer_schema_is_left_alone(cli: Cli, empty_database: str) -> None:
    """Given a database that a newer flashsale migrated / When ours meets it / Then exit 3 and nothing is changed."""
    assert cli("migrate", postgres_dsn=empty_database).status == 0
    insert = "insert into schema_steps (number, name) values (9999, 'from the future')"
    connection = await asyncpg.connect(empty_database)
    await connection.execute(insert)
    for command in (("sale", "list"), ("migrate",)):
        assert_ended(cli(*command, postgres_dsn=empty_database), 3, "step 9999", "newer")
    assert await connection.fetchval("select count(*) from schema_steps") == len(migrations()) + 1
    await connection.close()


def test_the_console_script_is_the_same(cli: Cli) -> None:
    """Given the installed command / When it meets a fault / Then it ends as every test of this file says."""
    environment = {**cli.environment, "FLASHSALE_REDIS_URL": "http://x"}
    done = subprocess.run(
        [console_script(), "sale", "list"], capture_output=True, text=True, check=False, timeout=60, env=environment
    )
    assert_ended(Done(done.returncode, done.stdout, done.stderr), 2, "FLASHSALE_REDIS_URL")
