"""Listening sockets, and what to do when one can't be had."""

import errno
import socket
from typing import Final

from flashsale.errors import SurroundingsError

BACKLOG: Final = 4096


def listen(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A listening socket. shared: other processes may listen beside it, and the kernel shares connections out; so it is
    only bound here, and listens when its server has started: until then the others are given all connections.

    Raises SurroundingsError when the port is taken or not ours to take.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listener.bind((host, port))
    except OSError as trouble:
        listener.close()
        words = {
            errno.EADDRINUSE: f"Port {port} on {host} is taken; stop what listens there, or give another --port.",
            errno.EACCES: f"Port {port} needs more rights; give one above 1023 with --port.",
        }
        raise SurroundingsError(words.get(trouble.errno or 0, f"Can't listen on {host}:{port}: {trouble}")) from trouble
    if not shared:
        listener.listen(BACKLOG)
    return listener
