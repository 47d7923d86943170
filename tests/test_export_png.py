"""PNG folders: whole, and exactly what ``data pack`` makes a store of again; or no recipe, with the reason."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from conftest import generated

from tte_tee.cli import main
from tte_tee.data.exporters.png import export_png
from tte_tee.data.pack import pack_folder
from tte_tee.data.store import EchoStore, FrameInfo, StoreWriter
from tte_tee.errors import UserError

Change = Callable[[FrameInfo], FrameInfo]
KEPT = ("patient", "view", "phase", "split", "cohort", "spacing_y", "spacing_x")
COHORTS = {"train": "adaptation", "val": "adaptation", "test": "test"}


def changed(store: Path, out: Path, change: Change, *, sectors: bool = False, masks: bool = True) -> Path:
    """A store with something else said of its frames; ``sectors`` takes a pixel from the sector of the first."""
    read = EchoStore(store)
    with StoreWriter(out, read.label_space, licence="CC0-1.0", command="made") as writer:
        for index, (image, mask, sector) in enumerate(read):
            if sectors and index == 0:
                sector[-1, 8] = 0
            writer.append(image, mask * masks, sector, change(read.info(index)))
    return out


def round_trip(store: Path, tmp_path: Path) -> tuple[EchoStore, EchoStore, list[int]]:
    """The store, what it is packed to again, and where each frame of that was."""
    out = tmp_path / "pictures"
    main(["export", "png", f"--store={store}", f"--out={out}"])
    pack_folder(out / "recipe.yaml", out, tmp_path / "again.h5", workers=0)
    again = EchoStore(tmp_path / "again.h5")
    return EchoStore(store), again, [int(key.rsplit("_", 1)[1]) for key in again.table["key"]]


@pytest.mark.parametrize(
    ("change", "masks"),
    [
        (lambda info: info, True),
        (lambda info: replace(info, cohort=COHORTS[info.split], patient=f"{info.patient}/é 1,2"), True),
        (lambda info: replace(info, spacing=None, phase="unknown", view="other"), True),
        (lambda info: replace(info, spacing=(0.3, 1 / 3)), True),
        (lambda info: replace(info, mask_source="none"), False),
    ],
    ids=["as it is", "cohorts and odd names", "nothing known", "fractions", "no masks"],
)
def test_the_round_trip_is_exact(change: Change, masks: bool, tee_store: Path, tmp_path: Path) -> None:
    store, again, places = round_trip(changed(tee_store, tmp_path / "s.h5", change, masks=masks), tmp_path)
    assert sorted(places) == list(range(len(store)))
    for index, place in enumerate(places):
        for found, expected in zip(again.frame(index), store.frame(place), strict=True):
            assert (found == expected).all()
    columns = list(KEPT)
    pd.testing.assert_frame_equal(again.table[columns], store.table[columns].iloc[places].reset_index(drop=True))
    assert again.label_space == store.label_space and again.licence == store.licence
    assert set(again.table["mask_source"]) == {"annotated" if masks else "none"}


def test_sectors_that_differ_come_back_too(tee_store: Path, tmp_path: Path) -> None:
    store, again, places = round_trip(changed(tee_store, tmp_path / "s.h5", lambda i: i, sectors=True), tmp_path)
    for index, place in enumerate(places):
        assert all((again.frame(index)[k] == store.frame(place)[k]).all() for k in range(3))
    files = pd.read_csv(tmp_path / "pictures/frames.csv")["file"]
    for place, file in enumerate(files):
        seen = cv2.imread(str(tmp_path / "pictures/sectors" / file), cv2.IMREAD_UNCHANGED)
        assert (seen == 255 * store.frame(place)[2]).all()


def test_a_frame_without_sector_leaves_no_recipe_and_lost_confidence_is_said(tee_store: Path, tmp_path: Path) -> None:
    read = EchoStore(tee_store)
    for name, kept in (("none.h5", 0), ("unsure.h5", 1)):
        with StoreWriter(tmp_path / name, read.label_space, licence="none", command="c", provenance="{}") as writer:
            for index in range(len(read)):
                image, mask, sector = read.frame(index)
                info = replace(read.info(index), sector_confidence=0.5)
                writer.append(image, mask, sector * (kept or index > 0), info)
    assert "is empty, which cannot be packed" in export_png(tmp_path / "none.h5", tmp_path / "none")
    assert not (tmp_path / "none/recipe.yaml").exists()
    assert not export_png(tmp_path / "unsure.h5", tmp_path / "unsure")
    assert "how sure estimated sectors were" in (tmp_path / "unsure/README.md").read_text()


def test_the_table_says_all_that_the_store_does(tee_store: Path, tmp_path: Path) -> None:
    export_png(tee_store, tmp_path / "p")
    table = pd.read_csv(tmp_path / "p/frames.csv", keep_default_na=False, dtype={"study": str})
    expected = EchoStore(tee_store).table
    for column in expected:
        assert np.array_equal(table[column].to_numpy(), expected[column].to_numpy()), column
    record = json.loads((tmp_path / "p/provenance.json").read_text())
    assert record["from"][0]["hash"] == EchoStore(tee_store).content_hash


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda i: replace(i, origin="mask"), "masks without pictures"),
        (lambda i: replace(i, mask_source="segmenter"), "source segmenter would pass for annotated"),
        (lambda i: replace(i, mask_source="none" if i.view == "ME4C" else "phantom"), "from several sources"),
        (lambda i: replace(i, cohort="base" if i.patient == "train0" else "none"), "several cohorts"),
    ],
)
def test_no_recipe_where_packing_would_say_what_is_not_so(
    change: Change, says: str, tee_store: Path, tmp_path: Path
) -> None:
    store = changed(tee_store, tmp_path / "s.h5", change)
    assert says in export_png(store, tmp_path / "p")
    assert not (tmp_path / "p/recipe.yaml").exists()
    assert says in (tmp_path / "p/README.md").read_text()
    masked = (EchoStore(store).table["mask_source"] != "none").sum()
    assert len(list((tmp_path / "p/masks").rglob("*.png"))) == masked
    assert len(list((tmp_path / "p/images").rglob("*.png"))) == len(EchoStore(store))


def test_generated_frames_are_never_packed_as_acquired_ones(
    tee_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn = generated(tee_store, tmp_path / "g.h5", record={"seen": ["train0"]})
    main(["export", "png", f"--store={drawn}", f"--out={tmp_path / 'p'}"])
    assert "no recipe: packed again, generated frames would pass for acquired ones" in capsys.readouterr().out
    assert json.loads((tmp_path / "p/provenance.json").read_text())["from"][0]["provenance"] == {"seen": ["train0"]}


@pytest.mark.parametrize("patient", [".", "..", "../up", "/root", "a//b", "./a", "a\nb", "x" * 300])
def test_a_name_that_no_folder_can_have_is_refused(patient: str, tee_store: Path, tmp_path: Path) -> None:
    store = changed(tee_store, tmp_path / "s.h5", lambda i: replace(i, patient=patient, split="train"))
    with pytest.raises(UserError, match="has no name for a folder"):
        export_png(store, tmp_path / "p")
    assert not (tmp_path / "p").exists()


def test_what_is_there_stays(tee_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.txt").write_text("precious")
    for store, out, says in (
        (tee_store, tmp_path, "is there already"),
        (tmp_path / "no.h5", tmp_path / "p", "no such echo store"),
    ):
        with pytest.raises(SystemExit):
            main(["export", "png", f"--store={store}", f"--out={out}"])
        said = capsys.readouterr().err
        assert says in said and said.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
