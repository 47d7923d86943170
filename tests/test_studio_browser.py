"""The page of the studio in a browser, as a researcher meets it."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from browser import CHROMIUM, DRIVER, Browser, browser
from conftest import SIZE
from studios import served

from tte_tee.anatomy.structures import STRUCTURES
from tte_tee.data.store import EchoStore
from tte_tee.studio.start import Studio

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (CHROMIUM and DRIVER),
        reason="needs a browser: chromium and chromedriver (Debian: chromium chromium-driver)",
    ),
]
FRAME = "return document.querySelector('#frame-%d img')?.src"


@pytest.fixture(scope="module")
def url(studio: Studio) -> Iterator[str]:
    with served(studio) as page:
        yield page.url


def frame(window: Browser, number: int = 0, *, other_than: str | None = None) -> str:
    """Address of a frame's picture, once there is one, or another one."""

    def shown() -> str | None:
        source = window.run(FRAME % number)
        return source if source != other_than else None

    return window.wait(shown, f"frame {number}")


def canvas(window: Browser) -> np.ndarray:
    """What the canvas shows, RGB uint8 ``[H, W, 3]``."""
    script = "const c = document.querySelector('#painter canvas'); return Array.from(c.getContext('2d')"
    values = window.run(script + ".getImageData(0, 0, c.width, c.height).data)")
    return np.array(values, np.uint8).reshape(SIZE, SIZE, 4)[..., :3]


def press(window: Browser, text: str, kind: str = "button") -> None:
    """Presses the button, or that of a kind, with that text."""
    script = "[...document.querySelectorAll(arguments[1])].find(b => b.innerText.trim() === arguments[0]).click()"
    window.run(script, text, kind)


def turn_to(window: Browser, tab: str, shows: str) -> None:
    """Turns to a tab, and waits for a text that stands on it."""
    press(window, tab, "button[role=tab]")
    window.wait(lambda: window.run("return document.body.innerText.includes(arguments[0])", shows), tab)


def test_a_stroke_becomes_a_frame_and_nothing_leaves_the_machine(url: str, studio: Studio, tmp_path: Path) -> None:
    with browser(tmp_path / "profile") as window:
        window.open(url)
        first, second = frame(window, 0), frame(window, 1)
        before = canvas(window)
        window.click("#painter [data-label='2']")
        left, top, width, height = window.box("#painter canvas")
        window.press([(left + width * x, top + height * 0.6) for x in (0.4, 0.5, 0.6)])
        frame(window, 0, other_than=first)
        frame(window, 1, other_than=second)
        after = canvas(window)
        assert {tuple(colour) for colour in after[(after != before).any(-1)].tolist()} == {STRUCTURES["LA"].colour}
        press(window, "Undo")
        window.wait(lambda: np.array_equal(canvas(window), before), "undo")
        press(window, "Redo")
        window.wait(lambda: np.array_equal(canvas(window), after), "redo")
        press(window, "Save the frames shown")
        window.wait(lambda: "holds" in window.run("return document.querySelector('#saved').innerText"), "saved")
        table = EchoStore(studio.album.path).table
        assert len(table) == 2
        assert table["parent"].str.contains("~studio-").all()
        assert not window.errors()
        assert not window.requests_elsewhere()


def test_sliders_stores_and_files_change_the_mask(url: str, tmp_path: Path) -> None:
    picture, bad = tmp_path / "mask.png", tmp_path / "bad.png"
    cv2.imwrite(str(picture), np.full((SIZE, SIZE), 3, np.uint8))
    bad.write_bytes(b"none")
    with browser(tmp_path / "profile") as window:
        window.open(url)
        shown, before = frame(window), canvas(window)
        press(window, "Random")
        shown = frame(window, other_than=shown)
        assert (canvas(window) != before).any()
        turn_to(window, "Store", "Begin with this mask")
        press(window, "Begin with this mask")
        shown = frame(window, other_than=shown)
        turn_to(window, "Picture", "Begin with a blank mask")
        window.give_file("input[type=file][accept*='png']", bad)
        window.wait(lambda: window.run("return document.body.innerText.includes('bad.png: is no PNG')"), "a refusal")
        assert window.run(FRAME % 0) == shown
        window.give_file("input[type=file][accept*='png']", picture)
        frame(window, other_than=shown)
        inside = canvas(window)[SIZE // 2, SIZE // 2]
        assert tuple(inside) == STRUCTURES["RV"].colour
        assert not window.errors()
        assert not window.requests_elsewhere()


def test_what_is_painted_while_a_frame_is_drawn_stays(url: str, tmp_path: Path) -> None:
    with browser(tmp_path / "profile") as window:
        window.open(url)
        shown = frame(window)
        left, top, width, height = window.box("#painter canvas")
        for row in (0.4, 0.6, 0.8):  # none of them waits for the frame of the one before
            window.press([(left + width * 0.45, top + height * row), (left + width * 0.55, top + height * row)])
        last = canvas(window)
        shown = frame(window, other_than=shown)
        press(window, "Other noise")
        frame(window, other_than=shown)
        assert np.array_equal(canvas(window), last)


def test_nothing_is_cut_off_on_a_phone(url: str, tmp_path: Path) -> None:
    with browser(tmp_path / "profile", width=390, height=844, phone=True) as window:
        window.open(url)
        frame(window)
        assert window.run("return document.documentElement.scrollWidth") <= 390
        left, _, width, _ = window.box("#painter canvas")
        assert left >= 0
        assert 300 <= width <= 390 - left
