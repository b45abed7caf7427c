"""The edge for tests: a real nginx with its own files in front of whatever a test puts behind it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from flashsale.bench import nginx
from flashsale.bench.nginx import DEPLOY, edge_command
from flashsale.bench.uvicorns import free_port
from tests.support.servers import missing

__all__ = ["DEPLOY", "cached", "command", "edge", "free_port"]


def command(folder: Path, *, port: int, api_port: int, limited: bool = False) -> list[str | Path]:
    """What starts the edge in this folder."""
    if nginx.program() is None:
        missing(nginx.MISSING)
    return edge_command(folder, port=port, api_port=api_port, limited=limited)


@contextmanager
def edge(folder: Path, *, api_port: int, limited: bool = False) -> Iterator[str]:
    """A running edge; its address. It ends with the test."""
    if nginx.program() is None:
        missing(nginx.MISSING)
    with nginx.edge(folder, api_port=api_port, limited=limited) as running:
        yield running.address


def cached(answer: httpx.Response) -> bool:
    """Whether the edge gave this answer without asking the app."""
    return bool(answer.headers.get("x-edge-cache") == "HIT")
