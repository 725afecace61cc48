"""Running the application on uvicorn."""

import logging
import socket
from collections.abc import Callable
from contextlib import suppress

import uvicorn
from fastapi import FastAPI

from export_pipeline.api.app import create_app
from export_pipeline.errors import InvalidRequest
from export_pipeline.settings import Settings

BACKLOG = 512
ENDING_SECONDS = 20


def serve(settings: Settings, host: str, port: int, ready: Callable[[str], None]) -> None:
    """Answer requests until the process is told to end; downloads under way then have 20 s.

    Args:
        port: 0 for any that is free.
        ready: told the URL, once requests are accepted.

    Raises:
        InvalidRequest: if the address cannot be listened on.
    """
    app = create_app(settings)
    listening = _listen(host, port)
    with listening:
        logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.INFO)
        bound = listening.getsockname()
        shown = f"[{bound[0]}]" if ":" in bound[0] else bound[0]
        ready(f"http://{shown}:{bound[1]}")
        with suppress(KeyboardInterrupt):  # which is how it is told to end
            server(app).run(sockets=[listening])


def server(app: FastAPI, ending_seconds: int = ENDING_SECONDS) -> uvicorn.Server:
    """The server of an application; its own access log, which shows paths, is off."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            access_log=False,
            log_config=None,
            log_level="warning",
            server_header=False,
            timeout_graceful_shutdown=ending_seconds,
        )
    )


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise InvalidRequest(
            f"host and port are {host}:{port}, which cannot be listened on: {error.strerror}; "
            "they must be an address of this machine and a free port",
            field="port",
        ) from None
