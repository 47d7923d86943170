"""EchoNet-Dynamic: apical four-chamber videos with the left ventricle traced at end-diastole and end-systole.

Layout: ``Videos/NAME.avi``, ``FileList.csv`` (one row per video) and ``VolumeTracings.csv`` (one row per line
of a trace). Source: Ouyang et al., Nature 580, 2020, and the dataset's own loader, whose reading of the
traces this follows: the first row of a trace is the long axis, the others are chords from wall to wall.
"""

import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from tte_tee.data.importers.contract import Assign, Clip, Listing, Problems, RawFrame
from tte_tee.data.importers.files import list_files, within
from tte_tee.data.importers.video import read_video_frames
from tte_tee.data.section import Section
from tte_tee.errors import UserError

_VIDEOS, _LIST, _TRACES = "Videos", "FileList.csv", "VolumeTracings.csv"
_CORNERS = ("X1", "Y1", "X2", "Y2")
_FEWEST_CHORDS = 3
_FURTHEST = 1e4  # pixels; what lies further off was never on a screen
_MASK_VALUE = 1  # of the left ventricle; 0 elsewhere


@dataclass(frozen=True)
class Trace:
    """The left ventricle of one frame.

    Attributes:
        row: of its first line in the table, for messages.
        lines: ``[N, 4]``, x and y of both ends in pixels; the first line is the long axis.
    """

    frame: int
    row: int
    lines: np.ndarray
    phase: str = "unknown"

    @property
    def polygon(self) -> np.ndarray:
        """``[2 (N - 1), 2]``, x and y: down the one wall and up the other."""
        chords = self.lines[1:]
        return np.concatenate([chords[:, :2], chords[::-1, 2:]])

    @property
    def area(self) -> float:
        """Square pixels."""
        return float(cv2.contourArea(self.polygon.astype(np.float32)))

    def draw(self, shape: tuple[int, ...]) -> np.ndarray:
        """Mask, uint8 ``[H, W]``."""
        mask = np.zeros(shape, np.uint8)
        cv2.fillPoly(mask, [np.rint(self.polygon).astype(np.int32)], _MASK_VALUE)
        return mask


@dataclass(frozen=True)
class EchonetDynamicImporter:
    """The traced frames of all videos; a video without a trace is left aside."""

    groups = ("split",)
    pattern = None
    labelled = True
    private = False

    def clips(self, root: Path, assign: Assign, problems: Problems) -> Listing:
        """One clip per traced video."""
        files = set(list_files(root))
        splits = _read_list(within(root, _LIST), problems)
        traces = _read_traces(within(root, _TRACES), splits, problems)
        clips = []
        for name in sorted(traces):
            video = f"{_VIDEOS}/{name}.avi"
            row, split = splits[name]
            with problems.noted():
                if video not in files:
                    raise UserError(
                        f"{root / _LIST}: row {row}: there is no {root / video}; add it, or take the row out"
                    )
                try:
                    placed = assign(name, {"split": split})
                except UserError as error:
                    raise UserError(f"{root / _LIST}: row {row}: {error}") from error
                found = traces[name]
                clips.append(Clip(video, name, *placed, (video, _LIST, _TRACES), (name, found), len(found)))
        return Listing(clips, len(files) - len({file for clip in clips for file in clip.files}))

    def read(self, root: Path, clip: Clip, problems: Problems) -> Iterator[RawFrame]:
        """The traced frames of a video and their masks."""
        name, traces = clip.detail
        (video, *_) = clip.files
        with problems.noted():
            frames, total = read_video_frames(within(root, video), {trace.frame for trace in traces})
            for trace in traces:
                with problems.noted():
                    place = f"{root / _TRACES}: row {trace.row}"
                    if trace.frame not in frames:
                        raise UserError(f"{place}: frame {trace.frame} is not in {root / video}, which has {total}")
                    image = frames[trace.frame]
                    mask = trace.draw(image.shape)
                    if not mask.any():
                        raise UserError(f"{place}: the trace lies outside of {root / video}; correct it")
                    key = f"{name}/{trace.frame}"
                    yield RawFrame(video, key, image, mask, "A4C", _TRACES, trace.phase, study=name)


