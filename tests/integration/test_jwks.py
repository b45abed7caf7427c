"""A shop that publishes its keys: who signs with one is known, nobody else; that they are away is no fan's fault."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Final

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from flashsale.clock import now_s
from flashsale.config import Settings
from tests.integration.processes import serving
from tests.integration.shop import BASE, assert_problem

pytestmark = pytest.mark.servers

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
KEYS: Final[dict[str, Key]] = {
    "RS256": rsa.generate_private_key(public_exponent=65537, key_size=2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}
_ALGORITHMS: Final = jwt.algorithms.get_default_algorithms()


def published() -> str:
    """The shop's JWKS: every key under its algorithm's name."""
    keys = []
    for name, key in KEYS.items():
        one: dict[str, Any] = json.loads(_ALGORITHMS[name].to_jwk(key.public_key()))
        keys.append(one | {"kid": name, "use": "sig", "alg": name})
    return json.dumps({"keys": keys})


def token(algorithm: str, *, key: Any = None, kid: str | None = None, **claims: Any) -> str:
    """A token for alice that is good for a minute."""
    said = {"sub": "alice", "exp": int(now_s()) + 60} | claims
    headers = {"kid": algorithm if kid is None else kid}
    return jwt.encode(said, key or KEYS[algorithm], algorithm=algorithm, headers=headers)


@pytest.fixture
def shop_server() -> Iterator[str]:
    """The shop's own server, with its keys at one address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = published().encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/jwks.json"
    server.shutdown()
    thread.join()
    server.server_close()


@asynccontextmanager
async def api(settings: Settings, jwks: str) -> AsyncIterator[httpx.AsyncClient]:
    """An api of a shop that publishes its keys there."""
    values = settings.model_dump() | {"sandbox": False, "jwt_key": "", "jwt_jwks": jwks}
    async with serving(Settings.model_validate(values)) as client:
        yield client


async def orders(client: httpx.AsyncClient, bearer: str) -> httpx.Response:
    """What a fan with this token is answered."""
    return await client.get(f"{BASE}/orders", headers={"authorization": f"Bearer {bearer}"})


@pytest.mark.parametrize("where", ["file", "address"])
async def test_every_kind_of_key(settings: Settings, tmp_path: Path, shop_server: str, where: str) -> None:
    """Given keys in a file or at an address / When fans come with tokens of each kind / Then they are known."""
    file = tmp_path / "jwks.json"
    file.write_text(published())
    async with api(settings, str(file) if where == "file" else shop_server) as client:
        for algorithm in KEYS:
            answer = await orders(client, token(algorithm))
            assert answer.status_code == 200, (algorithm, answer.text)


@pytest.mark.parametrize("where", ["file", "address"])
async def test_nobody_else(settings: Settings, tmp_path: Path, shop_server: str, where: str) -> None:
    """Given tokens of other keys, of keys that are not published, or of another kind than they say / Then 401."""
    stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = str(json.loads(published())["keys"][0]["n"])
    file = tmp_path / "jwks.json"
    file.write_text(published())
    async with api(settings, str(file) if where == "file" else shop_server) as client:
        for bad in (
            token("RS256", key=stranger),
            token("RS256", kid="unheard-of"),
            token("ES256", kid="RS256"),
            token("HS256", key=public, kid="RS256"),  # the public key, taken for a shared one
            token("RS256", exp=1),
            "no.token.at-all",
        ):
            assert_problem(await orders(client, bad), 401, "no-identity")


async def test_issuer_and_audience(settings: Settings, shop_server: str) -> None:
    """Given a shop that names issuer and audience / Then only tokens with both are taken."""
    named = settings.model_copy(update={"jwt_issuer": "shop", "jwt_audience": "fans"})
    async with api(named, shop_server) as client:
        assert (await orders(client, token("RS256", iss="shop", aud="fans"))).status_code == 200
        for claims in ({"iss": "shop"}, {"aud": "fans"}, {"iss": "other", "aud": "fans"}, {"iss": "shop", "aud": "x"}):
            assert_problem(await orders(client, token("RS256", **claims)), 401, "no-identity")


async def test_keys_that_can_not_be_had_are_not_the_fans_fault(settings: Settings, sale_name: str) -> None:
    """Given a shop whose server is away / When a fan comes / Then 503 and ask again, and other fans don't wait."""
    async with api(settings, "http://127.0.0.1:1/jwks.json") as client:
        refused, alive = await asyncio.gather(orders(client, token("RS256")), client.get("/healthz"))
        assert_problem(refused, 503, "identity-away")
        assert alive.status_code == 200
        reserving = await client.post(
            f"{BASE}/sales/{sale_name}/reservation", headers={"authorization": f"Bearer {token('RS256')}"}
        )
        assert_problem(reserving, 404, "unknown-sale")
