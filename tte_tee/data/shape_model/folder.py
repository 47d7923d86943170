"""The folder in which a shape model is kept.

shape_model.json          label space, views, structures, rules, training store and patients, hash, provenance
shape_model.safetensors   mean, modes, standard deviations and scales of each view
modes_<VIEW>.png          what each mode changes
"""

from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from tte_tee.anatomy import VIEWS, LabelSpace
from tte_tee.data.pictures import write_png
from tte_tee.data.shape_model.model import ShapeModel, ViewModel
from tte_tee.data.shape_model.modes import mode_sheet
from tte_tee.data.shape_model.rules import Rules
from tte_tee.errors import UserError
from tte_tee.files import first_line, read_json, whole_folder, write_json

SCHEMA_VERSION = 1
_RECORD, _ARRAYS = "shape_model.json", "shape_model.safetensors"


def check_folder(folder: Path) -> None:
    """Refuses to put a shape model in the place of anything but an older one.

    Raises:
        UserError: saying what is there.
    """
    if folder.exists() and not (folder.is_dir() and ((folder / _RECORD).is_file() or not any(folder.iterdir()))):
        raise UserError(f"{folder}: is there and is no shape model; remove it, or give another name")


def save_shape_model(folder: str | Path, model: ShapeModel) -> None:
    """Writes the folder, whole or not at all; an older shape model of that name is replaced.

    Raises:
        UserError: something else has the name, or the folder cannot be written.
    """
    folder = Path(folder)
    check_folder(folder)
    values = {"schema_version": SCHEMA_VERSION, "hash": model.hash, **model.core(), "provenance": dict(model.record)}
    with whole_folder(folder) as temporary:
        write_json(temporary / _RECORD, values)
        (temporary / _ARRAYS).write_bytes(save(model.arrays()))
        for view in model.views:
            write_png(temporary / f"modes_{view}.png", mode_sheet(model, view))


def load_shape_model(folder: str | Path) -> ShapeModel:
    """Reads a folder, and checks every part of it.

    Raises:
        UserError: it is no shape model, is of another schema, or was changed or damaged.
    """
    folder = Path(folder)
    values = read_json(folder / _RECORD, "shape model", advice=lambda: "make one with 'masks fit'")
    try:
        if values["schema_version"] != SCHEMA_VERSION:
            raise ValueError(f"schema {values['schema_version']}, this version reads {SCHEMA_VERSION}")
        model = _build(values, load((folder / _ARRAYS).read_bytes()))
        if model.hash != values["hash"]:
            raise ValueError("its content is not what its hash says")
    except (UserError, OSError, LookupError, ValueError, TypeError, AttributeError, SafetensorError) as error:
        raise UserError(
            f"{folder}: not a readable shape model ({first_line(error)}); fit it again with 'masks fit'"
        ) from error
    return model


def _build(values: dict[str, Any], arrays: dict[str, np.ndarray]) -> ShapeModel:
    space = LabelSpace.from_json(values["label_space"])
    rows, columns = map(int, values["image_size"])
    views = {}
    for name, view in values["views"].items():
        if name not in VIEWS:
            raise ValueError(f"view '{name}' is unknown")
        views[name] = ViewModel(
            structures=tuple(view["structures"]),
            mean=arrays.pop(f"{name}.mean"),
            modes=arrays.pop(f"{name}.modes"),
            sd=arrays.pop(f"{name}.sd"),
            scale=arrays.pop(f"{name}.scale"),
            explained=tuple(map(float, view["explained_variance"])),
            rules=Rules.from_json(view["rules"]),
            frames=view["frames"],
            patients=tuple(view["patients"]),
        )
        views[name].check((rows, columns), space)
    if arrays or not views:
        raise ValueError(f"{_ARRAYS} holds what {_RECORD} does not name" if arrays else "it has no view")
    training, record = values["training"], values["provenance"]
    if not isinstance(record, dict):  # in which nobody would be found
        raise ValueError("its provenance is no mapping")
    return ShapeModel(views, space, (rows, columns), training["store"], training["licence"], record)
