"""Verifying a store: every broken invariant is found, and what may be meant is no error."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from curating import INFO, frames, run, write

from tte_tee.data.curate.verify import verify_store
from tte_tee.data.store import content_hash


def column(name: str, value: object) -> Callable[[h5py.File], None]:
    """Sets a column of the first frame."""

    def change(file: h5py.File) -> None:
        file[f"frames/{name}"][0] = value

    return change


def pixels(name: str, value: int) -> Callable[[h5py.File], None]:
    """Fills an array of the first frame."""

    def change(file: h5py.File) -> None:
        file[name][0] = value

    return change


def instead(name: str, make: Callable[[h5py.File], object]) -> Callable[[h5py.File], None]:
    """Puts something in the place of a dataset."""

    def change(file: h5py.File) -> None:
        made = make(file)
        del file[name]
        file[name] = made

    return change


def moved_outside(file: h5py.File) -> None:
    """Keeps all data of the images in another file."""
    name = f"{file.filename}.raw"
    data = file["images"][:]
    data.tofile(name)
    del file["images"]
    file.create_dataset("images", data.shape, data.dtype, external=[(name, 0, data.nbytes)])


def no_picture(file: h5py.File) -> None:
    file["frames/origin"][0] = "mask"


def no_mask(file: h5py.File) -> None:
    file["frames/mask_source"][0] = "none"


BROKEN = {
    "view": (column("view", "PLAX"), "frame 'p/0': view 'PLAX' is not one of"),
    "phase": (column("phase", "late"), "phase 'late' is not one of"),
    "origin": (column("origin", "drawn"), "origin 'drawn' is not one of"),
    "split": (column("split", "dev"), "split 'dev' is not one of"),
    "cohort": (column("cohort", "mine"), "cohort 'mine' is not one of"),
    "mask source": (column("mask_source", "me"), "mask_source 'me' is not one of"),
    "nameless patient": (column("patient", ""), "patient has no name"),
    "patient in two splits": (column("split", "val"), "patient p stands in more than one split"),
    "patient in two cohorts": (column("cohort", "pool"), "patient p stands in more than one cohort"),
    "held out, yet seen": (
        lambda file: [file["frames/cohort"].__setitem__(n, "confirmatory") for n in (0, 1)],
        "a held-out cohort is in split test alone",
    ),
    "twin": (column("key", "p/1"), "frame key p/1 stands twice"),
    "empty key": (column("key", ""), "the key is empty"),
    "one spacing": (column("spacing_y", np.nan), "only one of the two spacings is known: 1 frame: p/0"),
    "spacing of 0": (column("spacing_x", 0), "a spacing is not a positive number: 1 frame: p/0"),
    "endless spacing": (column("spacing_x", np.inf), "a spacing is not a positive number"),
    "confidence": (column("sector_confidence", 1.5), "confidence of the sector is not within 0 and 1"),
    "no confidence": (column("sector_confidence", np.nan), "confidence of the sector is not within 0 and 1"),
    "seed": (column("seed", -2), "the seed is below -1"),
    "own parent": (column("parent", "p/0"), "its own parent"),
    "no parent": (column("origin", "generated"), "a generated frame names no parent: 1 frame: p/0"),
    "label": (pixels("masks", 9), "label outside of the label space: 1 frame: p/0"),
    "sector value": (pixels("sector", 2), "values other than 0 and 1: 1 frame: p/0"),
    "no sector": (pixels("sector", 0), "the sector is empty: 1 frame: p/0"),
    "mask of nobody": (no_mask, "mask_source is none, yet there is a mask: 1 frame: p/0"),
    "picture of nobody": (no_picture, "origin is mask, yet there is a picture: 1 frame: p/0"),
    "black picture": (pixels("images", 0), "the picture is black, yet origin is not mask: 1 frame: p/0"),
    "one other pixel": (lambda file: file["images"].__setitem__((0, 8, 8), 77), "the content hash is"),
    "licence": (lambda file: file.attrs.update(licence=" "), "the licence is empty"),
    "provenance": (lambda file: file.attrs.update(provenance="[]"), "the provenance is no mapping"),
    "soft link": (
        lambda file: [file.move("images", "x"), file.__setitem__("images", h5py.SoftLink("/x"))],
        "'images' is a link",
    ),
    "external link": (
        lambda file: file.__setitem__("more", h5py.ExternalLink("/nowhere.h5", "x")),
        "'more' is a link to another place",
    ),
    "data elsewhere": (moved_outside, "'images' lies in other files"),
    "column type": (
        instead("frames/seed", lambda file: np.zeros(2)),
        "column 'seed' is float64, and should be int64",
    ),
    "text type": (
        instead("frames/study", lambda file: np.array([b"a", b"b"])),
        "column 'study' is |S1, and should be text",
    ),
    "shape": (instead("masks", lambda file: np.zeros((3, 16, 16), np.uint8)), "differ in number"),
    "type": (instead("masks", lambda file: np.zeros((2, 16, 16), np.int16)), "not uint8"),
    "schema": (lambda file: file.attrs.update(schema_version=1), "not an echo store of schema"),
    "column": (lambda file: file.pop("frames/cohort"), "not a readable echo store"),
    "label space": (lambda file: file.attrs.update(label_space="{"), "not a readable echo store"),
}


def broken(path: Path, change: Callable[[h5py.File], object], *, rehash: bool) -> Path:
    """A sound store of two frames, then changed; ``rehash`` makes the hash fit again where it can."""
    write(path, INFO, replace(INFO, key="p/1"))
    with h5py.File(path, "r+") as file:
        change(file)
        if rehash and set(file["frames"]) and "cohort" in file["frames"]:
            file.attrs["content_hash"] = content_hash(file)
    return path


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_invariant_is_found(tmp_path: Path, name: str) -> None:
    change, says = BROKEN[name]
    path = broken(tmp_path / "f.h5", change, rehash=name != "one other pixel")
    errors = [str(finding) for finding in verify_store(path) if finding.error]
    assert any(says in error for error in errors), errors
    alone = {
        "seed",
        "own parent",
        "licence",
        "provenance",
        "one spacing",
        "no parent",
        "column type",
        "one other pixel",
    }
    assert name not in alone or len(errors) == 1, errors


def test_a_sound_store_is_sound(tee_store: Path, tte_store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("verify", tee_store, tte_store)
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in said if line.startswith("sound")] == [str(tee_store), str(tte_store)]
    assert all("which that view does not cut" in line for line in said if not line.startswith("sound"))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (pixels("masks", 0), "the mask is empty, yet mask_source is not none: 1 frame: p/0"),
        (pixels("masks", 1), "the mask runs past the sector, in all by"),
        (column("view", "A2C"), "A2C shows RV, which that view does not cut: 1 frame: p/0"),
        (lambda file: file.create_dataset("names/of/patients", data=[1]), "'names/of/patients' is no part of a store"),
        (lambda file: file.__setitem__("loop/loop", file["/"]) or file.create_dataset("x", data=1), "'x' is no part"),
        (lambda file: file.attrs.update(command=""), "the command that made it is not recorded"),
    ],
)
def test_what_may_be_meant_is_a_warning(tmp_path: Path, change: Callable[[h5py.File], object], says: str) -> None:
    findings = verify_store(broken(tmp_path / "f.h5", change, rehash=True))
    assert not any(finding.error for finding in findings)
    assert any(says in str(finding) for finding in findings), findings


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def change(file: h5py.File) -> None:
        file["frames/view"][0], file["frames/seed"][1], file["sector"][:] = "PLAX", -5, 0

    bad, good = broken(tmp_path / "bad.h5", change, rehash=False), write(tmp_path / "good.h5", INFO)
    with pytest.raises(SystemExit) as stop:
        run("verify", bad, good)
    said = capsys.readouterr()
    assert stop.value.code == 2
    assert said.err.count("\n") == 1 and "bad.h5 (4 errors)" in said.err and "good.h5" not in said.err
    assert said.out.count("error  ") == 4 and "the sector is empty: 2 frames: p/0, p/1" in said.out
    assert f"sound   {good}" in said.out


@pytest.mark.parametrize("content", [None, b"no HDF5", b"\x89HDF\r\n\x1a\n cut short"])
def test_what_is_no_store_is_not_sound(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "f.h5").write_bytes(content)
    (finding,) = verify_store(tmp_path / "f.h5")
    assert finding.error and "store" in finding.text


def test_a_store_cut_short_is_not_sound(tmp_path: Path) -> None:
    path = write(tmp_path / "f.h5", *frames("p", 40))
    os.truncate(path, path.stat().st_size // 2)
    assert any(finding.error for finding in verify_store(path))


def test_a_damaged_header_of_an_object_is_not_sound(tmp_path: Path) -> None:
    path = write(tmp_path / "f.h5", *frames("p", 4))
    with h5py.File(path, "a") as file:
        header = h5py.h5o.get_info(file.create_dataset("more", data=[1]).id).addr
    data = bytearray(path.read_bytes())
    data[header] ^= 0xFF
    path.write_bytes(data)
    assert any(finding.error for finding in verify_store(path))


@pytest.mark.parametrize("error", [KeyError, IndexError, TypeError, RuntimeError])
def test_whatever_reading_raises_is_a_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def damaged(*_: object) -> str:
        raise error("Unable to open object\nand more lines")

    monkeypatch.setattr("tte_tee.data.curate.verify.content_hash", damaged)
    (finding,) = verify_store(write(tmp_path / "f.h5", INFO))
    assert finding.error and "cannot be read to its end" in finding.text and "\n" not in finding.text
