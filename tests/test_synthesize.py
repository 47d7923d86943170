"""``synthesize``: labelled frames for any store of masks, and what is said when they do not fit."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import get_args

import h5py
import numpy as np
import pytest
import torch
from conftest import make_base, write_store
from safetensors.torch import load_file, save_file

from tte_tee.anatomy import TEE
from tte_tee.cli import main
from tte_tee.data.store import EchoStore
from tte_tee.errors import UserError
from tte_tee.models.diffusion import Sampler
from tte_tee.models.folders import load_adapter, load_base
from tte_tee.synthesis.batches import Work
from tte_tee.synthesis.frames import Sampling


def draw(adapter: Path, masks: Path, out: Path, *options: str) -> EchoStore:
    given = [f"--adapter={adapter}", f"--masks={masks}", f"--out={out}", "--steps=4", "--processes=1", *options]
    main(["synthesize", *given])
    return EchoStore(out)


@pytest.fixture(scope="module")
def adapter(lora_run: Path) -> Path:
    return lora_run / "adapter"


@pytest.fixture(scope="module")
def drawn(adapter: Path, tee_store: Path, tmp_path_factory: pytest.TempPathFactory) -> EchoStore:
    return draw(adapter, tee_store, tmp_path_factory.mktemp("drawn") / "s.h5")


def test_every_mask_gets_a_frame_and_stays_its_label(drawn: EchoStore, tee_store: Path) -> None:
    masks = EchoStore(tee_store)
    assert len(drawn) == len(masks)
    assert drawn.label_space == masks.label_space
    for index, (frame, source) in enumerate(zip(drawn, masks, strict=True)):
        np.testing.assert_array_equal(frame[1], source[1])
        np.testing.assert_array_equal(frame[2], source[2])
        assert (frame[0] != source[0]).any() and frame[0].std() > 1
        assert not frame[0][frame[2] == 0].any()  # black outside of the sector, as packed frames are
        info, parent = drawn.info(index), masks.info(index)
        assert (info.origin, info.parent, info.seed) == ("generated", parent.key, 0)
        for name in ("patient", "study", "view", "phase", "split", "spacing"):
            assert getattr(info, name) == getattr(parent, name)
    assert len({frame[0].tobytes() for frame in drawn}) == len(drawn)


def test_provenance_names_adapter_base_masks_and_data(drawn: EchoStore, adapter: Path, tee_store: Path) -> None:
    loaded, masks = load_adapter(adapter), EchoStore(tee_store)
    record = drawn.provenance
    assert record["adapter"] == {"hash": loaded.hash, "base_hash": loaded.record["base_hash"], "method": "lora"}
    assert record["masks"] == {"store": "tee.h5", "hash": masks.content_hash}
    assert record["trained_on"] == loaded.record["data"]
    how = {"sampler": "sde-dpm++", "steps": 4, "guidance": 1.0, "guided_below": 0.8, "seed": 0, "precision": "32"}
    assert record["sampling"] == how
    assert record["commit"] and record["versions"]["torch"]
    assert drawn.command.startswith("python -m tte_tee synthesize --adapter=")
    assert drawn.licence == "synthetic; masks: CC0-1.0"


def test_same_command_same_content(adapter: Path, tee_store: Path, drawn: EchoStore, tmp_path: Path) -> None:
    assert draw(adapter, tee_store, tmp_path / "s.h5").content_hash == drawn.content_hash


@pytest.mark.parametrize("batch_size", [1, 5])
def test_batch_size_changes_speed_and_not_frames(
    adapter: Path, tee_store: Path, drawn: EchoStore, tmp_path: Path, batch_size: int
) -> None:
    other = draw(adapter, tee_store, tmp_path / "s.h5", f"--batch-size={batch_size}")
    assert list(other.table["key"]) == list(drawn.table["key"])
    for first, second in zip(other, drawn, strict=True):
        assert np.abs(first[0].astype(int) - second[0]).max() <= 2


def test_several_samples_of_a_mask_differ(adapter: Path, tee_store: Path, tmp_path: Path) -> None:
    drawn = draw(adapter, tee_store, tmp_path / "one.h5", "--gain=drawn")
    several = draw(adapter, tee_store, tmp_path / "s.h5", "--gain=drawn", "--samples-per-mask=3", "--split=test")
    parents = EchoStore(tee_store).table["key"][EchoStore(tee_store).indices(split="test")]
    assert list(several.table["parent"]) == [key for key in parents for _ in range(3)]
    frames = [frame[0] for frame in several]
    assert len({frame.tobytes() for frame in frames}) == 12
    first = [frame[0] for frame, key in zip(drawn, drawn.table["parent"], strict=True) if key in set(parents)]
    for one, again in zip(frames[::3], first, strict=True):  # more samples leave the first as it was
        assert np.abs(one.astype(int) - again).max() <= 2


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_one_split_alone(adapter: Path, tee_store: Path, tmp_path: Path, split: str) -> None:
    store = draw(adapter, tee_store, tmp_path / "s.h5", f"--split={split}")
    assert set(store.table["split"]) == {split}
    assert len(store) == len(EchoStore(tee_store).indices(split=split))


@pytest.mark.parametrize(
    "option",
    ["--seed=1", "--sampler=dpm++", "--sampler=ddim", "--sampler=ddpm", "--sampler=unipc", "--steps=5", "--guidance=3"],
)
def test_an_option_changes_the_frames(
    adapter: Path, tee_store: Path, drawn: EchoStore, tmp_path: Path, option: str
) -> None:
    other = draw(adapter, tee_store, tmp_path / "s.h5", option)
    assert any((first[0] != second[0]).any() for first, second in zip(other, drawn, strict=True))
    name, _, value = option[2:].partition("=")
    assert str(other.provenance["sampling"][name]).startswith(value)


def test_masks_alone_are_enough(adapter: Path, tmp_path: Path) -> None:
    """Masks of a shape model come without pictures; whatever stands in their place has no influence."""
    stores = []
    for name in ("with", "without"):
        path = write_store(tmp_path / f"{name}.h5", TEE, patients={"test": 2}, blank=name == "without")
        stores.append(draw(adapter, path, tmp_path / f"{name}_drawn.h5"))
    for first, second in zip(*stores, strict=True):
        np.testing.assert_array_equal(first[0], second[0])


def test_a_base_that_moved_is_given_by_name(adapter: Path, tee_store: Path, tiny_base: Path, tmp_path: Path) -> None:
    copy, moved = tmp_path / "adapter", tmp_path / "base"
    shutil.copytree(adapter, copy)
    shutil.copytree(tiny_base, moved)
    record = json.loads((copy / "adapter.json").read_text())
    (copy / "adapter.json").write_text(json.dumps({**record, "base": "/nowhere"}))
    assert len(draw(copy, tee_store, tmp_path / "s.h5", f"--base={moved}", "--split=val")) == 4


def test_masks_are_never_replaced_by_what_is_drawn_for_them(adapter: Path, tee_store: Path, tmp_path: Path) -> None:
    masks = tmp_path / "masks.h5"
    shutil.copy(tee_store, masks)
    link = tmp_path / "link.h5"
    link.symlink_to(masks)
    twin = tmp_path / "twin.h5"
    twin.hardlink_to(masks)
    for out in (masks, link, twin):
        with pytest.raises(SystemExit):
            draw(adapter, masks, out)
    assert masks.read_bytes() == tee_store.read_bytes()


def drop_tensor(folder: Path) -> None:
    path = folder / "adapter_model.safetensors"
    weights = load_file(path)
    weights.pop(min(weights))
    save_file(weights, path)


def pickled(folder: Path) -> None:
    """What peft falls back on: a pickle beside a missing safetensors file."""
    path = folder / "adapter_model.safetensors"
    torch.save(load_file(path), folder / "adapter_model.bin")
    path.unlink()


def one_number(folder: Path) -> None:
    rule = json.loads((folder / "maskr2.json").read_text())
    (folder / "maskr2.json").write_text(json.dumps({**rule, "matrix": [[1.0]]}))


def other_method(folder: Path) -> None:
    record = json.loads((folder / "adapter.json").read_text())
    (folder / "adapter.json").write_text(json.dumps({**record, "method": "dora"}))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (drop_tensor, "holds other weights than its config"),
        (pickled, "adapter_model.safetensors is missing"),
        (lambda folder: (folder / "adapter_config.json").unlink(), "adapter_config.json is missing"),
        (one_number, "MaskR2"),
        (other_method, "method 'dora' is unknown"),
    ],
    ids=["tensor", "pickle", "config", "matrix", "method"],
)
def test_a_damaged_adapter_is_refused_and_never_looked_for_elsewhere(
    damage: Callable[[Path], None], says: str, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(adapter, "ours/adapter")  # the name of a repository on the Hub, too
    damage(tmp_path / "ours" / "adapter")
    with pytest.raises(UserError, match=f"ours/adapter: not a readable adapter .*{says}"):
        load_adapter("ours/adapter")


@pytest.mark.parametrize("file", ["unet/config.json", "unet/diffusion_pytorch_model.safetensors", "scheduler"])
def test_a_base_with_a_part_missing_is_refused(file: str, tmp_path: Path) -> None:
    folder = make_base(tmp_path / "base")
    (folder / file).rename(tmp_path / "away")
    with pytest.raises(UserError, match=r"base: not a readable base .*is missing"):
        load_base(str(folder))


Given = dict[str, Path]


def no_adapter(given: Given, folder: Path) -> list[str]:
    return ["--adapter=nowhere"]


def no_masks(given: Given, folder: Path) -> list[str]:
    return ["--masks=nowhere.h5"]


def other_base(given: Given, folder: Path) -> list[str]:
    return [f"--base={make_base(folder / 'other', seed=3)}"]


def no_base(given: Given, folder: Path) -> list[str]:
    return ["--base=nowhere"]


def other_labels(given: Given, folder: Path) -> list[str]:
    return [f"--masks={given['tte']}"]


def other_size(given: Given, folder: Path) -> list[str]:
    return [f"--masks={write_store(folder / 'small.h5', TEE, size=8)}"]


def no_split(given: Given, folder: Path) -> list[str]:
    return [f"--masks={write_store(folder / 'few.h5', TEE, patients={'test': 1})}", "--split=val"]


def changed(path: Path, column: str, word: str) -> list[str]:
    """The store of masks with one word in place of all that a column says."""
    write_store(path, TEE)
    with h5py.File(path, "r+") as file:
        file[f"frames/{column}"][:] = word
    return [f"--masks={path}"]


def no_labels(given: Given, folder: Path) -> list[str]:
    return changed(folder / "bare.h5", "mask_source", "none")


def other_view(given: Given, folder: Path) -> list[str]:
    return [*changed(folder / "other.h5", "view", "other"), "--split=train"]


def no_room(given: Given, folder: Path) -> list[str]:
    (folder / "file").write_text("")
    return [f"--out={folder / 'file' / 's.h5'}"]


def unknown_device(given: Given, folder: Path) -> list[str]:
    return ["--device=abacus"]


def absent_device(given: Given, folder: Path) -> list[str]:
    return ["--device=cuda:77"]


@pytest.mark.parametrize(
    ("mistake", "says"),
    [
        (no_adapter, "nowhere: no adapter folder"),
        (no_masks, "nowhere.h5: no such echo store"),
        (other_base, "give the right one with --base"),
        (no_base, "its base nowhere is not there; say with --base"),
        (other_labels, "masks hold LV, LV_epi, LA, but"),
        (other_size, "masks are 8x8"),
        (no_split, "no frame in split 'val'; it has 2 in test"),
        (no_labels, "frames have no mask (first: "),
        (other_view, "frames of split 'train' have no plane that the generator knows"),
        (no_room, "cannot write there"),
        (unknown_device, "--device abacus"),
        (absent_device, "--device cuda:77"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_does_not_fit_is_told_in_one_line_and_nothing_is_written(
    mistake: Callable[[Given, Path], list[str]],
    says: str,
    adapter: Path,
    tee_store: Path,
    tte_store: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    words = mistake({"tte": tte_store}, tmp_path)
    with pytest.raises(SystemExit) as stop:
        draw(adapter, tee_store, out / "s.h5", *words)
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("tte_tee synthesize: ") and says in line
    assert not out.exists() or not list(out.iterdir())


@pytest.mark.parametrize(
    "option",
    [
        "--steps=0",
        "--steps=1001",
        "--samples-per-mask=0",
        f"--samples-per-mask={10**10}",
        "--batch-size=-1",
        "--batch-size=x",
        "--sampler=euler",
        "--guided-below=0",
        "--guided-below=1.1",
        "--guidance=nan",
        "--guidance=1e38",
        "--threads=100000",
        "--seed=-1",
        f"--seed={10**20}",
    ],
)
def test_impossible_options_are_refused(
    adapter: Path, tee_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    with pytest.raises(SystemExit) as stop:
        draw(adapter, tee_store, tmp_path / "s.h5", option)
    assert stop.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_the_help_says_the_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["synthesize", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    options = dict(re.findall(r" --([a-z-]+) \S+ ((?:(?! --[a-z-]+ \S+ ).)*)", said.partition("options:")[2]))
    for kind in (Sampling, Work):
        for field in fields(kind):
            if field.default is not None:
                default = f"{field.default:g}" if isinstance(field.default, float) else field.default
                assert f"(default {default}" in options[field.name.replace("_", "-")], field.name
    assert set(get_args(Sampler)) <= set(re.findall(r"[a-z+-]+", options["sampler"]))
