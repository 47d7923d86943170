"""Stores by what is said of their frames, and the command line, shared by the tests of curation."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import draw_frame

from tte_tee.anatomy import TEE, LabelSpace
from tte_tee.cli import main
from tte_tee.data.store import FrameInfo, StoreWriter

INFO = FrameInfo("p/0", "p", "ME4C", "train", "acquired", phase="ED", spacing=(0.5, 0.5), mask_source="annotated")


def write(path: Path, *infos: FrameInfo, space: LabelSpace = TEE, licence: str = "CC0-1.0", size: int = 16) -> Path:
    """A store whose pixels fit what is said of its frames."""
    with StoreWriter(path, space, licence=licence, command="a test") as writer:
        for seed, info in enumerate(infos):
            image, mask, sector = draw_frame(len(space.structures), seed, size)
            image, mask = image * (info.origin != "mask"), mask * (info.mask_source != "none")
            writer.append(image.astype(np.uint8), mask.astype(np.uint8), sector, info)
    return path


def frames(patient: str, count: int = 4, **changes: object) -> list[FrameInfo]:
    """Frames of one patient, views and phases in turn."""
    views, phases = ("ME4C", "ME2C"), ("ED", "ED", "ES", "ES")
    return [
        replace(INFO, key=f"{patient}/{n}", patient=patient, view=views[n % 2], phase=phases[n % 4], **changes)
        for n in range(count)
    ]


def run(*line: object) -> None:
    main(["data", *map(str, line)])


def refused(capsys: pytest.CaptureFixture[str], *line: object) -> str:
    """The one line that is said of a mistake."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        run(*line)
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and said.startswith("tte_tee data ")
    return said


def many(path: Path) -> Path:
    """Twenty patients: half with one view, half with the other; five of them held out."""
    infos = []
    for n in range(20):
        held = {"cohort": "confirmatory", "split": "test"} if n >= 15 else {"cohort": "none", "split": "train"}
        infos += [replace(f, view=("ME4C", "ME2C")[n % 2]) for f in frames(f"p{n:02d}", 2, **held)]
    return write(path, *infos)
