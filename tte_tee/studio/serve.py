"""Serving the page: on this machine alone unless told, with no telemetry and nothing left behind."""

import asyncio
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import TYPE_CHECKING

from tte_tee.errors import UserError
from tte_tee.studio.start import Studio
from tte_tee.studio.uploads import LARGEST_STORE

if TYPE_CHECKING:
    import uvicorn

_QUIET = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "GRADIO_ANALYTICS_CACHE_FREQUENCY": str(2**31),  # events between two tables of use, which nobody here looks at
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}
"""Read by Gradio, and by what it is made of, when they are imported or a page is built."""


@dataclass
class Service:
    """A page with an address that is its own already.

    Gradio's own ``launch`` can open a tunnel for a public link, asks its page over any proxy that the environment
    names, and gives a busy machine five seconds; uvicorn, which it starts, is started here without that.

    Attributes:
        studio: what the page works with.
        listener: takes connections.
        name: of its address, as it was given.
    """

    studio: Studio
    listener: socket.socket
    name: str
    _server: "uvicorn.Server | None" = field(default=None, repr=False)

    @property
    def host(self) -> str:
        """Address that it listens on."""
        return str(self.listener.getsockname()[0])

    @property
    def private(self) -> bool:
        """Whether this machine alone reaches it."""
        return ip_address(self.host).is_loopback

    @property
    def url(self) -> str:
        """What to open in a browser."""
        return f"http://{self._bracketed}:{self.listener.getsockname()[1]}/"

    @property
    def _bracketed(self) -> str:
        """The host as addresses and headers have it."""
        return f"[{self.host}]" if ":" in self.host else self.host

    def run(self) -> None:
        """Serves until it is interrupted or stopped."""
        asyncio.run(self._run())

    def stop(self) -> None:
        """Ends :meth:`run`, of another thread."""
        if self._server:
            self._server.should_exit = True

    async def _run(self) -> None:
        import gradio
        import uvicorn
        from fastapi import FastAPI
        from starlette.middleware.trustedhost import TrustedHostMiddleware

        from tte_tee.studio.page import LOOKS, build

        app = FastAPI(openapi_url=None)
        if self.private:  # a page of the network may name this machine as its own host
            app.add_middleware(TrustedHostMiddleware, allowed_hosts=["localhost", self._bracketed, self.name])
        app = gradio.mount_gradio_app(
            app,
            build(self.studio).queue(max_size=32),
            "/",
            server_name=self.host,
            footer_links=[],
            run_history=False,
            allowed_paths=[str(self.studio.album.path.resolve())],
            max_file_size=LARGEST_STORE,
            enable_monitoring=False,
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            **LOOKS,
        )
        self._server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1))
        await self._server.serve(sockets=[self.listener])


@contextmanager
def service(studio: Studio, host: str, port: int) -> Iterator[Service]:
    """A service that waits to be run; at the end of the block all that was uploaded goes.

    Args:
        studio: what the page works with.
        host: address to listen on.
        port: to listen on; 0 takes a free one.

    Raises:
        UserError: the address or the port cannot be had.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.create_server(address[:2], family=family)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"--host {host} --port {port}: cannot be served on ({reason}); give another --port") from error
    with listener, tempfile.TemporaryDirectory(prefix="tte_tee-studio-") as uploads:
        os.environ.update(_QUIET, GRADIO_TEMP_DIR=uploads)
        yield Service(studio, listener, host)
