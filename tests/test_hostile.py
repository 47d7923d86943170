"""Hostile input: files and configs that would run code, fetch from elsewhere, leave their folder or never end."""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
import yaml
from conftest import Train, write_store
from folders import RECIPE, refused, write_frame, write_image
from safetensors.torch import load_file, save_file

from tte_tee.anatomy import TEE
from tte_tee.cli import main
from tte_tee.data.store import COLUMNS, EchoStore
from tte_tee.errors import UserError
from tte_tee.models.folders import load_adapter, load_base
from tte_tee.models.segmenter import load_segmenter

TRAINING = ("fit", "validate", "test", "predict")


class Trap:
    """Whose unpickling leaves a mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """A file that is there once hostile code ran."""
    return tmp_path / "it_ran"


Ends = Callable[..., str]


@pytest.fixture
def ends(capsys: pytest.CaptureFixture[str], mark: Path) -> Ends:
    """Runs a command that must be refused in one line, and run no code of the input's."""

    def run(call: Callable[[], object]) -> str:
        with pytest.raises(SystemExit) as stop:
            call()
        assert stop.value.code == 2
        said = capsys.readouterr().err
        assert "Traceback" not in said and said.startswith("tte_tee ") and said.count("\n") == 1, said
        assert not mark.exists()
        return said

    return run


@pytest.mark.parametrize("command", TRAINING)
@pytest.mark.parametrize("kind", ["pickle", "torch", "checkpoint"])
def test_a_checkpoint_with_code_is_refused(
    adapt: Train, tmp_path: Path, mark: Path, ends: Ends, command: str, kind: str
) -> None:
    path = tmp_path / "last.ckpt"
    if kind == "pickle":
        path.write_bytes(pickle.dumps(Trap(mark)))
    else:
        held = {"state_dict": {}, "pytorch-lightning_version": "2", "x": Trap(mark)}
        torch.save(held if kind == "checkpoint" else Trap(mark), path)
    words = (f"--ckpt_path={path}", "--weights_only=false")
    assert "not a readable checkpoint" in ends(lambda: adapt(tmp_path, *words, command=command))


