"""What a pack has read so far, kept beside the store until that is whole: a killed pack goes on from there."""

import hashlib
import json
import shutil
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from tte_tee.data.importers.contract import Clip
from tte_tee.data.store import FrameInfo
from tte_tee.errors import UserError


@dataclass(frozen=True)
class Part:
    """Frames of some clips, ready for the store.

    Attributes:
        images, masks, sectors: uint8 ``[N, H, W]``.
        infos: one per frame.
        problems: one line per file that was left out.
    """

    images: np.ndarray
    masks: np.ndarray
    sectors: np.ndarray
    infos: list[FrameInfo]
    problems: list[str]


def fingerprint(recipe: bytes, root: Path, clips: Sequence[Clip], version: str) -> str:
    """Changes with the recipe, the code's version, a file and what is said of it; parts of another are not taken up."""
    digest = hashlib.sha256(recipe + version.encode())
    for clip in clips:
        digest.update(f"{clip.patient}\0{clip.split}\0{clip.cohort}\0".encode())
        for file in clip.files:
            stat = (root / file).stat()
            digest.update(f"{clip.name}\0{file}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


class Parts:
    """The folder ``STORE.parts-FINGERPRINT`` beside a store, one file per part."""

    def __init__(self, out: Path, fingerprint: str) -> None:
        self._out = out
        self.folder = out.with_name(f"{out.name}.parts-{fingerprint}")
        self._others = f"{out.name}.parts-"

    def open(self) -> None:
        """Makes the folder; parts of an earlier recipe or of other files go.

        Raises:
            UserError: the folder of the store cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for other in self.folder.parent.iterdir():
                if other.name.startswith(self._others) and other != self.folder:
                    shutil.rmtree(other, ignore_errors=True)
        except OSError as error:
            raise UserError(f"{self._out}: cannot write there ({error.strerror or error})") from error

    def path(self, number: int) -> Path:
        """File of part ``number``."""
        return self.folder / f"{number:06d}.npz"

    def has(self, number: int) -> bool:
        """Whether the part is there; it is whole then, since it is renamed into place."""
        return self.path(number).is_file()

    def count(self) -> int:
        """How many parts are there."""
        return sum(1 for _ in self.folder.glob("*.npz"))

    def remove(self) -> None:
        """Takes all of it away."""
        shutil.rmtree(self.folder, ignore_errors=True)


def write_part(path: Path, part: Part) -> None:
    """Writes a part atomically.

    Raises:
        UserError: the disk is full, or the folder went away.
    """
    temporary = path.with_name(f"{path.stem}.tmp-{uuid.uuid4().hex[:8]}")
    text = json.dumps({"infos": [asdict(info) for info in part.infos], "problems": part.problems}).encode()
    try:
        with temporary.open("wb") as file:
            np.savez(
                file,
                images=part.images,
                masks=part.masks,
                sectors=part.sectors,
                text=np.frombuffer(text, "u1"),
            )
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UserError(f"{path.parent}: cannot write there ({error.strerror or error})") from error


def read_part(path: Path) -> Part:
    """Reads a part back."""
    with np.load(path, allow_pickle=False) as arrays:
        text = json.loads(arrays["text"].tobytes())
        infos = [FrameInfo(**{**info, "spacing": info["spacing"] and tuple(info["spacing"])}) for info in text["infos"]]
        return Part(arrays["images"], arrays["masks"], arrays["sectors"], infos, text["problems"])
