"""bfloat16 on a CPU that has none is emulated, and said to be."""

from pathlib import Path

import pytest
import torch
from conftest import Train

from tte_tee.cli import main
from tte_tee.models import devices
from tte_tee.models.devices import slow_bf16


@pytest.fixture(params=[True, False], ids=["native", "emulated"])
def native(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(devices, "_cpu_has_bf16", lambda: request.param)
    return request.param


def warnings(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line for line in capsys.readouterr().err.splitlines() if "warning" in line]


def test_torch_is_asked() -> None:
    assert isinstance(devices._cpu_has_bf16(), bool)


def test_only_a_cpu_without_bfloat16_is_slow(native: bool) -> None:
    assert bool(slow_bf16(torch.device("cpu"), "--precision 32")) != native
    assert not slow_bf16(torch.device("cuda:1"), "--precision 32")


@pytest.mark.parametrize(
    ("options", "warned"),
    [
        (["--precision=bf16"], True),
        (["--precision=32"], False),
        (["--precision=bf16", "--device=cuda"], False),
        (["--precision=bf16", "--merge=2"], False),
    ],
)
def test_synthesize_says_it_before_it_draws(
    native: bool,
    options: list[str],
    warned: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("tte_tee.synthesis.generate.synthesize", lambda *_, **__: Path("s.h5"))
    main(["synthesize", "--adapter=a", "--masks=m.h5", "--out=s.h5", *options])
    said = warnings(capsys)
    assert len(said) == (warned and not native)
    assert all("20 times slower" in line and "--precision 32" in line for line in said)


@pytest.mark.parametrize(("precision", "warned"), [("bf16-mixed", True), ("32-true", False)])
def test_fit_says_it_before_it_trains(
    native: bool, precision: str, warned: bool, adapt: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapt(tmp_path, f"--trainer.precision={precision}", "--trainer.max_steps=0", "--previews.frames=1", method="none")
    said = warnings(capsys)
    assert len(said) == (warned and not native)
    assert all("--trainer.precision 32-true" in line for line in said)
