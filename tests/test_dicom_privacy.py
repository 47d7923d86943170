"""DICOM ultrasound: nobody's name gets through, and a damaged file is packed or named."""

import io
import stat
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from dicoms import COLUMNS, KINDS, LEFT, MASKED, RECIPE, ROWS, TOP, expected, grey_cine, make, save, screen, wedge
from folders import pack, refused, write_image
from pydicom.dataset import FileDataset

from tte_tee.cli import main
from tte_tee.data.importers.contract import Clip
from tte_tee.data.importers.identity import load_salt
from tte_tee.data.pack import fingerprint, pack_folder
from tte_tee.data.store import EchoStore
from tte_tee.errors import UserError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    folder.mkdir()
    return folder


def test_patients_and_splits(root: Path) -> None:
    for folder, patient in (("A4C", "p1"), ("A4C", "p2"), ("A2C", "p1")):
        save(root / folder / f"{patient}.dcm", grey_cine(PatientID=patient))
    (root / "splits.csv").write_text("patient,split\np1,train\np2,test\n")
    changes = {"images": r"(?P<view>A4C|A2C)/.*\.dcm", "view": None, "views": {"A4C": "A4C", "A2C": "A2C"}}
    store = pack(root, RECIPE, split={"csv": "splits.csv"}, **changes)
    table = store.table
    assert table["patient"].nunique() == 2 and table["study"].nunique() == 1
    assert sorted(table.groupby("patient")["view"].apply(sorted).map(tuple)) == [("A2C", "A4C"), ("A4C",)]
    assert sorted(zip(table["view"], table["split"], strict=True)) == [
        ("A2C", "train"),
        ("A4C", "test"),
        ("A4C", "train"),
    ]


def test_a_patient_without_an_id(root: Path) -> None:
    save(root / "anna/1.dcm", grey_cine(PatientID=None))
    save(root / "anna/2.dcm", grey_cine(PatientID="  "))
    save(root / "bert/1.dcm", grey_cine(PatientID="anna"))
    assert "1.dcm: has no Patient ID" in refused(root, RECIPE)
    store = pack(root, RECIPE, images=r"(?P<folder>\w+)/\d\.dcm", patient="{folder}")
    assert store.table["patient"].nunique() == 1  # what the folder says of one the tag says of the other


def test_a_patient_in_two_splits(root: Path) -> None:
    for folder in ("train", "test"):
        save(root / folder / "a.dcm", grey_cine())
    split = {"group": "folder", "splits": {"train": "train", "test": "test"}}
    said = refused(root, RECIPE, images=r"(?P<folder>\w+)/a\.dcm", split=split)
    assert "train/a.dcm: is of the patient of test/a.dcm, yet in another split" in said


def test_the_same_image_twice(root: Path) -> None:
    file = grey_cine(2)
    save(root / "a.dcm", file)
    save(root / "b.dcm", file)
    assert "b.dcm: is the same image as a.dcm" in refused(root, RECIPE)


