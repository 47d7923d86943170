"""Serving the page: on this machine alone unless told, with no telemetry and nothing left behind."""

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tte_tee.errors import UserError
from tte_tee.studio.start import Studio
from tte_tee.studio.uploads import LARGEST_STORE

if TYPE_CHECKING:
    import gradio as gr

_QUIET = {
    "GRADIO_ANALYTICS_ENABLED": "0",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}
"""Read by Gradio, and by what it is made of, when they are imported."""


def serve(studio: Studio, host: str, port: int) -> None:
    """Serves the page until it is interrupted.

    Raises:
        UserError: the address or the port cannot be had.
    """
    with tempfile.TemporaryDirectory(prefix="tte_tee-studio-") as uploads:
        page = launched(studio, host, port, uploads)
        print(f"studio: open {page.local_url} in a browser; Ctrl-C ends it", flush=True)
        page.block_thread()


def launched(studio: Studio, host: str, port: int, uploads: str) -> "gr.Blocks":
    """The page, being served from now on.

    Args:
        studio: what it works with.
        host: address.
        port: to serve on.
        uploads: folder for what comes in and goes out; who removes it removes all that was uploaded.

    Raises:
        UserError: the address or the port cannot be had.
    """
    os.environ.update(_QUIET, GRADIO_TEMP_DIR=uploads)
    # Gradio looks at its own page once; a proxy for the network must not be asked for that.
    os.environ["NO_PROXY"] = ",".join(filter(None, (os.environ.get("NO_PROXY"), "127.0.0.1,localhost")))
    from tte_tee.studio.page import LOOKS, build

    page = build(studio)
    try:
        page.queue(max_size=32).launch(
            server_name=host,
            server_port=port,
            share=False,
            quiet=True,
            prevent_thread_lock=True,
            footer_links=[],
            run_history=False,
            allowed_paths=[str(Path(studio.album.path).resolve())],
            max_file_size=LARGEST_STORE,
            enable_monitoring=False,
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            **LOOKS,
        )
    except OSError as error:
        raise UserError(f"--host {host} --port {port}: cannot be served on ({error}); give another port") from error
    return page
