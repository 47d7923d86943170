"""The recipe of the PNG folders that are packed here."""

from pathlib import Path
from typing import Any

import yaml


def write_recipe(path: Path, *, size: int, sector: str | dict[str, Any]) -> None:
    """Says what ``pPATIENT_FRAME.png`` and its mask ``pPATIENT_FRAME_gt.png`` mean."""
    recipe = {
        "name": "bench",
        "licence": "CC0-1.0 (synthetic)",
        "images": r"(?P<patient>p\d+)_(?P<frame>\d+)\.png",
        "masks": "{patient}_{frame}_gt.png",
        "view": "ME4C",
        "label_space": "tee",
        "labels": {0: "background", 1: "LV", 2: "LA", 3: "RV", 4: "RA"},
        "size": size,
        "sector": sector,
        "split": "train",
        "spacing": "unknown",
    }
    path.write_text(yaml.safe_dump(recipe))
