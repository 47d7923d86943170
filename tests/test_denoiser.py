"""The denoiser: what drives it, where its weights are, and that plain diffusers reads them."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from torch import Tensor, nn

from tte_tee.anatomy import PLANES
from tte_tee.errors import UserError
from tte_tee.models.conditioning import encode_condition, mask_tokens, token_width, without_mask
from tte_tee.models.denoiser import Denoiser, DenoiserConfig
from tte_tee.models.diffusion import noise_schedule
from tte_tee.models.folders import load_base, save_base

CONFIG = DenoiserConfig(
    image_size=16, channels=(8, 16), heads=(1, 2), attention=(False, True), patch=4, token_channels=8, norm_groups=4
)
WAYS = ("tokens", "concat", "both")


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def inputs(batch: int = 2) -> dict[str, Tensor]:
    structures = torch.zeros(batch, 3, 16, 16)
    structures[:, 0, 2:7, 3:8] = 1
    sector = torch.ones(batch, 1, 16, 16)
    sector[..., :3] = 0
    return {
        "noisy": torch.randn(batch, 1, 16, 16),
        "timestep": torch.arange(batch) * 100,
        "condition": encode_condition(structures, sector),
        "plane": torch.zeros(batch, dtype=torch.long),
    }


def moved_mask(condition: Tensor) -> Tensor:
    return torch.cat([condition[:, :-1].flip(-1), condition[:, -1:]], 1)


def moved_sector(condition: Tensor) -> Tensor:
    return torch.cat([condition[:, :-1], condition[:, -1:].flip(-1)], 1)


def emptied(condition: Tensor) -> Tensor:
    return torch.cat([torch.full_like(condition[:, :-1], -1), condition[:, -1:]], 1)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("size", [16, 32])
def test_output_has_the_shape_of_the_frame(way: str, size: int) -> None:
    denoiser = Denoiser(replace(CONFIG, conditioning=way, image_size=size))
    given = (torch.randn(3, 1, size, size), torch.tensor([0, 500, 999]), torch.zeros(3, 4, size, size))
    assert denoiser(*given, torch.tensor([0, 1, 0])).shape == (3, 1, size, size)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("change", [moved_mask, moved_sector, without_mask], ids=["mask", "sector", "mask withheld"])
def test_every_part_of_the_condition_drives_the_output(way: str, change: Callable[[Tensor], Tensor]) -> None:
    denoiser, given = Denoiser(replace(CONFIG, conditioning=way)).eval(), inputs()
    changed = denoiser(**{**given, "condition": change(given["condition"])})
    assert (denoiser(**given) - changed).abs().max() > 1e-4


@pytest.mark.parametrize("key", ["plane", "timestep"])
def test_plane_and_time_drive_the_output(key: str) -> None:
    denoiser, given = Denoiser(CONFIG).eval(), inputs()
    assert (denoiser(**given) - denoiser(**{**given, key: given[key] + 1})).abs().max() > 1e-4


@pytest.mark.parametrize("way", WAYS)
def test_no_mask_is_not_an_empty_mask(way: str) -> None:
    denoiser, given = Denoiser(replace(CONFIG, conditioning=way)).eval(), inputs()
    outputs = [denoiser(**{**given, "condition": f(given["condition"])}) for f in (without_mask, emptied)]
    assert (outputs[0] - outputs[1]).abs().max() > 1e-4


def seen_by(module: nn.Module, denoiser: Denoiser, given: dict[str, Tensor]) -> Tensor:
    seen = []
    handle = module.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    denoiser(**given)
    handle.remove()
    return seen[0]


@pytest.mark.parametrize(
    ("way", "change", "channels_see", "tokens_see"),
    [
        ("tokens", moved_mask, False, True),
        ("concat", moved_mask, True, False),
        ("both", moved_mask, True, True),
        ("tokens", moved_sector, False, True),
        ("concat", moved_sector, True, True),
        ("both", moved_sector, True, True),
    ],
)
def test_the_condition_enters_where_the_config_says(
    way: str, change: Callable[[Tensor], Tensor], channels_see: bool, tokens_see: bool
) -> None:
    denoiser, given = Denoiser(replace(CONFIG, conditioning=way)), inputs()
    changed = {**given, "condition": change(given["condition"])}
    for module, sees in ((denoiser.unet.conv_in, channels_see), (denoiser.unet.encoder_hid_proj, tokens_see)):
        same = torch.equal(seen_by(module, denoiser, given), seen_by(module, denoiser, changed))
        assert same != sees


def test_null_flags_withhold_the_mask_and_keep_the_sector() -> None:
    structures, sector = torch.rand(2, 3, 16, 16), torch.rand(2, 1, 16, 16)
    condition = encode_condition(structures, sector)
    some = encode_condition(structures, sector, torch.tensor([True, False]))
    assert torch.equal(some[0], without_mask(condition)[0])
    assert torch.equal(some[1], condition[1])
    assert torch.equal(condition, 2 * torch.cat([structures, sector], 1) - 1)


def test_a_token_is_the_pixels_of_its_patch_and_its_place() -> None:
    condition = torch.arange(2 * 4 * 16 * 16).view(2, 4, 16, 16).float()
    tokens = mask_tokens(condition, 4)
    assert tokens.shape == (2, 16, token_width(4, 4))
    patch = condition[1, :, 4:8, 8:12]  # second row of patches, third column
    assert torch.equal(tokens[1, 4 + 2, :64], patch.flatten())
    places = tokens[0, :, 64:]
    assert torch.cdist(places, places).fill_diagonal_(9).min() > 0.1
    assert torch.equal(tokens[0, :, 64:], tokens[1, :, 64:])


@pytest.mark.parametrize("way", WAYS)
def test_every_parameter_is_inside_the_unet(way: str) -> None:
    denoiser = Denoiser(replace(CONFIG, conditioning=way))
    assert set(denoiser.state_dict()) == {f"unet.{name}" for name in denoiser.unet.state_dict()}
    assert denoiser.unet.class_embedding.num_embeddings == len(PLANES)


def test_plain_diffusers_computes_the_same(tiny_base: Path) -> None:
    base, given = load_base(str(tiny_base)), inputs()
    plain = UNet2DConditionModel.from_pretrained(tiny_base / "unet")
    plain_denoiser = Denoiser(base.denoiser.config, plain).eval()
    assert torch.equal(plain_denoiser(**given), base.denoiser.eval()(**given))
    schedule = DDPMScheduler.from_pretrained(tiny_base / "scheduler")
    frame, noise, time = given["noisy"], torch.randn(2, 1, 16, 16), torch.tensor([3, 700])
    assert torch.equal(schedule.add_noise(frame, noise, time), base.schedule.add_noise(frame, noise, time))
    assert schedule.config.prediction_type == base.schedule.config.prediction_type == "v_prediction"


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_a_base_comes_back_as_it_was_stored(tmp_path: Path, half: bool, prediction: str) -> None:
    denoiser = Denoiser(replace(CONFIG, conditioning="concat"))
    weights = {name: tensor.clone() for name, tensor in denoiser.state_dict().items()}
    save_base(tmp_path / "base", denoiser, noise_schedule(prediction), {"made": "here"}, half=half)
    base = load_base(str(tmp_path / "base"))
    assert base.denoiser.config == denoiser.config
    assert base.schedule.config.prediction_type == prediction
    assert json.loads((tmp_path / "base/base.json").read_text())["provenance"] == {"made": "here"}
    for name, tensor in base.denoiser.state_dict().items():
        assert torch.equal(tensor, weights[name].half().float() if half else weights[name])
        assert torch.equal(denoiser.state_dict()[name], weights[name])  # saving changes nothing


def test_an_interrupted_save_keeps_the_older_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_base(tmp_path / "base", Denoiser(CONFIG), noise_schedule(), {}, half=False)
    before, schedule = load_base(str(tmp_path / "base")).hash, noise_schedule()

    def fail(folder: Path) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(schedule, "save_pretrained", fail)
    with pytest.raises(OSError, match="disk full"):
        save_base(tmp_path / "base", Denoiser(CONFIG), schedule, {}, half=False)
    assert load_base(str(tmp_path / "base")).hash == before
    assert [path.name for path in tmp_path.iterdir()] == ["base"]


def no_folder(base: Path) -> None:
    shutil.rmtree(base)


def no_weights(base: Path) -> None:
    (base / "unet/diffusion_pytorch_model.safetensors").unlink()


def cut_weights(base: Path) -> None:
    weights = base / "unet/diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])


def no_json(base: Path) -> None:
    (base / "base.json").write_text("{")


def no_shape(base: Path) -> None:
    (base / "base.json").write_text("{}")


def strange_shape(base: Path) -> None:
    (base / "base.json").write_text('{"denoiser": {"depth": 3}}')


def no_record(base: Path) -> None:
    values = json.loads((base / "base.json").read_text())
    (base / "base.json").write_text(json.dumps({"denoiser": values["denoiser"]}))


def other_network(base: Path) -> None:
    record = json.loads((base / "base.json").read_text())
    record["denoiser"]["patch"] = 8
    (base / "base.json").write_text(json.dumps(record))


@pytest.mark.parametrize(
    "spoil", [no_folder, no_weights, cut_weights, no_json, no_shape, strange_shape, no_record, other_network]
)
def test_what_is_no_base_is_refused(tiny_base: Path, tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    copy = tmp_path / "copied_base"
    shutil.copytree(tiny_base, copy)
    spoil(copy)
    with pytest.raises(UserError, match="copied_base") as error:
        load_base(str(copy))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"heads": (1, 2, 4)}, "same number of levels"),
        ({"attention": (True,)}, "same number of levels"),
        ({"channels": (), "heads": (), "attention": ()}, "level"),
        ({"image_size": 18}, "image_size: 18 .* by 4"),
        ({"patch": 5}, "patch 5"),
        ({"patch": 0}, "patch"),
        ({"space_to_depth": 0}, "space_to_depth"),
        ({"norm_groups": 3}, "norm_groups: 3"),
        ({"heads": (1, 3)}, "heads"),
        ({"structures": ("LV", "aorta")}, "aorta"),
        ({"conditioning": "token"}, "conditioning: 'token'"),
    ],
)
def test_impossible_shapes_are_refused(changes: dict, says: str) -> None:
    with pytest.raises(UserError, match=says):
        replace(CONFIG, **changes)
