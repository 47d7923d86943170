"""The page of the studio: it builds, its functions answer, it is served, and it asks nobody for anything."""

import asyncio
import os
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np
import pytest
from conftest import SIZE
from studios import served

import tte_tee.cli.studio as command
from tte_tee.cli import main
from tte_tee.data.store import EchoStore
from tte_tee.errors import UserError
from tte_tee.studio.album import Album
from tte_tee.studio.serve import service
from tte_tee.studio.start import Studio


class Session:
    """The functions of a page as its browser calls them, with what they leave for the next."""

    def __init__(self, studio: Studio) -> None:
        from gradio.state_holder import SessionState

        from tte_tee.studio.page import build

        async def in_a_loop() -> Any:  # outside of one, Gradio opens loops that nobody closes
            return build(studio)

        self.blocks = asyncio.run(in_a_loop())
        self.state = SessionState(self.blocks)

    def call(self, name: str, **changes: Any) -> dict[str, Any]:
        """Calls a handler with what stands in its controls but for some; its answers by label or element id."""
        handler = next(f for f in self.blocks.fns.values() if f.name == name)
        values = [changes.get(_name(c), None if _name(c) == "state" else c.value) for c in handler.inputs]
        answer = asyncio.run(self.blocks.process_api(handler, values, self.state))
        return dict(zip(map(_name, handler.outputs), answer["data"], strict=True))


def _name(component: Any) -> str:
    kind = component.get_block_name()
    return kind if kind in ("state", "column") else component.elem_id or component.label or kind


def painted(label: int) -> dict[str, str]:
    return {"labels": str(label) * SIZE**2, "sector": "1" * SIZE**2}


def test_the_functions_of_the_page_answer(studio: Studio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    studio = replace(studio, album=Album(tmp_path / "saved.h5", studio.label_space, studio.image_size))
    page = Session(studio)
    names = [artist.name for artist in studio.artists]
    first = page.call("_draw", Steps=2)
    assert first["frame-0"]["path"].endswith(".png")
    assert "Found back" in first["text-1"]
    moved = page.call("_from_modes", **{"Mode 1 (sd)": 2.0})
    assert moved["painter"]["labels"] != studio_mask(page)
    drawn = page.call("_draw", painter=moved["painter"], Steps=2, Adapters=names[:1])
    assert drawn["frame-0"]["path"] != first["frame-0"]["path"]
    assert drawn["frame-1"] is None
    page.call("_save")
    table = EchoStore(studio.album.path).table
    assert len(table) == 1
    assert table["parent"][0].startswith("ssm-")
    assert "~studio-" not in table["parent"][0]
    page.call("_draw", painter=painted(2), Steps=2, Adapters=names[:1])
    assert "holds 2 frames" in page.call("_save")["saved"]
    store = EchoStore(studio.album.path)
    _, mask, sector = store.frame(1)
    assert np.array_equal(mask, 2 * sector)
    assert "~studio-" in store.table["parent"][1]


def studio_mask(page: Session) -> str:
    """What the canvas shows first."""
    canvas = next(c for c in page.blocks.blocks.values() if getattr(c, "elem_id", None) == "painter")
    return canvas.value["labels"]


def test_what_is_refused_changes_nothing_and_says_why(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    import gradio as gr

    said: list[str] = []
    monkeypatch.setattr(gr, "Warning", lambda text, **_: said.append(text))
    page = Session(studio)
    for name, changes in (
        ("_draw", {"painter": {"labels": "9", "sector": ""}}),
        ("_draw", {"painter": None}),
        ("_draw", {"Adapters": []}),
        ("_from_store", {"Mask, 0 to 27": 5000}),
        ("_save", {}),
    ):
        answer = page.call(name, **changes)
        assert all(value is None or set(value) <= {"__type__", "props"} for value in answer.values()), name
    assert len(said) == 5
    assert all("\n" not in line for line in said)


def test_it_is_served_here_alone_and_asks_nobody(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    connect = socket.socket.connect

    def watched(self: socket.socket, address: Any) -> Any:
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in ("127.0.0.1", "::1"):
            asked.append(address)
            raise OSError("no network")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", watched)
    for name in ("GRADIO_SHARE", "GRADIO_ANALYTICS_ENABLED", "GRADIO_TEMP_DIR"):
        monkeypatch.setenv(name, "True")
    monkeypatch.setenv("GRADIO_SERVER_NAME", "0.0.0.0")
    with served(studio) as page:
        assert page.listener.getsockname()[0] == "127.0.0.1"
        uploads = Path(os.environ["GRADIO_TEMP_DIR"])
        with urlopen(page.url, timeout=60) as answer:
            assert b"TEE studio" in answer.read()
        with pytest.raises(HTTPError, match="400"):
            urlopen(Request(page.url, headers={"Host": "elsewhere.example"}), timeout=60)
        port = page.listener.getsockname()[1]
        with pytest.raises(UserError, match="give another --port"), service(studio, "127.0.0.1", port):
            pass
    assert not asked
    assert not uploads.exists()


@pytest.mark.parametrize(
    ("host", "header"), [("::1", "[::1]"), ("::1", "localhost"), ("127.0.0.2", "127.0.0.2"), ("localhost", "localhost")]
)
def test_every_address_of_this_machine_is_private(studio: Studio, host: str, header: str) -> None:
    try:
        socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except OSError:
        pytest.skip("this machine has no such address")
    with served(studio, host) as page:
        assert page.private
        port = page.listener.getsockname()[1]
        with urlopen(Request(page.url, headers={"Host": f"{header}:{port}"}), timeout=60) as answer:
            assert b"TEE studio" in answer.read()
        with pytest.raises(HTTPError, match="400"):
            urlopen(Request(page.url, headers={"Host": f"elsewhere.example:{port}"}), timeout=60)


def test_an_address_of_the_network_is_public(studio: Studio) -> None:
    with service(studio, "0.0.0.0", 0) as page:
        assert not page.private


def test_without_gradio_one_line_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    with pytest.raises(SystemExit) as stop:
        main(["studio"])
    said = capsys.readouterr().err
    assert stop.value.code == 2
    assert said.count("\n") == 1
    assert "pip install 'tte_tee[demo]'" in said
    assert "make demo" in said
