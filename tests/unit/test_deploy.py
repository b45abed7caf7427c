"""The files in deploy/, checked as far as a machine without Docker can: by their own checkers and against the code."""

import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest
from ruamel.yaml import YAML

from flashsale import limits, plan
from flashsale.config import ENV_PREFIX, Settings
from tests.support.edge import DEPLOY, command
from tests.support.servers import missing

ROOT: Final = DEPLOY.parent
SETTINGS: Final = {f"{ENV_PREFIX}{name.upper()}" for name in Settings.model_fields}
SECRETS: Final = {"POSTGRES_PASSWORD", "VALKEY_PASSWORD", "FLASHSALE_RIGHT_KEYS", "FLASHSALE_WEBHOOK_SECRET"}
TUESDAY: Final = datetime(2026, 11, 24, 4, 0, tzinfo=UTC)  # noon in Beijing


def compose() -> dict[str, Any]:
    """The Compose file with its anchors resolved."""
    loaded: dict[str, Any] = YAML(typ="safe").load(DEPLOY / "compose.yaml")
    return loaded


def services() -> dict[str, dict[str, Any]]:
    """Its services by name."""
    found: dict[str, dict[str, Any]] = compose()["services"]
    return found


def text(name: str) -> str:
    """One file of deploy/."""
    return (DEPLOY / name).read_text(encoding="utf-8")


def code(name: str) -> str:
    """The same without its comments."""
    return "\n".join(line for line in text(name).splitlines() if not line.lstrip().startswith("#"))


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """A checker's verdict."""
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)


def test_compose_fits_its_schema() -> None:
    """Given the Compose file / Then it is valid by the Compose specification."""
    checker = shutil.which("check-jsonschema", path=str(Path(sys.executable).parent))
    assert checker, "it comes with the development dependencies"
    done = run(checker, "--builtin-schema", "vendor.compose-spec", DEPLOY / "compose.yaml")
    assert done.returncode == 0, done.stdout


def test_only_the_edge_is_reachable() -> None:
    """Given all services / Then one publishes a port, and the stores are on a network without a way out."""
    assert [name for name, service in services().items() if "ports" in service] == ["nginx"]
    assert compose()["networks"]["stores"] == {"internal": True}
    for store in ("valkey", "postgres"):
        assert services()[store]["networks"] == ["stores"]
    assert "stores" not in services()["nginx"]["networks"]


@pytest.mark.parametrize("name", ["valkey", "postgres", "migrate", "api", "worker", "nginx"])
def test_every_service_is_bounded_and_comes_back(name: str) -> None:
    """Given a service / Then it has limits, few rights, a read-only system, a restart policy and a word on health."""
    service = services()[name]
    limited = service["deploy"]["resources"]["limits"]
    assert set(limited) == {"cpus", "memory", "pids"}
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["restart"] == ("no" if name == "migrate" else "unless-stopped")
    assert "healthcheck" in service
    assert service["logging"]["options"]["max-size"]
    assert name in {"migrate", "api", "worker"} or service["user"] not in {"root", "0"}


def test_who_waits_for_whom() -> None:
    """Given a start of the whole / Then the schema comes after Postgres, the engine after both, the edge last."""
    waits = {
        name: {other: how["condition"].removeprefix("service_") for other, how in service["depends_on"].items()}
        for name, service in services().items()
        if "depends_on" in service
    }
    engine = {"migrate": "completed_successfully", "valkey": "healthy"}
    assert waits == {"migrate": {"postgres": "healthy"}, "api": engine, "worker": engine, "nginx": {"api": "healthy"}}
    assert services()["api"]["deploy"]["replicas"] == 2


def test_compose_and_its_example_name_settings_that_exist() -> None:
    """Given every FLASHSALE_ variable in deploy/ / Then the engine knows it: an unknown one would stop its start."""
    given = {name for service in services().values() for name in service.get("environment", {})}
    assert {name for name in given if name.startswith(ENV_PREFIX)} <= SETTINGS
    example = set(re.findall(r"^([A-Z_]+)=", text("example.env"), re.MULTILINE))
    used = set(re.findall(r"\$\{([A-Z_]+)", text("compose.yaml"))) - {"FLASHSALE_TAG"}
    assert used == example


