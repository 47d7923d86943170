"""What a store in the making holds so far, kept beside it until it is whole: a killed command goes on from there."""

import fcntl
import json
import os
import re
import shutil
import uuid
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from tte_tee.data.store import FrameInfo
from tte_tee.errors import MachineError, UserError
from tte_tee.files import sync_to_disk

FINGERPRINT_LENGTH = 16  # hexadecimal digits


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


class Parts:
    """The folder ``STORE.parts-FINGERPRINT`` beside a store, one file per part.

    Use as a context manager. When the block ends well the folder goes, and those that other
    fingerprints left; whatever else ends it leaves the parts for the next time.

    Args:
        out: the store.
        fingerprint: of all that decides the parts, 16 hexadecimal digits.
        dropped_by: errors after which the parts are worth nothing, so that the folder goes too; not if the machine
            is at fault.
        shared: others may write parts with the same fingerprint meanwhile, and the folder stays.

    Raises:
        UserError: on entering, the folder of the store cannot be written, or another process is at work on it.
    """

    def __init__(
        self, out: Path, fingerprint: str, *, dropped_by: tuple[type[BaseException], ...] = (), shared: bool = False
    ) -> None:
        self._out, self._dropped_by, self._shared = out, dropped_by, shared
        self.folder = out.with_name(f"{out.name}.parts-{fingerprint}")
        self._named = re.compile(rf"{re.escape(out.name)}\.parts-[0-9a-f]{{{FINGERPRINT_LENGTH}}}")
        self._lock = ExitStack()

    def __enter__(self) -> Self:
        try:
            with ExitStack() as stack:
                self._out.parent.mkdir(parents=True, exist_ok=True)
                if not self._shared:
                    for other in self._others():
                        with self._held(other):
                            pass
                self.folder.mkdir(exist_ok=True)
                stack.enter_context(self._held(self.folder))
                self._lock = stack.pop_all()
        except OSError as error:
            raise UserError(f"{self._out}: cannot write there ({error.strerror or error})") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self._shared:
            spoilt = kind is not None and issubclass(kind, self._dropped_by) and not issubclass(kind, MachineError)
            if kind is None or spoilt:
                shutil.rmtree(self.folder, ignore_errors=True)
            else:
                with suppress(OSError):
                    self.folder.rmdir()  # if it is empty
            if kind is None:
                self._clear_others()
        self._lock.close()

    def _clear_others(self) -> None:
        for other in self._others():
            with suppress(UserError, OSError), self._held(other):
                shutil.rmtree(other, ignore_errors=True)

    def _others(self) -> list[Path]:
        """Folders that another recipe, other files or other options left."""
        beside = self._out.parent.iterdir()
        return [folder for folder in beside if self._named.fullmatch(folder.name) and folder != self.folder]

    def path(self, number: int) -> Path:
        """File of part ``number``."""
        return self.folder / f"{number:06d}.npz"

    def has(self, number: int) -> bool:
        """Whether the part is there, and as it was written: a power cut can cost it its end, a disk anything."""
        try:
            with zipfile.ZipFile(self.path(number)) as part:
                return part.testzip() is None
        except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
            return False

    @contextmanager
    def _held(self, folder: Path) -> Iterator[None]:
        """Keeps ``folder`` for this process, or for those that share it, until the block or the process ends.

        Raises:
            UserError: another process has it.
        """
        held = os.open(folder, os.O_RDONLY)
        try:
            try:
                fcntl.flock(held, (fcntl.LOCK_SH if self._shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UserError(f"{self._out}: another process is writing it; wait, or give another --out") from error
            except OSError:
                pass  # a file system without locks
            yield
        finally:
            os.close(held)


def write_arrays(path: Path, **arrays: np.ndarray) -> None:
    """Writes a part's arrays, by name, atomically.

    Raises:
        MachineError: the disk is full, or the folder went away.
    """
    temporary = path.with_name(f"{path.stem}.tmp-{uuid.uuid4().hex[:8]}")
    try:
        with temporary.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]  # its stub takes the next argument for a name
        sync_to_disk(temporary)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise MachineError(f"{path.parent}: cannot write there ({error.strerror or error})") from error


def write_part(path: Path, part: Part) -> None:
    """Writes a part as :func:`write_arrays` does."""
    text = json.dumps({"infos": [asdict(info) for info in part.infos], "problems": part.problems}).encode()
    write_arrays(path, images=part.images, masks=part.masks, sectors=part.sectors, text=np.frombuffer(text, "u1"))


def read_part(path: Path) -> Part:
    """Reads a part back."""
    with np.load(path, allow_pickle=False) as arrays:
        text = json.loads(arrays["text"].tobytes())
        infos = [FrameInfo(**{**info, "spacing": info["spacing"] and tuple(info["spacing"])}) for info in text["infos"]]
        return Part(arrays["images"], arrays["masks"], arrays["sectors"], infos, text["problems"])
