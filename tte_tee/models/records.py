"""The JSON that makes a folder a base, an adapter or a segmenter, and what to say where it is missing."""

from pathlib import Path
from typing import Any

from tte_tee.files import read_json

_KINDS = ("adapter", "base", "segmenter")


def read_record(path: Path, kind: str) -> dict[str, Any]:
    """Reads the record of a ``kind``, one of adapter, base and segmenter; or says which folder is rather meant.

    Raises:
        UserError: it is missing, or is no JSON mapping of a size that such a folder has.
    """
    return read_json(path, kind, advice=lambda: _rather(path, kind))


def _rather(path: Path, kind: str) -> str:
    """What the folder is, or which beside it is meant, as far as that can be seen."""
    folder = path.parent
    inside = [found.parent for found in sorted(folder.glob(f"{kind}/{path.name}"))]
    inside += [found.parent for found in sorted(folder.glob(f"version_*/{kind}/{path.name}"))]
    if inside:
        return f"{inside[-1]} is one"
    others = [other for other in _KINDS if (folder / f"{other}.json").is_file()]
    if others:
        return f"it is that of a{'n' * (others[0] == 'adapter')} {others[0]}"
    return "" if folder.is_dir() else "there is no such folder: 'fit' leaves one"
