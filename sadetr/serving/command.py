"""What the command ``serve`` does."""

import contextlib
import os
import signal
import socket
import sys
from collections.abc import Collection
from pathlib import Path
from types import FrameType

import uvicorn
from starlette.applications import Starlette

from sadetr.errors import SettingsError
from sadetr.locating import Predictor
from sadetr.serving.application import make_application
from sadetr.serving.limits import Limits

CONNECTIONS = 100
"""At a time; others are told to come later."""
PATIENCE = 2
"""Seconds that open connections have to end once the server is told to."""


def end_cleanly() -> None:
    """Let SIGTERM and the end of the terminal unwind this process, so that uploads are deleted."""

    def unwind(number: int, _: FrameType | None) -> None:
        sys.exit(128 + number)

    def terminate(*_: object) -> None:
        # The web server knows this signal, and lets requests end.
        os.kill(os.getpid(), signal.SIGTERM)

    signal.signal(signal.SIGTERM, unwind)
    # With nohup the end of the terminal means nothing.
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, terminate)


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        SettingsError: it cannot: the port is taken, or the host is none of this machine's.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        return socket.create_server(found[0][4][:2], family=found[0][0])
    except OSError as error:
        why = error.strerror if isinstance(error, socket.gaierror) else os.strerror(error.errno)
        raise SettingsError(
            f"{host}, port {port}: cannot be listened on ({why}); choose others with --host and --port, --port 0 for "
            "any that is free"
        ) from error


def address(listening: socket.socket) -> str:
    """Where the page is."""
    host, port = listening.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def configuration(application: Starlette) -> uvicorn.Config:
    """How the web server runs."""
    return uvicorn.Config(
        application,
        http="h11",
        ws="none",
        loop="asyncio",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=PATIENCE,
    )


def serve(predictor: Predictor, limits: Limits, folder: Path, listening: socket.socket, hosts: Collection[str]) -> None:
    """Serve until a signal ends it; uploads lie in ``folder``."""
    application = make_application(predictor, limits, folder, hosts)
    with contextlib.suppress(KeyboardInterrupt):
        uvicorn.Server(configuration(application)).run(sockets=[listening])
