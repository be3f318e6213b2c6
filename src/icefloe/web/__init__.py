"""The page: a session in the browser, served on this machine only."""

from typing import TYPE_CHECKING

from icefloe._lazy import lazy_names

if TYPE_CHECKING:
    from icefloe.web.app import create_app
    from icefloe.web.server import serve
else:
    __getattr__ = lazy_names(__name__, {"create_app": "app", "serve": "server"})

__all__ = ["create_app", "serve"]