def test_salt(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    save(root / "a.dcm", grey_cine())
    salt = root.parent / "toy.salt"
    first = pack(root, RECIPE)
    (line,) = caplog.messages
    assert str(salt) in line and "secret" in line
    assert len(salt.read_bytes()) == 32 and stat.S_IMODE(salt.stat().st_mode) == 0o600
    assert pack(root, RECIPE).content_hash == first.content_hash
    assert len(caplog.messages) == 1
    salt.rename(root.parent / "other.salt")
    again = pack(root, RECIPE, salt="other.salt")
    assert again.content_hash == first.content_hash
    other = pack(root, RECIPE)
    for column in ("patient", "study", "key"):
        assert set(other.table[column]).isdisjoint(first.table[column])


def test_another_salt_or_split_takes_up_no_parts(root: Path) -> None:
    save(root / "a.dcm", grey_cine())
    clip = Clip("a.dcm", "hash", "train", "none", ("a.dcm",))
    others = replace(clip, patient="other"), replace(clip, split="test"), replace(clip, cohort="base")
    assert len({fingerprint([], root, [each]) for each in (clip, *others)}) == 4


def test_bad_salt(root: Path) -> None:
    save(root / "a.dcm", grey_cine())
    (root.parent / "toy.salt").write_bytes(b"short")
    assert "toy.salt: a salt has 32 bytes" in refused(root, RECIPE)
    assert "the salt cannot be read or made" in refused(root, RECIPE, salt="nowhere/toy.salt")
    with pytest.raises(UserError, match="cannot be read"):
        load_salt(root)


SECRETS = {
    "PatientName": "Zephyrine^Quattlebaum",
    "PatientID": "QX-7741-ZEPHYR",
    "PatientBirthDate": "19370211",
    "PatientSex": "F",
    "PatientAddress": "11 Wisteria Lane",
    "OtherPatientIDs": "SSN559102",
    "InstitutionName": "Oakhollow Infirmary",
    "InstitutionalDepartmentName": "Cardio Ward Nine",
    "ReferringPhysicianName": "Brannagh^Ulrich",
    "PerformingPhysicianName": "Vandermeer^Ilse",
    "OperatorsName": "Sonographer^Tess",
    "AccessionNumber": "ACC990817",
    "StudyDate": "20190704",
    "StudyID": "STU4471",
    "StudyInstanceUID": "1.2.840.99887766.1",
    "SeriesInstanceUID": "1.2.840.99887766.2",
    "DeviceSerialNumber": "SN5512Q",
    "StationName": "ECHOROOM7",
    "ImageComments": "daughter of Quattlebaum senior",
}


def identified(frames: int = 3) -> FileDataset:
    """A cine with secrets in its tags, a private tag and an overlay, and text burnt in beside region and sector."""
    cine = np.stack([screen(frame=i) for i in range(frames)])
    cine[:, 2:12, 2:150] = 255  # beside the region
    cine[:, TOP + 4 : TOP + 12, LEFT + 2 : LEFT + 24] = 254  # in it, beside the sector
    file = make(cine, tags=SECRETS)
    file.SOPInstanceUID = "1.2.840.99887766.3"
    block = file.private_block(0x0019, "OAKHOLLOW PRIVATE", create=True)
    block.add_new(1, "LO", "Zephyrine private")
    file.add_new(0x60000010, "US", ROWS)
    file.add_new(0x60000011, "US", COLUMNS)
    file.add_new(0x60000040, "CS", "G")
    file.add_new(0x60000050, "SS", [1, 1])
    file.add_new(0x60000100, "US", 1)
    file.add_new(0x60000102, "US", 0)
    file.add_new(0x60000022, "LO", "Quattlebaum overlay")
    file.add_new(0x60003000, "OW", b"\xff" * (ROWS * COLUMNS // 8))
    return file


@pytest.mark.parametrize("labelled", [False, True])
def test_no_identity_reaches_the_store(tmp_path: Path, labelled: bool) -> None:
    root = tmp_path / "Oakhollow Infirmary" / "root"
    stem = "Quattlebaum_Zephyrine/QX-7741-ZEPHYR 19370211"
    save(root / f"{stem}.dcm", identified())
    save(root / "Quattlebaum_Zephyrine/broken.dcm", identified()).write_bytes(b"Quattlebaum")
    if labelled:
        write_image(root / f"{stem}_01.png", np.full((ROWS, COLUMNS), 9, np.uint8))
    recipe, out = root.parent / "Quattlebaum.yaml", tmp_path / "out" / "Zephyrine.h5"
    base = {**(MASKED if labelled else RECIPE), "images": r"(?P<who>[^/]+)/[^/]+\.dcm", "patient": "{who}"}
    recipe.write_text(yaml.safe_dump(base))
    pack_folder(recipe, root, out, skip_bad=True, workers=0)

    assert [path.name for path in out.parent.iterdir()] == [out.name]  # no parts either
    content = out.read_bytes()
    words = {word for text in SECRETS.values() for word in (text, *text.replace("^", " ").split()) if len(word) > 3}
    words |= {"Quattlebaum", "Zephyrine", "broken", "99887766", "private", "overlay", ".dcm", str(tmp_path)}
    for word in words:
        for text in (word, word.lower(), word.upper()):
            for encoding in ("utf-8", "utf-16-le", "utf-16-be", "latin-1"):
                assert text.encode(encoding) not in content, word
        assert word.lower().encode() not in content.lower(), word

    store = EchoStore(out)
    assert len(store) == (1 if labelled else 3)
    for i in range(len(store)):
        image, _, sector = store.frame(i)
        assert not image[sector == 0].any()
        assert not image[4:12, 2:24].any() and image.max() < 200
        number = int(store.table["key"].iloc[i].split("/")[1])
        assert np.array_equal(image, expected(number) * sector)  # nor does the overlay show


def mutations(data: bytes, count: int, header: int) -> list[bytes]:
    """Seeded damage: cut short, bytes changed in the header, bytes changed anywhere."""
    rng = np.random.default_rng(len(data))
    found = []
    for i in range(count):
        bad = bytearray(data[: rng.integers(0, len(data))] if i % 4 == 0 else data)
        reach = min(len(bad), header if i % 4 < 3 else len(bad))
        for _ in range(0 if i % 8 == 0 or not reach else rng.integers(1, 6)):
            bad[rng.integers(0, reach)] = rng.integers(0, 256)
        found.append(bytes(bad))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["monochrome2", "rle_rgb", "jpeg_ybr", "palette"])
def test_damaged_files_are_packed_or_named(root: Path, kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    stream = io.BytesIO()
    KINDS[kind](np.stack([screen(frame=i) for i in range(2)])).save_as(stream)
    save(root / "good.dcm", grey_cine(PatientID="good"))
    recipe, out = root.parent / "recipe.yaml", root.parent / "out" / "f.h5"
    recipe.write_text(yaml.safe_dump({**RECIPE, "sector": {"file": "cone.png"}}))  # estimates take longer
    write_image(root / "cone.png", wedge())
    load_salt(root.parent / "toy.salt")
    capfd.readouterr()
    bad_ones = 0
    for data in mutations(stream.getvalue(), 40, 1200):
        (root / "bad.dcm").write_bytes(data)
        summary = pack_folder(recipe, root, out, skip_bad=True, workers=0)
        assert [path.name for path in out.parent.iterdir()] == ["f.h5"]
        assert summary.frames == len(EchoStore(out)) >= 1
        out.unlink()
        if summary.problems:
            (line,) = summary.problems
            assert str(root / "bad.dcm") in line and "\n" not in line
            bad_ones += 1
            with pytest.raises(UserError) as caught:
                pack_folder(recipe, root, out, workers=0)
            assert str(caught.value) == line and not list(out.parent.iterdir())
    assert bad_ones > 5
    assert capfd.readouterr().err == ""


def test_one_line_on_the_command_line(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    save(root / "a.dcm", grey_cine()).write_bytes(b"")
    recipe = root.parent / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(RECIPE))
    load_salt(root.parent / "toy.salt")
    capfd.readouterr()
    with pytest.raises(SystemExit):
        main(["data", "pack", str(recipe), "--root", str(root), "--out", str(root.parent / "f.h5")])
    (line,) = capfd.readouterr().err.splitlines()
    assert "a.dcm" in line
