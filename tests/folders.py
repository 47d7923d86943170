"""Folders of small pictures with their recipe, and what packing them gives; shared by the packer's tests."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from tte_tee.data.pack import pack_folder
from tte_tee.data.store import EchoStore
from tte_tee.errors import UserError

RECIPE: dict[str, Any] = {
    "name": "toy",
    "licence": "none",
    "images": r"(?P<folder>train|val)/(?P<patient>p\d+)_(?P<view>2CH|4CH)_(?P<phase>ED|ES)\.png",
    "masks": "{folder}/{patient}_{view}_{phase}_gt.png",
    "views": {"2CH": "A2C", "4CH": "A4C"},
    "phases": {"ED": "ED", "ES": "ES"},
    "label_space": "camus",
    "labels": {0: "background", 10: "LV", 20: "LV_epi", 30: "LA"},
    "size": 16,
    "sector": {"apex": [0, 16], "edges": [-80, 80], "radii": [0, 60]},  # known: estimating is what takes time
    "split": {"group": "folder", "splits": {"train": "train", "val": "test"}},
    "spacing": "unknown",
}
CINE: dict[str, Any] = {
    **{key: value for key, value in RECIPE.items() if key not in ("views", "phases")},
    "images": r"images/f_(?P<frame>\d+)\.png",
    "masks": "labels/f_{frame}.png",
    "patient": "one",
    "view": "ME4C",
    "split": "test",
}


def write_image(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix, array)[1].tobytes())


def write_frame(root: Path, image: str, mask: str, shape: tuple[int, int] = (32, 32)) -> None:
    height, width = shape
    grey = np.zeros(shape, np.uint8)
    grey[2:-2, 2:-2] = 100
    labels = np.zeros(shape, np.uint8)
    labels[height // 4 : height // 2, width // 4 : width // 2] = 10
    labels[height // 2 : 3 * height // 4, width // 4 : width // 2] = 30
    write_image(root / image, grey)
    write_image(root / mask, labels)


def pack(root: Path, base: dict[str, Any] = RECIPE, **changes: Any) -> EchoStore:
    """Packs with the recipe changed; a change to None takes the key out."""
    path = root.parent / "recipe.yaml"
    recipe = {key: value for key, value in {**base, **changes}.items() if value is not None}
    path.write_text(yaml.safe_dump(recipe))
    out = root.parent / "out" / "f.h5"
    pack_folder(path, root, out, workers=0)
    return EchoStore(out)


def refused(root: Path, base: dict[str, Any] = RECIPE, **changes: Any) -> str:
    """The one line that a bad folder or recipe gives; nothing is left behind."""
    with pytest.raises(UserError) as caught:
        pack(root, base, **changes)
    assert not list((root.parent / "out").glob("*"))
    message = str(caught.value)
    assert "\n" not in message
    return message


def splits(store: EchoStore) -> dict[str, str]:
    """The split of each patient."""
    return dict(zip(store.table["patient"], store.table["split"], strict=True))


def carve(**changes: Any) -> dict[str, Any]:
    """The split of the recipe, with a share of its training patients set aside for validation."""
    return {**RECIPE["split"], "carve": {"from": "train", "to": "val", "share": 0.3, "seed": 0, **changes}}
