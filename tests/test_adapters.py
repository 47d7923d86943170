"""The adapter contract: what LoRA touches, what is stored, and that plain peft reads it."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import make_base
from diffusers import UNet2DConditionModel
from peft import PeftModel
from safetensors.torch import load_file
from torch import Tensor, nn

from tte_tee.anatomy import CAMUS, TEE, solve
from tte_tee.errors import UserError
from tte_tee.models.adapters import GROUPS, add_lora, parameter_table, partition, plain_unet
from tte_tee.models.denoiser import Conditioning, Denoiser, DenoiserConfig, build_unet
from tte_tee.models.folders import Adapter, Base, load_adapter, load_base, save_adapter
from tte_tee.models.maskr2 import MaskR2
from tte_tee.synthesis.frames import Sampling, draw_frames

SCOPES = [[group] for group in GROUPS] + [list(GROUPS)]
TINY = DenoiserConfig(
    image_size=16, channels=(8, 16), heads=(1, 2), attention=(False, True), patch=4, token_channels=8, norm_groups=4
)
SHAPES = {
    "tiny": TINY,
    "three levels": replace(
        TINY, channels=(8, 16, 16), heads=(1, 2, 4), attention=(False, True, True), layers_per_block=2
    ),
    "attention everywhere": replace(TINY, attention=(True, True), conditioning="tokens"),
    "attention in the middle": replace(TINY, attention=(False, False), conditioning="concat"),
}


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def base(tiny_base: Path) -> Base:
    return load_base(str(tiny_base))


def layers_of(unet: nn.Module) -> dict[str, nn.Module]:
    return {name: m for name, m in unet.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)}


def inputs() -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    noisy = torch.randn(2, 1, 16, 16, generator=generator)
    condition = torch.randint(0, 2, (2, 4, 16, 16), generator=generator) * 2.0 - 1
    return noisy, torch.tensor([20, 700]), condition, torch.tensor([0, 1])


def lora(base: Base, scope: Sequence[str], *, rank: int = 2, alpha: float = 4.0, trained: bool = True) -> Denoiser:
    """The base with LoRA, trained for two steps."""
    denoiser = base.denoiser
    denoiser.unet = add_lora(denoiser.unet, scope, rank=rank, alpha=alpha)
    if trained:
        optimizer = torch.optim.AdamW([p for p in denoiser.parameters() if p.requires_grad], lr=0.05)
        for _ in range(2):
            optimizer.zero_grad()
            denoiser(*inputs()).square().mean().backward()
            optimizer.step()
    return denoiser.eval()


@pytest.mark.parametrize("config", SHAPES.values(), ids=SHAPES)
def test_every_layer_is_in_exactly_one_group(config: DenoiserConfig) -> None:
    unet = build_unet(config)
    assert all(partition(unet).values())
    named = [name for names in partition(unet).values() for name in names]
    assert sorted(named) == sorted(layers_of(unet))


def test_groups_are_the_papers(base: Base) -> None:
    groups, layers = partition(base.denoiser.unet), layers_of(base.denoiser.unet)
    assert set(groups) == set(GROUPS) and all(groups.values())
    entrance = {"encoder_hid_proj", "conv_in"}
    assert set(groups["cross_attention"]) == {n for n in layers if ".attn2." in n} | entrance
    assert set(groups["self_attention"]) == {n for n in layers if ".attn1." in n}
    assert set(groups["convolution"]) == {n for n, m in layers.items() if isinstance(m, nn.Conv2d)} - entrance
    assert all(".ff.net." in n for n in groups["feed_forward"])
    assert "time_embedding.linear_1" in groups["time_embedding"]


@pytest.mark.parametrize(
    ("conditioning", "group"), [("tokens", "convolution"), ("concat", "cross_attention"), ("both", "cross_attention")]
)
def test_the_first_convolution_is_of_the_group_by_which_the_mask_enters(conditioning: Conditioning, group: str) -> None:
    assert "conv_in" in partition(build_unet(replace(TINY, conditioning=conditioning)))[group]


def test_a_layer_of_no_group_is_a_defect_and_not_passed_over() -> None:
    unet = build_unet(TINY)
    unet.extra = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="extra"):
        partition(unet)


@pytest.mark.parametrize("scope", SCOPES, ids="+".join)
def test_a_fresh_adapter_computes_what_the_base_computes(base: Base, scope: list[str]) -> None:
    expected = base.denoiser.eval()(*inputs())
    assert torch.equal(lora(base, scope, trained=False)(*inputs()), expected)


@pytest.mark.parametrize("scope", SCOPES, ids="+".join)
def test_lora_alone_is_trained_and_in_its_scope_alone(base: Base, scope: list[str]) -> None:
    before = {name: tensor.clone() for name, tensor in base.denoiser.unet.state_dict().items()}
    expected = {name for group in scope for name in partition(base.denoiser.unet)[group]}
    frame = base.denoiser.eval()(*inputs())
    denoiser = lora(base, scope)
    trainable = {n for n, p in denoiser.unet.named_parameters() if p.requires_grad}
    assert trainable == {f"base_model.model.{n}.lora_{ab}.default.weight" for n in expected for ab in "AB"}
    changed = {n for n, p in denoiser.unet.named_parameters() if n.endswith("lora_B.default.weight") and p.any()}
    assert changed == {n for n in trainable if ".lora_B." in n}
    for name, tensor in plain_unet(denoiser.unet).state_dict().items():
        if ".lora_" not in name:
            assert torch.equal(tensor, before[name.replace(".base_layer", "")])
    assert not torch.allclose(denoiser(*inputs()), frame, atol=1e-4)


@pytest.mark.parametrize(
    ("scope", "says"),
    [([], "nothing"), (["cross_attention", "mlp"], "mlp .*feed_forward"), ("convolution", "known")],
)
def test_an_impossible_scope_is_refused(base: Base, scope: Sequence[str], says: str) -> None:
    with pytest.raises(UserError, match=says):
        add_lora(base.denoiser.unet, scope, rank=2, alpha=2)


def kinds(unet: nn.Module) -> dict[str, nn.Module]:
    return {n: m for n, m in plain_unet(unet).named_modules() if hasattr(m, "lora_A")}


@pytest.mark.parametrize("scope", [["feed_forward"], ["convolution"]], ids=["linear", "convolution"])
def test_merging_adds_the_scaled_product_and_unmerging_takes_it_away(base: Base, scope: list[str]) -> None:
    denoiser = lora(base, scope, rank=2, alpha=3.0)
    adapted = denoiser(*inputs())
    before = {name: m.weight.detach().clone() for name, m in kinds(denoiser.unet).items()}
    denoiser.unet.merge_adapter()
    for name, module in kinds(denoiser.unet).items():
        A, B = (getattr(module, f"lora_{ab}")["default"].weight.detach() for ab in "AB")
        update = 3.0 / 2 * torch.einsum("or,ri...->oi...", B.flatten(1), A)
        torch.testing.assert_close(module.weight, before[name] + update, atol=1e-5, rtol=1e-4)
        assert update.abs().max() > 1e-3
    torch.testing.assert_close(denoiser(*inputs()), adapted, atol=1e-4, rtol=1e-3)
    denoiser.unet.unmerge_adapter()
    for name, module in kinds(denoiser.unet).items():
        torch.testing.assert_close(module.weight, before[name], atol=1e-5, rtol=1e-4)


def test_disabled_the_base_is_there_bit_for_bit(base: Base) -> None:
    expected = base.denoiser.eval()(*inputs())
    denoiser = lora(base, ["convolution", "cross_attention"])
    with denoiser.unet.disable_adapter():
        assert torch.equal(denoiser(*inputs()), expected)


@pytest.mark.parametrize("rank", [1, 3])
@pytest.mark.parametrize("scope", [["cross_attention"], ["convolution", "time_embedding"]], ids="+".join)
def test_table_adds_up_to_the_parameters(base: Base, scope: list[str], rank: int) -> None:
    unet = base.denoiser.unet
    plain, layers = sum(p.numel() for p in unet.parameters()), len(layers_of(unet))
    names = [name for group in scope for name in partition(unet)[group]]
    expected = 0
    for name in names:
        weight = unet.get_submodule(name).weight
        expected += rank * (weight[0].numel() + weight.shape[0])
    adapted = add_lora(unet, scope, rank=rank, alpha=1)
    rows = {row.group: row for row in parameter_table(adapted)}
    assert list(rows) == [*GROUPS, "other", "total"]
    total = rows.pop("total")
    assert total.parameters == plain
    assert total.trainable == expected == sum(p.numel() for p in adapted.parameters() if p.requires_grad)
    assert (total.layers, total.trained) == (layers, len(names))
    assert total.share == expected / (plain + expected)
    for key in ("layers", "trained", "parameters", "trainable"):
        assert getattr(total, key) == sum(getattr(row, key) for row in rows.values())
    assert {group for group, row in rows.items() if row.trainable} == set(scope)


@pytest.mark.parametrize("trained", [True, False])
def test_table_of_a_plain_network(base: Base, trained: bool) -> None:
    unet = base.denoiser.unet.requires_grad_(trained)
    total = parameter_table(unet)[-1]
    assert total.parameters == sum(p.numel() for p in unet.parameters())
    assert (total.trainable, total.share) == ((total.parameters, 1) if trained else (0, 0))


def stored(
    folder: Path, base: Base, method: str, denoiser: Denoiser, *, learnable: bool = False, matrix: Tensor | None = None
) -> Path:
    maskr2 = MaskR2(solve(CAMUS.structures, TEE.structures), learnable=learnable)
    if matrix is not None:
        maskr2.matrix.data.copy_(matrix)
    record = {"base": str(base.folder), "base_hash": base.hash, "data": {}}
    save_adapter(folder, denoiser, maskr2, method, TEE, record)
    return folder


def sample_of(denoiser: Denoiser, base: Base | Adapter, maskr2: MaskR2) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    batch = {
        "mask": torch.randint(0, 5, (2, 16, 16), generator=generator),
        "sector": torch.ones(2, 1, 16, 16),
        "plane": torch.tensor([0, 1]),
    }
    return draw_frames(denoiser.eval(), base.schedule, maskr2, batch, ["a", "b"], Sampling(steps=3))


@pytest.mark.parametrize("scope", SCOPES, ids="+".join)
def test_folder_holds_exactly_the_lora_of_the_scope(base: Base, tmp_path: Path, scope: list[str]) -> None:
    names = [name for group in scope for name in partition(base.denoiser.unet)[group]]
    folder = stored(tmp_path / "adapter", base, "lora", lora(base, scope))
    keys = set(load_file(folder / "adapter_model.safetensors"))
    assert keys == {f"base_model.model.{name}.lora_{ab}.weight" for name in names for ab in "AB"}
    config = json.loads((folder / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"]) == (2, 4.0)


@pytest.mark.parametrize(("scope", "rank"), [(["convolution"], 4), (["feed_forward"], 64)])
def test_a_rank_above_a_layers_width_or_kernel_is_read_again(
    base: Base, tmp_path: Path, scope: list, rank: int
) -> None:
    denoiser = lora(base, scope, rank=rank)
    loaded = load_adapter(stored(tmp_path / "adapter", base, "lora", denoiser))
    torch.testing.assert_close(loaded.denoiser(*inputs()), denoiser.eval()(*inputs()))


@pytest.mark.parametrize("method", ["lora", "full", "scratch", "none"])
def test_a_stored_adapter_draws_the_same_frames(base: Base, tmp_path: Path, method: str) -> None:
    if method == "lora":
        denoiser = lora(base, GROUPS)
    elif method == "none":
        denoiser = base.denoiser
    else:
        denoiser = Denoiser(base.denoiser.config)
    matrix = torch.rand(3, 4)
    folder = stored(tmp_path / "adapter", base, method, denoiser, learnable=True, matrix=matrix)
    loaded = load_adapter(folder)
    assert torch.equal(loaded.maskr2.matrix, matrix)
    assert (loaded.target, loaded.record["method"], loaded.maskr2.learnable) == (TEE, method, True)
    torch.testing.assert_close(loaded.denoiser(*inputs()), denoiser.eval()(*inputs()))
    assert not isinstance(loaded.denoiser.unet, PeftModel)  # LoRA is merged: drawing is faster
    drawn, meant = (sample_of(d, base, loaded.maskr2).int() for d in (loaded.denoiser, denoiser))
    assert (drawn - meant).abs().max() <= (2 if method == "lora" else 0)


@pytest.mark.parametrize("scope", SCOPES, ids="+".join)
def test_plain_peft_reads_the_folder(base: Base, tiny_base: Path, tmp_path: Path, scope: list[str]) -> None:
    denoiser = lora(base, scope)
    folder = stored(tmp_path / "adapter", base, "lora", denoiser)
    plain = PeftModel.from_pretrained(UNet2DConditionModel.from_pretrained(tiny_base / "unet"), str(folder)).eval()
    sample, tokens = torch.randn(2, 20, 8, 8), torch.randn(2, 16, 96)
    given = {"encoder_hidden_states": tokens, "class_labels": torch.tensor([0, 1])}
    assert torch.equal(plain(sample, 7, **given).sample, denoiser.unet(sample, 7, **given).sample)


def test_plain_diffusers_reads_all_weights(base: Base, tmp_path: Path) -> None:
    folder = stored(tmp_path / "adapter", base, "full", base.denoiser)
    plain = Denoiser(base.denoiser.config, UNet2DConditionModel.from_pretrained(folder / "unet")).eval()
    assert torch.equal(plain(*inputs()), base.denoiser.eval()(*inputs()))


def test_an_adapter_of_another_base_is_refused_and_a_moved_base_is_not(base: Base, tmp_path: Path) -> None:
    folder = stored(tmp_path / "adapter", base, "none", base.denoiser)
    other = make_base(tmp_path / "other", seed=1)
    with pytest.raises(UserError, match=f"{base.hash[:12]}.*other.*--base"):
        load_adapter(folder, str(other))
    moved = tmp_path / "moved"
    shutil.copytree(base.folder, moved)
    assert load_adapter(folder, str(moved)).denoiser.config == base.denoiser.config


def test_hash_is_of_weights_and_rule(base: Base, tmp_path: Path) -> None:
    base.denoiser.eval()
    made = [("none", None), ("none", None), ("none", torch.rand(3, 4)), ("full", None)]
    hashes = [
        load_adapter(stored(tmp_path / str(n), base, method, base.denoiser, matrix=matrix)).hash
        for n, (method, matrix) in enumerate(made)
    ]
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == 3


def test_a_new_adapter_replaces_the_older_folder(base: Base, tmp_path: Path) -> None:
    stored(tmp_path / "adapter", base, "full", base.denoiser)
    stored(tmp_path / "adapter", base, "none", base.denoiser)
    assert {p.name for p in (tmp_path / "adapter").iterdir()} == {"maskr2.json", "adapter.json", "README.md"}
    assert [p.name for p in tmp_path.iterdir()] == ["adapter"]


def no_folder(folder: Path) -> None:
    shutil.rmtree(folder)


def no_weights(folder: Path) -> None:
    (folder / "adapter_model.safetensors").unlink()


def cut_weights(folder: Path) -> None:
    weights = folder / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:500])


def no_rule(folder: Path) -> None:
    (folder / "maskr2.json").unlink()


def broken_rule(folder: Path) -> None:
    (folder / "maskr2.json").write_text('{"source": ["LV"]}')


def empty_record(folder: Path) -> None:
    (folder / "adapter.json").write_text("{}")


@pytest.mark.parametrize("spoil", [no_folder, no_weights, cut_weights, no_rule, broken_rule, empty_record])
def test_what_is_no_adapter_is_refused(base: Base, tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    folder = stored(tmp_path / "my_adapter", base, "lora", lora(base, ["self_attention"]))
    spoil(folder)
    with pytest.raises(UserError, match="my_adapter") as error:
        load_adapter(folder)
    assert "\n" not in str(error.value)
