"""Bases and adapters for diffusers and peft: the same network, the same frame, nothing of this machine."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import pytest
import torch
from conftest import Train
from diffusers import DDPMScheduler, UNet2DConditionModel
from peft import PeftModel
from torch import Tensor, nn

from tte_tee.cli import main
from tte_tee.data.store import EchoStore
from tte_tee.models.denoiser import Denoiser, DenoiserConfig, build_unet
from tte_tee.models.folders import load_adapter, load_base
from tte_tee.models.input_card import input_words
from tte_tee.seen import seen_in

SCRIPT = Path(__file__).parents[1] / "experiments/sample_with_diffusers.py"
TINY = DenoiserConfig(
    image_size=16, channels=(8, 16), heads=(1, 2), attention=(False, True), patch=4, token_channels=8, norm_groups=4
)


def inputs() -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    noisy = torch.randn(2, 1, 16, 16, generator=generator)
    condition = torch.randint(0, 2, (2, 4, 16, 16), generator=generator) * 2.0 - 1
    return noisy, torch.tensor([20, 700]), condition, torch.tensor([0, 1])


@torch.no_grad()
def predicted(unet: nn.Module) -> Tensor:
    """What a network gives that somebody loaded without this package."""
    return Denoiser(TINY, unet.eval())(*inputs())


def loaded(folder: Path) -> UNet2DConditionModel:
    assert DDPMScheduler.from_pretrained(folder / "scheduler").config.prediction_type == "v_prediction"
    return UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=torch.float32)


def names_no_place(folder: Path) -> bool:
    """No absolute path in any text, and no empty form of peft's."""
    texts = [path.read_text() for path in folder.rglob("*") if path.suffix in (".json", ".md")]
    return not any(re.search(r"(?<![\w.:/<~-])/\w", text) or "More Information Needed" in text for text in texts)


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as stop:
        main(["export", *words])
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    return said


