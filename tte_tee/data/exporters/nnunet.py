"""Raw data sets of nnU-Net v2 (Isensee et al., Nature Methods 18, 2021) out of echo stores.

nnU-Net has one file format per data set and knows no unknown spacing: a PNG is 1 by 1 to it. So frames become NIfTI
where the spacing of every one of them is known, and PNG otherwise.
"""

import gzip
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from tte_tee.data.alike import refuse_other_kind
from tte_tee.data.curate.copying import join_licences
from tte_tee.data.exporters.record import RECORD, TABLE, write_record
from tte_tee.data.leakage import refuse_seen, refuse_telling
from tte_tee.data.pictures import write_values
from tte_tee.data.store import EchoStore, check_table
from tte_tee.data.usable import usable_frames
from tte_tee.data.workers import with_bar
from tte_tee.errors import UserError
from tte_tee.files import check_new, new_folder, write_json, write_whole
from tte_tee.seen import seen_in

NIFTI, PNG = ".nii.gz", ".png"
READERS = {NIFTI: "SimpleITKIO", PNG: "NaturalImage2DIO"}
_FOLDERS = {"train": "Tr", "val": "Tr", "test": "Ts"}
_LARGEST_ID = 999  # Dataset001_... to Dataset999_...
_GENERATED = "generated"
Spacing = tuple[float, float] | None


@dataclass(frozen=True)
class NnunetSet:
    """What was written.

    Attributes:
        folder: of the data set.
        ending: of its files.
        frames: how many train, validate and test.
        left_out: generated frames of other splits than train.
    """

    folder: Path
    ending: str
    frames: Mapping[str, int]
    left_out: int


def export_nnunet(paths: Sequence[Path], raw: Path, number: int, name: str, *, progress: bool = False) -> NnunetSet:
    """Writes the labelled frames of stores as ``raw/DatasetNNN_NAME``.

    Images are black outside of the sector, as the segmenters here see them; labels keep their ids. Splits train and
    val become ``imagesTr``, test ``imagesTs`` and ``labelsTs``; ``splits_final.json`` has one fold, by patient. Of
    generated frames those of split train alone are taken.

    Args:
        paths: of stores of one label space and size: real ones, and synthetic ones drawn for training.
        raw: the folder ``nnUNet_raw``.
        number: of the data set, 1 to 999.
        name: of the data set.
        progress: shows a bar on stderr, if that is a terminal.

    Raises:
        UserError: the data set is there; a frame has no mask or no picture; there is no real frame in train or val;
            a patient stands in two splits; synthetic frames tell of patients who validate or test, or of others
            than those trained on.
    """
    folder = _folder(raw, number, name)
    stores = [EchoStore(path) for path in paths]
    table = _table(stores)
    _check_patients(stores, table)
    left_out = (table["origin"] == _GENERATED) & (table["split"] != "train")
    table = table[~left_out].reset_index(drop=True)
    ending = NIFTI if table["spacing_y"].notna().all() else PNG
    table.insert(0, "case", [f"{name}_{row + 1:06d}" for row in range(len(table))])
    with new_folder(folder) as temporary:
        rows = list(zip(table["case"], table["split"], table["store"], table["index"], strict=True))
        for case, split, store, index in with_bar(rows, f"writing {folder.name}", progress):
            image, mask, sector = stores[store].frame(index)
            spacing = stores[store].info(index).spacing
            _write(temporary / f"images{_FOLDERS[split]}" / f"{case}_0000{ending}", image * sector, spacing)
            _write(temporary / f"labels{_FOLDERS[split]}" / f"{case}{ending}", mask, spacing)
        _describe(temporary, folder.name, stores, table, ending)
    frames = {split: int((table["split"] == split).sum()) for split in _FOLDERS}
    return NnunetSet(folder, ending, frames, int(left_out.sum()))


def _folder(raw: Path, number: int, name: str) -> Path:
    """Where the data set goes.

    Raises:
        UserError: its number or name cannot be, or is taken.
    """
    if not 1 <= number <= _LARGEST_ID:
        raise UserError(f"--id {number}: nnU-Net numbers data sets from 1 to {_LARGEST_ID}")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
        raise UserError(f"--name {name}: use letters, digits, - and _")
    if raw.exists() and not raw.is_dir():
        raise UserError(f"{raw}: is a file; name the folder nnUNet_raw")
    folder = raw / f"Dataset{number:03d}_{name}"
    if others := [path.name for path in sorted(raw.glob(f"Dataset{number:03d}*")) if path != folder]:
        raise UserError(f"--id {number}: {raw} has {others[0]}, and nnU-Net goes by the number; give another one")
    check_new(folder)
    return folder


def _table(stores: Sequence[EchoStore]) -> pd.DataFrame:
    """The frames of all stores, with the number of their store and their index in it.

    Raises:
        UserError: stores differ in kind or are the same, a frame lacks mask or picture, or a patient or a real
            frame stands where it should not.
    """
    for number, store in enumerate(stores):
        refuse_other_kind(stores[0], store)
        if store.content_hash in (other.content_hash for other in stores[:number]):
            raise UserError(f"{store.path}: is given twice; name each store once")
    parts = [
        store.table.iloc[indices].assign(store=number, index=indices)
        for number, store in enumerate(stores)
        for indices in (usable_frames(store, None, plane=False),)
    ]
    table = pd.concat(parts, ignore_index=True)
    check_table(table[table["origin"] != _GENERATED], " and ".join(str(store.path) for store in stores))
    return table


