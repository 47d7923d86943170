"""Frames out of a video file, by OpenCV."""

import os
from collections.abc import Collection
from pathlib import Path

import cv2
import numpy as np

from tte_tee.data.importers.files import check_declared, quiet, read_bytes
from tte_tee.errors import UserError


def read_video_frames(path: Path, wanted: Collection[int]) -> tuple[dict[int, np.ndarray], int]:
    """The ``wanted`` frames of an AVI file, uint8 ``[H, W]`` by number from 0, and how many frames it has.

    Reads from the first frame to the last: to jump is not exact, and a frame that a decoder passes over
    shifts all behind it.

    Raises:
        UserError: the file is no AVI, or not all of its frames can be decoded.
    """
    _check_magic(path)
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # FFmpeg's own word for silence
    frames: dict[int, np.ndarray] = {}
    with quiet():
        video = cv2.VideoCapture(str(path.absolute()), cv2.CAP_FFMPEG)
        declared = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
        size = [int(video.get(side)) for side in (cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FRAME_WIDTH)]
        try:
            if not video.isOpened():
                raise UserError(f"{path}: cannot be decoded; copy the file again, or move it away")
            check_declared(path, (*size, 3), 1)
            number = 0
            while video.grab():
                if number in wanted and (decoded := video.retrieve())[0]:
                    frames[number] = cv2.cvtColor(decoded[1], cv2.COLOR_BGR2GRAY)
                number += 1
        except cv2.error:
            number = -1
        finally:
            video.release()
    if number < declared:
        raise UserError(f"{path}: not all of its {declared} frames can be decoded; copy the file again")
    return frames, number


def _check_magic(path: Path) -> None:
    """Only AVI: FFmpeg would also follow a playlist, wherever that leads."""
    data = read_bytes(path, 12)
    if data[:4] != b"RIFF" or data[8:] != b"AVI ":
        raise UserError(f"{path}: is no AVI file; copy it again, or move it away")