@pytest.fixture(scope="module")
def exported_base(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exported") / "base"
    main(["export", "diffusers", f"--base={tiny_base}", f"--out={out}"])
    return out


@pytest.fixture(scope="module")
def exported_adapter(lora_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exported") / "adapter"
    main(["export", "adapter", f"--adapter={lora_run / 'adapter'}", f"--out={out}"])
    return out


def test_a_base_is_the_same_for_diffusers_and_known_again(tiny_base: Path, exported_base: Path) -> None:
    base = load_base(str(tiny_base))
    assert torch.equal(predicted(loaded(exported_base)), predicted(base.denoiser.unet))
    assert load_base(str(exported_base)).hash == base.hash
    assert names_no_place(exported_base)
    assert "## Input" in (exported_base / "README.md").read_text()


def test_a_merged_adapter_draws_what_the_adapter_draws(lora_run: Path, tiny_base: Path, tmp_path: Path) -> None:
    adapter = load_adapter(lora_run / "adapter")
    main(["export", "diffusers", f"--adapter={lora_run / 'adapter'}", f"--out={tmp_path / 'net'}"])
    given = predicted(loaded(tmp_path / "net"))
    assert torch.allclose(given, predicted(adapter.denoiser.unet), atol=1e-5)
    assert not torch.allclose(given, predicted(load_base(str(tiny_base)).denoiser.unet), atol=1e-4)
    assert (tmp_path / "net/maskr2.json").read_bytes() == (lora_run / "adapter/maskr2.json").read_bytes()
    record = load_base(str(tmp_path / "net")).record
    assert seen_in(record) == seen_in(adapter.record) >= {"train0", "val0"}
    assert names_no_place(tmp_path / "net")


@pytest.mark.parametrize("method", ["full", "none"])
def test_all_weights_and_no_weights_are_exported_as_they_are(
    method: str, adapt: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter = adapt(tmp_path, *(["--trainer.max_steps=0"] if method == "none" else []), method=method) / "adapter"
    main(["export", "diffusers", f"--adapter={adapter}", f"--out={tmp_path / 'net'}"])
    assert torch.equal(predicted(loaded(tmp_path / "net")), predicted(load_adapter(adapter).denoiser.unet))
    assert names_no_place(tmp_path / "net")
    capsys.readouterr()
    said = refused(["adapter", f"--adapter={adapter}", f"--out={tmp_path / 'lora'}"], capsys)
    assert f"method '{method}'" in said and "export diffusers" in said
    assert not (tmp_path / "lora").exists()


def test_peft_loads_an_adapter_onto_the_exported_base(
    lora_run: Path, exported_base: Path, exported_adapter: Path, tiny_base: Path
) -> None:
    adapter = load_adapter(lora_run / "adapter")
    unet = PeftModel.from_pretrained(loaded(exported_base), str(exported_adapter))
    torch.testing.assert_close(predicted(unet), predicted(adapter.denoiser.unet))
    assert load_adapter(exported_adapter, str(exported_base)).hash == adapter.hash
    config = json.loads((exported_adapter / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == tiny_base.name
    assert names_no_place(exported_adapter) and not names_no_place(lora_run / "adapter")
    assert seen_in(json.loads((exported_adapter / "adapter.json").read_text())) == seen_in(adapter.record)
    card = (exported_adapter / "README.md").read_text()
    assert "4 RA" in card and "sample/S/K#n" in card and load_base(str(tiny_base)).hash in card


@pytest.mark.parametrize("conditioning", ["tokens", "concat", "both"])
def test_the_words_on_the_input_fit_the_network(conditioning: str) -> None:
    config = replace(TINY, conditioning=conditioning, patch=2)
    unet = build_unet(config).config
    words = input_words(vars(config))[-1]
    assert f": {unet.in_channels} channels" in words and f"Width {unet.encoder_hid_dim}." in words
    assert "64 tokens" in words and "1 LV, 2 LV_epi, 3 LA" in words
    assert ("with zeros in its structure channels" in words) == (conditioning == "concat")
    assert "1 two-chamber (A2C, ME2C)" in words


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (lambda base, run: ["diffusers"], "--base B, or --adapter A"),
        (lambda base, run: ["diffusers", "--base=nowhere"], "nowhere: no base folder"),
        (lambda base, run: ["diffusers", "--adapter=nowhere"], "nowhere: no adapter folder"),
        (lambda base, run: ["adapter", f"--adapter={base}"], "no adapter folder"),
        (lambda base, run: ["adapter", f"--adapter={run}/adapter", "--base=nowhere"], "nowhere is not there"),
    ],
)
def test_what_is_missing_is_one_line(
    words: Callable[[Path, Path], list[str]],
    says: str,
    tiny_base: Path,
    lora_run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert says in refused([*words(tiny_base, lora_run), f"--out={tmp_path / 'out'}"], capsys)
    assert not list(tmp_path.iterdir())


def test_nothing_is_replaced(tiny_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine").write_text("precious")
    for out in (tmp_path, tmp_path / "mine"):
        assert "is there already" in refused(["diffusers", f"--base={tiny_base}", f"--out={out}"], capsys)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["precious"]
    (tmp_path / "empty").mkdir()
    main(["export", "diffusers", f"--base={tiny_base}", f"--out={tmp_path / 'empty'}"])
    assert (tmp_path / "empty/base.json").is_file()


def test_an_empty_folder_that_one_is_in_is_no_place(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "name a folder to make" in refused(["diffusers", f"--base={tiny_base}", "--out=."], capsys)


def test_an_export_into_its_adapter_leaves_it_what_it_was(lora_run: Path, tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    shutil.copytree(lora_run / "adapter", adapter)
    main(["export", "diffusers", f"--adapter={adapter}", f"--out={adapter / 'merged'}"])
    assert load_adapter(adapter).hash == load_adapter(lora_run / "adapter").hash


@pytest.mark.slow
def test_diffusers_and_peft_alone_draw_the_frame_of_synthesize(
    lora_run: Path, exported_base: Path, exported_adapter: Path, tee_store: Path, tmp_path: Path
) -> None:
    drawn = tmp_path / "drawn.h5"
    options = (f"--adapter={lora_run / 'adapter'}", f"--masks={tee_store}", "--seed=3", "--processes=1")
    main(["synthesize", *options, "--gain=drawn", f"--out={drawn}"])
    code = (
        f"import runpy, sys; runpy.run_path({str(SCRIPT)!r}, run_name='__main__'); "
        "assert not [name for name in sys.modules if name.startswith('tte_tee')]"
    )
    for index in (1, 6):  # one of each plane
        words = [exported_base, exported_adapter, tee_store, str(index), "3", tmp_path / "frame.png"]
        subprocess.run([sys.executable, "-c", code, *map(str, words)], check=True, cwd=tmp_path, capture_output=True)
        frame = cv2.imread(str(tmp_path / "frame.png"), cv2.IMREAD_UNCHANGED)
        expected = EchoStore(drawn).frame(index)[0]
        assert expected.std() > 1
        assert cv2.absdiff(frame, expected).max() <= 2  # another batch size rounds otherwise