def test_no_secret_is_committed_and_none_may_be_missing() -> None:
    """Given the secrets / Then the example leaves them empty, Compose refuses to start without, and .env is ignored."""
    for name in SECRETS | {"FLASHSALE_JWT_KEY"}:
        assert re.search(rf"^{name}=$", text("example.env"), re.MULTILINE), name
    for name in SECRETS:
        assert set(re.findall(rf"\$\{{{name}(:.)", text("compose.yaml"))) == {":?"}, name
    assert ".env" in text(".gitignore").splitlines()
    assert not {"FLASHSALE_RIGHT_KEYS", "FLASHSALE_JWT_KEY"} & services()["worker"]["environment"].keys()


def test_the_image_is_built_from_what_is_there() -> None:
    """Given the Dockerfile / Then all it copies exists and gets past its ignore file; hashes are required; no root."""
    dockerfile = code("Dockerfile")
    seen = {line.removeprefix("!") for line in code("Dockerfile.dockerignore").splitlines()}
    for line in re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile, re.MULTILINE):
        for source in line.split():
            assert (ROOT / source).exists(), source
            assert source.rstrip("/") in seen | {"requirements"}, source
    installs = [line for line in dockerfile.splitlines() if re.search(r"pip install|uv build", line)]
    assert len(installs) == 4
    for line in installs:
        assert "--require-hashes" in line or "--no-deps dist/" in line, line
    last = dockerfile.rpartition("FROM ")[2]
    assert re.search(r"^USER 10001:10001$", last, re.MULTILINE)
    assert "pip install" not in last
    assert re.search(r"^ENTRYPOINT \[\"flashsale\"\]$", last, re.MULTILINE)


def test_nginx_takes_the_edges_files(tmp_path: Path) -> None:
    """Given the edge's files with other addresses / Then nginx finds nothing wrong with them."""
    done = run(*command(tmp_path, port=8080, api_port=8000), "-t")
    assert done.returncode == 0, done.stderr


def test_the_edge_has_the_engines_limits() -> None:
    """Given limits that stand in both / Then they are the same."""
    edge = code("nginx/nginx.conf")
    assert f"client_max_body_size {limits.BODY_BYTES_MAX // 1024}k;" in edge
    beat = re.search(r'map \$msec \$half \{\s+"~\\\.\[0-(\d)\]" 0;\s+default (\d);', edge)
    assert beat
    assert (int(beat[1]) + 1) / 10 == int(beat[2]) / 10 == limits.EDGE_BEAT_S
    read_timeout_s = re.search(r"^    proxy_read_timeout (\d+)s;", edge, re.MULTILINE)
    assert read_timeout_s
    assert int(read_timeout_s[1]) > limits.CALL_TIMEOUT_S, "the app's own UNKNOWN comes first"
    kept_s = re.search(r"keepalive_timeout (\d+)s;", code("nginx/upstream.conf"))
    assert kept_s
    assert int(kept_s[1]) < limits.IDLE_S_MAX, "the app would close what the edge is about to use"
    events_timeout_s = re.search(r"^            proxy_read_timeout (\d+)s;", edge, re.MULTILINE)
    assert events_timeout_s
    assert int(events_timeout_s[1]) > 2 * limits.WATCH_HEARTBEAT_S


@pytest.mark.parametrize("unit", ["flashsale-api@.service", "flashsale-worker.service"])
def test_systemd_takes_the_units(unit: str, tmp_path: Path) -> None:
    """Given a unit whose program is where it is here / Then systemd finds nothing wrong with it."""
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        missing("systemd-analyze is missing, so the units can't be checked. On Debian: apt-get install systemd")
    file = tmp_path / unit.replace("@", "@8000")
    program = shutil.which("true") or "/bin/true"
    file.write_text(text(f"systemd/{unit}").replace("/opt/flashsale/bin/flashsale", program), encoding="utf-8")
    done = run(analyze, "verify", "--man=no", file)
    assert (done.returncode, done.stderr.strip()) == (0, "")


def test_the_weekly_sale_can_be_planned() -> None:
    """Given the sample sale / When it is planned at noon on a Tuesday / Then the next one is that of the week after."""
    read = plan.read(text("sales/red-tuesday.toml"))
    following = plan.occurrence(read, now=TUESDAY)
    assert following.sale == "red-tuesday-2026-12-01"
    times = plan.times(following, now=TUESDAY)
    assert times.opens_ms == (int(TUESDAY.timestamp()) + 7 * 86_400) * 1000