def _read_list(path: Path, problems: Problems) -> dict[str, tuple[int, str]]:
    """Name of each video -> its row and split."""
    listed: dict[str, tuple[int, str]] = {}
    for row, values in _rows(path, ("FileName", "Split")):
        with problems.noted():
            name = _name(path, row, values["FileName"])
            if name in listed:
                raise UserError(f"{path}: row {row}: '{name}' stands in row {listed[name][0]} too; take one out")
            listed[name] = row, values["Split"]
    return listed


def _read_traces(path: Path, listed: dict[str, tuple[int, str]], problems: Problems) -> dict[str, list[Trace]]:
    """Name of each video -> its traces by frame, none where any of its rows is bad."""
    lines: dict[str, dict[int, list[tuple[int, list[float]]]]] = {}
    bad: set[str] = set()
    for row, values in _rows(path, ("FileName", *_CORNERS, "Frame")):
        with problems.noted():
            name = _name(path, row, values["FileName"])
            if name in bad:
                continue
            bad.add(name)  # until the row has turned out to be good
            if name not in listed:
                raise UserError(f"{path}: row {row}: '{name}' is not in {_LIST}; add it there, or take its rows out")
            corners = [_number(path, row, values, column) for column in _CORNERS]
            frame = _number(path, row, values, "Frame")
            if frame < 0 or not frame.is_integer():
                raise UserError(f"{path}: row {row}: Frame '{values['Frame']}' is no number of a frame; correct it")
            lines.setdefault(name, {}).setdefault(int(frame), []).append((row, corners))
            bad.remove(name)
    traces: dict[str, list[Trace]] = {}
    for name in sorted(lines.keys() - bad):
        with problems.noted():
            traces[name] = _with_phases([_trace(path, frame, lines[name][frame]) for frame in sorted(lines[name])])
    return traces


def _trace(path: Path, frame: int, lines: list[tuple[int, list[float]]]) -> Trace:
    trace = Trace(frame, lines[0][0], np.array([corners for _, corners in lines]))
    if len(lines) <= _FEWEST_CHORDS or trace.area < 1:
        raise UserError(f"{path}: row {trace.row}: the trace of frame {frame} encloses nothing; correct it")
    return trace


def _with_phases(traces: list[Trace]) -> list[Trace]:
    """The largest of several is end-diastole, the smallest end-systole; of one alone nobody can say."""
    if len(traces) < 2:
        return traces
    order = sorted(range(len(traces)), key=lambda i: traces[i].area)
    phases = {order[0]: "ES", order[-1]: "ED"}
    return [replace(trace, phase=phases.get(i, "unknown")) for i, trace in enumerate(traces)]


def _rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows of a table that has ``columns``, each with its line number.

    Raises:
        UserError: the file is missing, a column is, or it is no table of text.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restval="")
            if missing := [column for column in columns if column not in (reader.fieldnames or ())]:
                raise UserError(f"{path}: has no column {', '.join(missing)}; is --root the folder of EchoNet-Dynamic?")
            for values in reader:
                if not all(values[column].isprintable() for column in columns):  # a quote swallows lines
                    raise UserError(f"{path}: row {reader.line_num}: has a quote or a sign that is no text; correct it")
                yield reader.line_num, values
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: cannot be read ({reason}); --root is the folder that holds it") from error


def _name(path: Path, row: int, text: str) -> str:
    """A video's name without its suffix, which one table has and the other has not."""
    name = text.strip().removesuffix(".avi")
    if not name or name.startswith(".") or not set(name).isdisjoint("/\\\0"):
        raise UserError(f"{path}: row {row}: '{text}' is no name of a video; correct it")
    return name


def _number(path: Path, row: int, values: dict[str, str], column: str) -> float:
    try:
        number = float(values[column])
    except ValueError:
        number = math.nan
    if not abs(number) < _FURTHEST:  # NaN too
        raise UserError(f"{path}: row {row}: {column} '{values[column]}' is no number of pixels or frames; correct it")
    return number


def parse(section: Section) -> EchonetDynamicImporter:
    """Takes no key: the layout is fixed."""
    return EchonetDynamicImporter()
