"""Files that appear whole or not at all."""

import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tte_tee.errors import UserError

_FILE_URL = r"(?:file:(?://[^/\s'\"]*)?)?"
_FOLDERS = re.compile(rf"(?<![\w.:/~-]){_FILE_URL}~?/(?:[^\s'\"/]+/)*")  # of an absolute path
_QUOTED = re.compile(rf"(['\"]){_FILE_URL}~?/(?:(?:(?!\1)[^/\n])+/)*(?=(?:(?!\1)[^/\n])*\1)")  # and with spaces in it
_LARGEST_JSON = 2**26  # bytes: a record names thousands of patients, and no more
_DEEPEST, _ALIASES = 64, 20


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder that takes the name of ``folder`` when the block ends well.

    An older folder of that name is moved aside first, so that one of the two is there whenever a kill comes.

    Raises:
        UserError: it cannot be written there, has no name, or is a file or a link.
    """
    _check_named(folder)
    mark = uuid.uuid4().hex[:8]
    temporary, old = (folder.with_name(f".{folder.name}.{what}-{mark}") for what in ("tmp", "old"))
    try:
        with _refused(folder):
            if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
                raise UserError(f"{folder}: is no folder that can be replaced; remove it, or give another name")
            temporary.mkdir(parents=True)
        yield temporary
        with _refused(folder):
            _open_to_group(temporary)
            _put_in_place(temporary, folder, old)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _put_in_place(temporary: Path, folder: Path, old: Path) -> None:
    """Gives ``temporary`` the name of ``folder``, which becomes ``old`` for that long."""
    if not folder.exists():
        temporary.replace(folder)
        return
    folder.replace(old)
    try:
        temporary.replace(folder)
    except BaseException:
        old.replace(folder)
        raise
    shutil.rmtree(old)


@contextmanager
def _refused(path: Path) -> Iterator[None]:
    """What the system refuses within the block, as one line about ``path``."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{path}: cannot write there ({error.strerror or error})") from error


def _check_named(folder: Path) -> None:
    if not folder.name:
        raise UserError(f"{folder}: is where you are; name a folder to make")


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """As :func:`whole_folder`, and never in the place of anything.

    Raises:
        UserError: there is no name, or it is taken by a file, or by a folder that is not empty.
    """
    check_new(folder)
    with whole_folder(folder) as temporary:
        yield temporary


def check_new(folder: Path) -> None:
    """Refuses a name that a file has, or a folder that is not empty, and ``.``, which nothing can take the place of.

    Raises:
        UserError: saying so.
    """
    _check_named(folder)
    with _refused(folder):
        if folder.is_dir() and not any(folder.iterdir()):
            return
        if folder.exists() or folder.is_symlink():
            raise UserError(f"{folder}: is there already; remove it, or give another name")


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file, making its folder.

    Raises:
        UserError: it cannot be written there, or the name is taken by a folder or a device.
    """
    temporary = path.with_name(f"{path.name}.tmp-{uuid.uuid4().hex[:8]}")
    with _refused(path):
        if path.exists() and not path.is_file():
            raise UserError(f"{path}: is no file that can be replaced; give another name")
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_bytes(content)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def sync_to_disk(path: Path) -> None:
    """Returns when what stands in a file or folder would outlive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_suffix(path: Path, suffix: str) -> None:
    """Refuses a name that does not end in ``suffix``, so that no store is replaced by a document.

    Raises:
        UserError: saying which ending is meant.
    """
    if path.suffix.lower() != suffix:
        raise UserError(f"{path}: what is written is a {suffix} file; let its name end so")


def write_json(path: Path, values: dict[str, Any] | list[Any]) -> None:
    """Writes a mapping or a list as indented JSON.

    Raises:
        UserError: as :func:`write_whole` does.
    """
    write_whole(path, (json.dumps(values, indent=2) + "\n").encode())


def read_json(path: Path, kind: str, *, advice: Callable[[], str] = str) -> dict[str, Any]:
    """Reads the JSON file that makes a folder a ``kind``.

    Args:
        path: of the file.
        kind: what the folder should be, for messages.
        advice: what to do where the file is missing; asked only then, and nothing by default.

    Raises:
        UserError: it is missing, or is no JSON mapping of a size that such a folder has.
    """
    try:
        if path.stat().st_size > _LARGEST_JSON:
            raise ValueError(f"larger than {_LARGEST_JSON // 2**20} MiB")
        values = json.loads(path.read_text())
        if not isinstance(values, dict):
            raise ValueError("no mapping")
    except FileNotFoundError as error:
        rather = "; ".join(filter(None, [f"{path.parent}: no {kind} folder, for it holds no {path.name}", advice()]))
        raise UserError(rather) from error
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path.parent}: no {kind} folder ({path.name}: {first_line(error)})") from error
    return values


def check_yaml(text: str) -> None:
    """Refuses what would grow without end once it is unfolded: brackets in brackets, aliases of aliases.

    Raises:
        yaml.YAMLError: saying which.
    """
    depth = aliases = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        aliases += isinstance(event, yaml.AliasEvent)
        if depth > _DEEPEST or aliases > _ALIASES:
            raise yaml.YAMLError(f"is nested deeper than {_DEEPEST} levels, or has more than {_ALIASES} aliases")


def file_hash(path: Path) -> str:
    """SHA-256 of the stored bytes.

    Raises:
        UserError: the file is missing.
    """
    if not path.is_file():
        raise UserError(f"{path}: missing; the folder is not whole")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def first_line(error: BaseException) -> str:
    """What an error says, in one line."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def without_folders(text: str) -> str:
    """The text with the last name alone of every absolute path: a machine's folders are nobody's business."""
    return _FOLDERS.sub("", _QUOTED.sub(r"\1", text))


def _open_to_group(folder: Path) -> None:
    """Gives files the user's usual permissions; safetensors writes them for the owner alone."""
    mask = os.umask(0)
    os.umask(mask)
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(0o666 & ~mask)