@pytest.fixture
def foreign(tmp_path: Path, mark: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of nobody's whose import leaves a mark."""
    text = f"import lightning\nfrom pathlib import Path\nPath({str(mark)!r}).touch()\n"
    (tmp_path / "foreign_code.py").write_text(f"{text}class Mine(lightning.Callback):\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    return "foreign_code.Mine"


def as_config(path: Path, config: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.mark.parametrize(
    "config",
    [
        lambda name: {"model": {"class_path": name}},
        lambda name: {"data": name},
        lambda name: {"trainer": {"callbacks": [{"class_path": name}]}},
        lambda name: {"trainer": {"logger": {"class_path": name}}},
        lambda name: {"optimizer": {"class_path": name}},
        lambda name: {"trainer": {"callbacks": {"class_path": "LambdaCallback", "init_args": {"on_fit_start": name}}}},
        lambda name: {"allow_code": True, "model": name},
    ],
)
def test_a_config_imports_no_foreign_code(
    config: Callable[[str], dict], tmp_path: Path, foreign: str, ends: Ends
) -> None:
    path = as_config(tmp_path / "c.yaml", config(foreign))
    for command in TRAINING:
        said = ends(lambda command=command: main([command, f"--config={path}"]))
        assert f"{foreign} is no code of tte_tee, lightning, torch.optim" in said or "allow_code" in said


@pytest.mark.parametrize("option", ["--model", "--data", "--model.class_path", "--trainer.logger", "--optimizer"])
@pytest.mark.parametrize("name", ["os.system", "subprocess.Popen", "torch.hub.load", "builtins.eval"])
def test_an_option_imports_no_foreign_code(option: str, name: str, ends: Ends) -> None:
    assert "--allow-code" in ends(lambda: main(["fit", f"{option}={name}"]))


def test_foreign_code_runs_where_it_is_allowed(
    adapt: Train, tmp_path: Path, foreign: str, mark: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from jsonargparse import _common

    monkeypatch.setitem(_common.parsing_settings, "import_path_verdicts", {})  # as in a process that has just begun
    config = as_config(tmp_path / "c.yaml", {"trainer": {"callbacks": [{"class_path": foreign}]}})
    assert (adapt(tmp_path, f"--config={config}", "--allow-code") / "adapter").is_dir()
    assert mark.exists()


@pytest.mark.parametrize("command", TRAINING)
def test_help_says_what_a_config_may_name(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    assert "--allow-code" in capsys.readouterr().out


@pytest.mark.parametrize(
    "text",
    [
        "model: !!python/object/apply:os.system [touch it_ran]",
        "a: " + "[" * 5000 + "]" * 5000,
        "a: " + "{a: " * 2000 + "1" + "}" * 2000,
        "a: &a [x, x]\n"
        + "".join(f"{n}: &{n} [{', '.join(['*' + p] * 9)}]\n" for p, n in zip("abcdefg", "bcdefgh", strict=True)),
        "\0",
        "model: {class_path: [TEEAdapter]}",
    ],
    ids=["tag", "lists", "mappings", "aliases", "null", "list"],
)
def test_a_config_that_is_no_config_is_one_line(text: str, tmp_path: Path, ends: Ends) -> None:
    (tmp_path / "c.yaml").write_text(text)
    ends(lambda: main(["fit", f"--config={tmp_path / 'c.yaml'}"]))


def test_a_config_that_is_no_text_is_one_line(tmp_path: Path, ends: Ends) -> None:
    (tmp_path / "c.yaml").write_bytes(b"seed_everything: \xdf\xff")
    assert "no UTF-8 text" in ends(lambda: main(["fit", f"--config={tmp_path / 'c.yaml'}"]))


def test_no_config_comes_from_the_network(ends: Ends) -> None:
    assert "does not exist" in ends(lambda: main(["fit", "--config=https://127.0.0.1:9/c.yaml"]))


@pytest.mark.parametrize("text", ["[" * 3000 + "]" * 3000, "a: &a [x]\nb: [" + "*a, " * 50 + "]"], ids=["deep", "many"])
def test_a_recipe_that_unfolds_without_end_is_refused(root: Path, text: str) -> None:
    from tte_tee.data.pack import pack_folder

    (root / "recipe.yaml").write_text(text)
    with pytest.raises(UserError, match="nested deeper than 64 levels, or has more than 20 aliases"):
        pack_folder(root / "recipe.yaml", root, root.parent / "f.h5", workers=0)


@pytest.fixture
def adapter(lora_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(lora_run / "adapter", tmp_path / "adapter"))


def edit(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.mark.parametrize(
    "values",
    [
        {"peft_type": "XLORA", "adapters": {"0": "someone/adapter"}},
        {"megatron_config": {"x": 1}, "megatron_core": "foreign_code"},
        {"target_modules": "(a+)+$"},
        {"r": 10**9},
        {"r": -1},
        {"lora_alpha": "x"},
        {"init_lora_weights": "eva"},
        {"layer_replication": [[0, 10**6]]},
        {"modules_to_save": ["conv_in"]},
        {"runtime_config": {}},
    ],
    ids=lambda values: ", ".join(values),
)
def test_an_adapter_config_asks_for_nothing_but_lora(adapter: Path, values: dict, foreign: str, mark: Path) -> None:
    edit(adapter / "adapter_config.json", **values)
    with pytest.raises(UserError, match="adapter: not a readable adapter") as error:
        load_adapter(adapter)
    assert "\n" not in str(error.value)
    assert not mark.exists()


def test_what_an_adapter_config_only_says_is_not_followed(adapter: Path, foreign: str, mark: Path) -> None:
    mapping = {"base_model_class": "Mine", "parent_library": "foreign_code"}
    edit(adapter / "adapter_config.json", auto_mapping=mapping, base_model_name_or_path="someone/model", revision="x")
    load_adapter(adapter)
    assert not mark.exists()


@pytest.mark.parametrize("where", ["adapter", "rule", "base"])
def test_weights_that_are_no_numbers_are_refused(adapter: Path, tiny_base: Path, tmp_path: Path, where: str) -> None:
    base = Path(shutil.copytree(tiny_base, tmp_path / "base"))
    if where == "rule":
        matrix = json.loads((adapter / "maskr2.json").read_text())["matrix"]
        matrix[0][0] = float("nan")
        edit(adapter / "maskr2.json", matrix=matrix)
    else:
        weights = {
            "adapter": adapter / "adapter_model.safetensors",
            "base": base / "unet/diffusion_pytorch_model.safetensors",
        }[where]
        held = load_file(weights)
        next(iter(held.values())).view(-1)[0] = torch.inf
        save_file(held, weights, metadata={"format": "pt"})
    with pytest.raises(UserError, match="a weight is no finite number"):
        load_base(str(base)) if where == "base" else load_adapter(adapter)


@pytest.mark.parametrize("beside", [True, False], ids=["beside the weights", "in their place"])
def test_a_pickle_in_an_adapter_is_never_read(adapter: Path, mark: Path, beside: bool) -> None:
    torch.save(Trap(mark), adapter / "adapter_model.bin")
    if beside:
        load_adapter(adapter)
    else:
        (adapter / "adapter_model.safetensors").unlink()
        with pytest.raises(UserError, match=r"adapter_model\.safetensors is missing"):
            load_adapter(adapter)
    assert not mark.exists()


def test_a_pickle_in_the_place_of_weights_is_refused(tiny_base: Path, tmp_path: Path, mark: Path) -> None:
    base = Path(shutil.copytree(tiny_base, tmp_path / "base"))
    weights = base / "unet/diffusion_pytorch_model.safetensors"
    weights.unlink()
    for suffix in (".bin", ".safetensors"):
        torch.save(Trap(mark), weights.with_suffix(suffix))
        with pytest.raises(UserError, match="base: not a readable base"):
            load_base(str(base))
    assert not mark.exists()


def test_a_pickle_in_the_place_of_a_segmenter_is_refused(tmp_path: Path, mark: Path) -> None:
    network = {"network": "unet", "channels": [4, 8, 8], "dropout": 0.0}
    space = {"name": "tee", "structures": TEE.structures}
    values = {"network": network, "label_space": space, "image_size": [16, 16], "provenance": {}}
    (tmp_path / "segmenter.json").write_text(json.dumps(values))
    torch.save(Trap(mark), tmp_path / "segmenter.safetensors")
    with pytest.raises(UserError, match="not a readable segmenter"):
        load_segmenter(tmp_path)
    assert not mark.exists()


@pytest.mark.parametrize(
    "values",
    [
        {"block_out_channels": [10**9, 10**9]},
        {"layers_per_block": 10**9},
        {"layers_per_block": 900},
        {"cross_attention_dim": 10**12},
        {"down_block_types": ["os.system"]},
        {"_class_name": "Trap", "auto_map": {"AutoModel": "foreign_code.Mine"}},
        {"num_class_embeds": "x"},
    ],
    ids=lambda values: ", ".join(values),
)
def test_a_network_config_that_its_weights_do_not_bear_out(
    tiny_base: Path, tmp_path: Path, values: dict, foreign: str, mark: Path
) -> None:
    base = Path(shutil.copytree(tiny_base, tmp_path / "base"))
    edit(base / "unet/config.json", **values)
    try:
        load_base(str(base))  # what names other classes is not followed
    except UserError as error:
        assert "\n" not in str(error)
    else:
        assert "auto_map" in values
    assert not mark.exists()


@pytest.mark.parametrize("name", ["adapter.json", "maskr2.json", "adapter_config.json"])
@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000 + "]" * 100_000,
        '{"a":' * 50_000 + "1" + "}" * 50_000,
        "1" * 10_000,
        '{"target": {"name": "x", "structures": ' + json.dumps(["LV"] * 10**5) + "}}",
        '{"r": NaN, "base": 3, "method": [], "source": 1}',
        "null",
        "",
    ],
    ids=["lists", "mappings", "digits", "structures", "kinds", "null", "empty"],
)
def test_absurd_records_are_one_line(adapter: Path, name: str, text: str) -> None:
    (adapter / name).write_text(text)
    with pytest.raises(UserError) as error:
        load_adapter(adapter)
    assert "\n" not in str(error.value)


def test_a_record_without_end_is_not_read(adapter: Path) -> None:
    with (adapter / "adapter.json").open("w") as file:
        file.truncate(2**30)
    with pytest.raises(UserError, match="larger than 64 MiB"):
        load_adapter(adapter)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return write_store(tmp_path / "f.h5", TEE, patients={"train": 2})


def external_link(file: h5py.File, other: Path) -> None:
    del file["images"]
    file["images"] = h5py.ExternalLink(str(other), "/images")


def soft_link(file: h5py.File, other: Path) -> None:
    file.move("images", "mine")
    file["images"] = h5py.SoftLink("/mine")


def link_of_a_column(file: h5py.File, other: Path) -> None:
    del file["frames/patient"]
    file["frames/patient"] = h5py.ExternalLink(str(other), "/frames/patient")


def link_of_all_columns(file: h5py.File, other: Path) -> None:
    del file["frames"]
    file["frames"] = h5py.ExternalLink(str(other), "/frames")


def virtual(file: h5py.File, other: Path) -> None:
    shape = file["images"].shape
    layout = h5py.VirtualLayout(shape, np.uint8)
    layout[:] = h5py.VirtualSource(str(other), "images", shape)
    del file["images"]
    file.create_virtual_dataset("images", layout)


def stored_elsewhere(file: h5py.File, other: Path) -> None:
    shape = file["images"].shape
    del file["images"]
    file.create_dataset("images", shape, np.uint8, external=[(str(other), 0, int(np.prod(shape)))])


def packed(file: h5py.File, other: Path) -> None:
    images = file["images"][:]
    del file["images"]
    file.create_dataset("images", data=images, compression="gzip")


def long_texts(file: h5py.File, other: Path) -> None:
    count = len(file["images"])
    del file["frames/study"]
    file.create_dataset("frames/study", (count,), "S1000000000", chunks=(1,))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (external_link, "'images' is a link"),
        (soft_link, "'images' is a link"),
        (link_of_a_column, "'frames/patient' is a link"),
        (link_of_all_columns, "'frames' is a link"),
        (virtual, "'images' lies in other files"),
        (stored_elsewhere, "'images' lies in other files"),
        (packed, "'images' is compressed"),
        (long_texts, "column 'study' is"),
    ],
)
def test_a_store_that_reads_other_files_or_unfolds_is_refused(
    store: Path, tmp_path: Path, change: Callable[[h5py.File, Path], None], says: str
) -> None:
    other = write_store(tmp_path / "other.h5", TEE, patients={"train": 2})
    with h5py.File(store, "r+") as file:
        change(file, other)
    with pytest.raises(UserError, match=says):
        EchoStore(store)


def without_end(store: Path, text: bytes) -> None:
    """Spoils the collection that holds a text: HDF5 itself would step by 0 bytes for ever."""
    data = store.read_bytes()
    place = data.rindex(b"GCOL", 0, data.index(text)) + 16
    size = int.from_bytes(data[place + 8 : place + 16], "little")
    free = place + 16 + (size + 7) // 8 * 8
    store.write_bytes(data[:free] + bytes(16) + data[free + 16 :])


@pytest.mark.parametrize("where", ["column", "attribute", "schema", "fill value"])
def test_texts_without_end_are_refused(store: Path, where: str) -> None:
    text, long = b"train0/ME4C", "a long text, with a collection for itself. " * 90
    if where != "column":
        text = long.encode()
        with h5py.File(store, "r+", libver="earliest") as file:
            if where == "fill value":
                count = len(file["images"])
                del file["frames/study"]
                file.create_dataset("frames/study", (count,), h5py.string_dtype(), fillvalue=long, chunks=(1,))
            else:
                file.attrs["provenance" if where == "attribute" else "schema_version"] = long
    without_end(store, text)
    with pytest.raises(UserError, match=r"a collection of texts is damaged|filled with a value of its own"):
        EchoStore(store)


@pytest.mark.parametrize("where", ["of a later version", "behind a block of the user's", "of another kind"])
def test_attributes_that_cannot_be_checked_are_refused(store: Path, tmp_path: Path, where: str) -> None:
    other = tmp_path / "other.h5"
    options = {"userblock_size": 512} if "block" in where else {}
    with h5py.File(store) as file, h5py.File(other, "w", libver="v110" if "later" in where else None, **options) as to:
        for name in file:
            file.copy(name, to)
        to.attrs.update(file.attrs)
        if "kind" in where:
            to.attrs["licence"] = np.array(["a", "b"], dtype=object)
    with pytest.raises(UserError, match="not those of a store"):
        EchoStore(other)


def test_columns_hold_what_they_declare(store: Path) -> None:
    """A store that links nowhere is still read: the check is of links, not of names."""
    assert list(EchoStore(store).table) == list(COLUMNS)


def test_patterns_stay_in_their_folder(root: Path) -> None:
    write_frame(root.parent / "beside", "p9_2CH_ED.png", "p9_2CH_ED_gt.png")
    masks = {"masks": "../beside/{patient}_{view}_{phase}_gt.png"}
    assert "has no mask" in refused(root, {**RECIPE, **masks})
    absolute = {"masks": f"{root.parent}/beside/{{patient}}_{{view}}_{{phase}}_gt.png"}
    assert "has no mask" in refused(root, {**RECIPE, **absolute})


def test_a_folder_of_pictures_that_links_outside_is_refused(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tte_tee.tasks import segment

    write_image(tmp_path / "secret.png", np.full((32, 32), 10, np.uint8))
    (root / "a.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(UserError, match=r"a\.png: leads outside of"):
        list(segment._frames([root]))