def _check_patients(stores: Sequence[EchoStore], table: pd.DataFrame) -> None:
    """Refuses what leaves nobody to train or validate on, and what leaks."""
    real = table[table["origin"] != _GENERATED]
    patients: dict[str, Collection[str]] = {split: set(real["patient"][real["split"] == split]) for split in _FOLDERS}
    named = ", ".join(str(store.path) for store in stores)
    for split in ("train", "val"):
        if not patients[split]:
            raise UserError(
                f"{named}: no real frame in split '{split}'; nnU-Net would divide patients by itself, so give "
                "a store with both (see 'data split')"
            )
    for number in real["store"][real["split"] != "test"].unique():
        store = stores[number]
        refuse_seen(patients["test"], seen_in(store.provenance), str(store.path), "what made its frames or masks")
    home = stores[real["store"][real["split"] == "train"].iloc[0]].path
    for number, generated in table[table["origin"] == _GENERATED].groupby("store"):
        drawn = generated["index"][generated["split"] == "train"]
        if not len(drawn):
            raise UserError(
                f"{stores[number].path}: none of its generated frames is of split 'train', and others are not taken; "
                "'synthesize --split train' draws for the masks of that split"
            )
        refuse_telling(
            stores[number],
            drawn.to_numpy(),
            home,
            trained=patients["train"],
            evaluated=[*patients["val"], *patients["test"]],
            tested=patients["test"],
        )


def _write(path: Path, values: np.ndarray, spacing: Spacing) -> None:
    """uint8 ``[H, W]``, with its spacing (rows, columns) in mm if that is a NIfTI."""
    if path.suffix == PNG:
        write_values(path, values)
        return
    from nibabel import Nifti1Image

    assert spacing is not None
    rows, columns = spacing
    # To ITK, x grows to the patient's left and y to the back, to NIfTI the other way: so ITK sees no turned axis.
    image = Nifti1Image(values.T, np.diag([-columns, -rows, 1, 1]))
    image.header.set_xyzt_units("mm")
    write_whole(path, gzip.compress(image.to_bytes(), mtime=0))


def _describe(folder: Path, name: str, stores: Sequence[EchoStore], table: pd.DataFrame, ending: str) -> None:
    """``dataset.json``, ``splits_final.json``, table, record and card."""
    licence = join_licences([store.licence for store in stores])
    training, validation = (list(table["case"][table["split"] == split]) for split in ("train", "val"))
    dataset = {
        "channel_names": {"0": "ultrasound"},
        "labels": {"background": 0, **stores[0].label_space.ids},
        "numTraining": len(training) + len(validation),
        "file_ending": ending,
        "overwrite_image_reader_writer": READERS[ending],
        "name": name,
        "licence": licence,
    }
    write_json(folder / "dataset.json", dataset)
    write_json(folder / "splits_final.json", [{"train": training, "val": validation}])
    names = [store.path.name for store in stores]
    table = table.assign(store=[names[number] for number in table["store"]]).drop(columns="index")
    write_record(folder, stores, table, _words(name, table, ending, licence))


def _words(name: str, table: pd.DataFrame, ending: str, licence: str) -> list[str]:
    """The card."""
    rows = []
    for split, use in (("train", "trains"), ("val", "validates"), ("test", "tests")):
        of_split = table[table["split"] == split]
        generated = int((of_split["origin"] == _GENERATED).sum())
        rows.append(f"| {use} | {len(of_split):,} | {generated:,} | {of_split['patient'].nunique():,} |")
    spacing = (
        "Spacing (mm per pixel) is in the files; nnU-Net resamples to its median."
        if ending == NIFTI
        else f"The spacing of some frames is unknown, so files are PNG and nnU-Net counts in pixels; what is known is "
        f"in `{TABLE}`."
    )
    return [
        f"# {name}",
        "Echo frames with masks, as a raw data set of nnU-Net v2.",
        "\n".join(["| | frames | generated of them | patients |", "|---|---|---|---|", *rows]),
        f"Images are black outside of the sector. {spacing} `{TABLE}` says which frame a case is, of whom, and who "
        f"made it; `{RECORD}` what the stores say of themselves.",
        f"Licence: {licence}",
        "## Training",
        "`splits_final.json` has one fold, divided by patient; generated frames train only. nnU-Net looks for it in "
        f"`nnUNet_preprocessed/{name}/`: version 2.8 copies it there when it plans, and for others it has to be copied "
        "by hand. Without it nnU-Net divides cases, and patients validate themselves. Train fold 0, and no other.",
        f"```\nnnUNetv2_plan_and_preprocess -d {name[7:10]} -c 2d --verify_dataset_integrity\n"
        f"nnUNetv2_train {name[7:10]} 2d 0\n```",
        "`imagesTs` and `labelsTs` test: keep them out of every choice.",
    ]
