"""Writing a small file whole or not at all."""

import uuid
from pathlib import Path

from tte_tee.errors import UserError


def write_whole(path: Path, content: bytes) -> None:
    """Writes ``content``; the file appears under its name once it is whole.

    Raises:
        UserError: the folder cannot be written, or the name is taken by a folder or a device.
    """
    temporary = path.with_name(f"{path.name}.tmp-{uuid.uuid4().hex[:8]}")
    try:
        if path.exists() and not path.is_file():
            raise UserError(f"{path}: is no file that can be replaced; give another name")
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_bytes(content)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{path}: cannot write there ({error.strerror or error})") from error


def check_suffix(path: Path, suffix: str) -> None:
    """Refuses a name that does not end in ``suffix``, so that no store is replaced by a document.

    Raises:
        UserError: saying which ending is meant.
    """
    if path.suffix.lower() != suffix:
        raise UserError(f"{path}: what is written is a {suffix} file; let its name end so")
