"""Runs the page's server on this machine."""

from __future__ import annotations

import socket
from collections.abc import Callable

from icefloe.errors import OutputError
from icefloe.project import Project
from icefloe.web.app import create_app
from icefloe.web.keys import session_tokens
from icefloe.web.security import Tokens

__all__ = ["serve"]

_HOST = "127.0.0.1"  # never another: what is sent is not encrypted


def serve(
    project: Project,
    port: int,
    started: Callable[[str, str], None],
    *,
    new_keys: bool = False,
    calculator: bool = False,
) -> None:
    """Serve a session's page until the process is interrupted.

    Parameters
    ----------
    project
        The session.
    port
        To listen on; 0 takes a free one.
    started
        Is given the owner's and the guest's address before the first request is answered.
    new_keys
        Make new keys even if the last start was not long ago; see `session_tokens`.

    calculator
        Show the calculator only; `project` is an empty session then.

    Raises
    ------
    OutputError
        The port is taken.
    """
    import uvicorn

    class Server(uvicorn.Server):
        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            # Pages that listen would keep it from ending.
            await app.state.close()
            await super().shutdown(sockets)

    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((_HOST, port))
    except OSError as error:
        listener.close()
        raise OutputError(
            f"Port {port} of this machine cannot be used ({error.strerror or error})",
            hint="Another page may be served on it; give another with --port, or 0 for a free one",
        ) from error
    with listener:
        port = listener.getsockname()[1]
        tokens = Tokens() if calculator else session_tokens(project, new=new_keys)
        app = create_app(project, tokens, cookie=f"icefloe-{port}", calculator=calculator)
        base = f"http://{_HOST}:{port}/?token="
        started(base + tokens.owner, base + tokens.guest)
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,  # it would print the token
            server_header=False,
            timeout_graceful_shutdown=2,
            h11_max_incomplete_event_size=1 << 15,
        )
        Server(config).run(sockets=[listener])
