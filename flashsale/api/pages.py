"""The fan's page and its static files, the API's description, and what machines ask a process."""

import asyncio
import gzip
import html
import mimetypes
from dataclasses import dataclass
from hashlib import blake2b
from importlib.resources import files
from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from redis.exceptions import RedisError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from flashsale.api import openapi, replies
from flashsale.api.picture import Pictures
from flashsale.api.replies import RefusedError, problem
from flashsale.metrics import ApiMetrics
from flashsale.stores import POSTGRES_TROUBLE, Stores

_READY_TIMEOUT_S: Final = 2.0
_SECURITY: Final = {
    "content-security-policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
}
_ENTRY_FILE: Final = "sale.html"


@dataclass(frozen=True, slots=True)
class _File:
    content: bytes
    packed: bytes
    media_type: str
    etag: str


class Pages:
    """Static files are read once at the start; they are small and the same for every fan."""

    def __init__(self) -> None:
        folder = files("flashsale") / "api" / "static"
        self._files = {file.name: _read(file.name, file.read_bytes()) for file in folder.iterdir() if file.is_file()}

    async def page(self, request: Request) -> Response:
        """GET /s and /s/{sale}: the same bytes for every sale; the script reads the address."""
        return self._send(request, _ENTRY_FILE, max_age_s=60)

    async def static(self, request: Request) -> Response:
        """GET /static/{name}."""
        name = request.path_params["name"]
        if name not in self._files or name == _ENTRY_FILE:
            raise RefusedError(replies.NOT_FOUND)
        return self._send(request, name, max_age_s=300)

    def _send(self, request: Request, name: str, *, max_age_s: int) -> Response:
        file = self._files[name]
        headers = {"etag": file.etag, "cache-control": f"public, max-age={max_age_s}", **_SECURITY}
        if request.headers.get("if-none-match") == file.etag:
            return Response(status_code=304, headers=headers)
        headers["vary"] = "accept-encoding"
        if "gzip" in request.headers.get("accept-encoding", ""):
            return Response(file.packed, media_type=file.media_type, headers={**headers, "content-encoding": "gzip"})
        return Response(file.content, media_type=file.media_type, headers=headers)


def _read(name: str, content: bytes) -> _File:
    media_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return _File(
        content, gzip.compress(content, 9, mtime=0), media_type, f'"{blake2b(content, digest_size=8).hexdigest()}"'
    )


class Machines:
    """What load balancers, orchestrators and Prometheus ask."""

    def __init__(self, *, stores: Stores, pictures: Pictures, metrics: ApiMetrics) -> None:
        self._stores = stores
        self._pictures = pictures
        self._metrics = metrics

    async def healthz(self, request: Request) -> Response:
        """The process runs. Nothing else is asked: a store that is away is no reason to kill it."""
        return JSONResponse({"status": "ok"}, headers={"cache-control": "no-store"})

    async def readyz(self, request: Request) -> Response:
        """Whether fans should be sent here: Valkey answers, the picture is young. Postgres may be away: sales go on."""
        parts = {
            "valkey": await self._valkey(),
            "picture": self._pictures.fresh,
            "postgres": await self._postgres(),
        }
        ready = parts["valkey"] and parts["picture"]
        return JSONResponse(
            {"ready": ready, **parts},
            status_code=200 if ready else 503,
            headers={"cache-control": "no-store"},
        )

    async def metrics(self, request: Request) -> Response:
        """The process's counters, as Prometheus reads them."""
        return Response(generate_latest(self._metrics.registry), media_type=CONTENT_TYPE_LATEST)

    async def _valkey(self) -> bool:
        try:
            async with asyncio.timeout(_READY_TIMEOUT_S):
                return bool(await self._stores.redis.ping())
        except (RedisError, OSError, TimeoutError):
            return False

    async def _postgres(self) -> bool:
        try:
            async with asyncio.timeout(_READY_TIMEOUT_S), self._stores.postgres.acquire() as connection:
                return bool(await connection.fetchval("select true"))
        except POSTGRES_TROUBLE:
            return False


async def description(request: Request) -> Response:
    """GET /openapi.json."""
    return JSONResponse(openapi.document(), headers={"cache-control": "public, max-age=60"})


async def docs(request: Request) -> Response:
    """GET /docs: the same description for people."""
    return Response(
        openapi.page(), media_type="text/html", headers={"cache-control": "public, max-age=60", **_SECURITY}
    )


async def problem_page(request: Request) -> Response:
    """GET /problems/{slug}: what a problem's type means."""
    slug = request.path_params["slug"]
    known = openapi.problems().get(slug)
    if known is None:
        raise RefusedError(problem(404, "not-found", "There is no page about this problem"))
    status, title = known
    content = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f'<title>{slug}</title><link rel="stylesheet" href="/static/docs.css">'
        f"<main><h1>{slug}</h1><p>{html.escape(title)}.</p><p>HTTP status {status}.</p>"
        f'<p><a href="/docs">All answers of the API</a></p></main></html>'
    )
    return Response(content, media_type="text/html", headers=_SECURITY)
