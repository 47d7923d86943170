"""Hostile adapters, bases and segmenters: no pickle is read, no record followed, no weight taken that is no number."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from traps import Trap, edit

from tte_tee.anatomy import TEE
from tte_tee.errors import UserError
from tte_tee.models.folders import load_adapter, load_base
from tte_tee.models.segmenter import load_segmenter


@pytest.fixture
def adapter(lora_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(lora_run / "adapter", tmp_path / "adapter"))


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


@pytest.mark.parametrize(
    ("file", "change", "other"),
    [
        ("adapter_config.json", {"lora_alpha": 64}, True),
        ("adapter_config.json", {"use_rslora": True}, True),
        ("adapter_config.json", {"base_model_name_or_path": "moved"}, False),
        ("adapter.json", {"method": "none"}, True),
        ("adapter.json", {"steps": 7}, False),
    ],
)
def test_the_hash_of_an_adapter_is_of_all_that_decides(adapter: Path, file: str, change: dict, other: bool) -> None:
    targets = json.loads((adapter / "adapter_config.json").read_text())["target_modules"]
    before = load_adapter(adapter).hash
    edit(adapter / "adapter_config.json", target_modules=targets[::-1])  # a set, in any order
    assert load_adapter(adapter).hash == before
    edit(adapter / file, **change)
    assert (load_adapter(adapter).hash != before) == other


def test_a_base_that_was_edited_is_another(adapter: Path, tiny_base: Path, tmp_path: Path) -> None:
    base = Path(shutil.copytree(tiny_base, tmp_path / "base"))
    edit(base / "base.json", provenance={"said": "otherwise"})
    load_adapter(adapter, str(base))
    shape = json.loads((base / "base.json").read_text())["denoiser"]
    edits = {
        "base.json": {"denoiser": {**shape, "structures": ["LV", "LA", "LV_epi"]}},
        "scheduler/scheduler_config.json": {"prediction_type": "epsilon"},
        "unet/config.json": {"act_fn": "relu"},
    }
    for file, change in edits.items():
        kept = (base / file).read_text()
        edit(base / file, **change)
        with pytest.raises(UserError, match="made for base"):
            load_adapter(adapter, str(base))
        (base / file).write_text(kept)


def test_what_a_folder_describes_wrongly_is_said_of_the_folder(adapter: Path, tiny_base: Path, tmp_path: Path) -> None:
    base = Path(shutil.copytree(tiny_base, tmp_path / "base"))
    shape = json.loads((base / "base.json").read_text())["denoiser"]
    edit(base / "base.json", denoiser={**shape, "norm_groups": 7})
    with pytest.raises(UserError, match=f"{base}: not a readable base .*norm_groups: 7"):
        load_base(str(base))
    rule = json.loads((adapter / "maskr2.json").read_text())
    edit(adapter / "maskr2.json", target={"name": "x", "structures": ["nonsense"]})
    with pytest.raises(UserError, match=f"{adapter}: not a readable adapter .*unknown structure nonsense"):
        load_adapter(adapter)
    edit(adapter / "maskr2.json", **rule)


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
