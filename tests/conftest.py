"""Tiny stores, a tiny base and short runs, shared by the tests."""

import json
import logging
import math
import os
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from folders import write_frame
from hearts import write_hearts

from tte_tee.anatomy import CAMUS, TEE, LabelSpace
from tte_tee.cli import main
from tte_tee.data import workers
from tte_tee.data.store import EchoStore, FrameInfo, StoreWriter

if TYPE_CHECKING:
    from tte_tee.data.shape_model import ShapeModel
    from tte_tee.studio.start import Studio

SIZE = 16
VIEWS = {"camus": ("A4C", "A2C"), "tee": ("ME4C", "ME2C")}
PATIENTS = {"train": 4, "val": 2, "test": 2}


def pytest_configure() -> None:
    # Tests are for the CPU, and fork: who has asked the CUDA runtime for devices, even in vain, may not.
    os.environ |= {"CUDA_VISIBLE_DEVICES": "", "PYTORCH_NVML_BASED_CUDA_CHECK": "1"}
    torch.set_num_threads(1)
    workers._QUIET = math.inf  # a slow machine is to say no more than a fast one
    logging.raiseExceptions = False  # Lightning's log handler keeps the stderr of the test that imported it


def sector_of(size: int = SIZE) -> np.ndarray:
    """A cone with its tip at the top."""
    y, x = np.mgrid[:size, :size] / (size - 1)
    return (np.abs(x - 0.5) <= 0.1 + 0.4 * y).astype(np.uint8)


def draw_frame(labels: int, seed: int, size: int = SIZE) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image, mask and sector: a dark blob per label in bright speckle."""
    rng = np.random.default_rng(seed)
    sector = sector_of(size)
    mask = np.zeros((size, size), np.uint8)
    y, x = np.mgrid[:size, :size]
    for label in range(1, labels + 1):
        row, column = rng.uniform(0.35, 0.85, 2) * size
        mask[(y - row) ** 2 + (x - column) ** 2 < (size / 7) ** 2] = label
    mask *= sector
    image = rng.integers(90, 200, (size, size)) * np.where(mask > 0, 0.2, 1.0) * sector
    return image.astype(np.uint8), mask, sector


def write_store(
    path: Path, space: LabelSpace, *, patients: dict[str, int] = PATIENTS, size: int = SIZE, blank: bool = False
) -> Path:
    """Two frames of each patient, one per view; ``blank`` leaves the images black."""
    with StoreWriter(path, space, licence="CC0-1.0", command="test") as writer:
        for split, count in patients.items():
            for patient in range(count):
                for n, view in enumerate(VIEWS.get(space.name, VIEWS["tee"])):
                    image, mask, sector = draw_frame(len(space.structures), 100 * len(split) + 10 * patient + n, size)
                    name = f"{split}{patient}"
                    info = FrameInfo(
                        f"{name}/{view}",
                        name,
                        view,
                        split,
                        "phantom",
                        phase="ED",
                        spacing=(2.0, 1.5),
                        mask_source="phantom",
                    )
                    writer.append(image * (not blank), mask, sector, info)
    return path


def generated(
    real: Path,
    path: Path,
    *,
    patients: Collection[str] = ("train0", "train1"),
    source: str = "phantom",
    record: dict[str, Any] | None = None,
) -> Path:
    """A store of "generated" frames: those of some patients of a real store, said to be drawn for their masks."""
    store = EchoStore(real)
    text = json.dumps(record or {})
    with StoreWriter(path, store.label_space, licence="none", command="test", provenance=text) as writer:
        for i, frame in enumerate(store):
            info = store.info(i)
            if info.patient in patients:
                changed = {"origin": "generated", "split": "train", "mask_source": source, "parent": info.key}
                writer.append(*frame, FrameInfo(**{**info.__dict__, **changed}))
    return path


@pytest.fixture(scope="session")
def tee_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight patients of two frames each, in the label space and the views of TEE."""
    return write_store(tmp_path_factory.mktemp("stores") / "tee.h5", TEE)


@pytest.fixture(scope="session")
def tte_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight patients of two frames each, in the label space and the views of CAMUS."""
    return write_store(tmp_path_factory.mktemp("stores") / "tte.h5", CAMUS)


def make_base(folder: Path, seed: int = 7) -> Path:
    """A base of two levels with random weights."""
    from tte_tee.models.denoiser import Denoiser, DenoiserConfig
    from tte_tee.models.diffusion import noise_schedule
    from tte_tee.models.folders import save_base

    config = DenoiserConfig(
        image_size=SIZE,
        channels=(8, 16),
        heads=(1, 2),
        attention=(False, True),
        patch=4,
        token_channels=8,
        norm_groups=4,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        save_base(folder, Denoiser(config), noise_schedule(), {"made": "by a test"}, half=False)
    return folder


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a base with random weights, 16x16."""
    return make_base(tmp_path_factory.mktemp("bases") / "tiny")


TINY_DENOISER = (
    "--model.denoiser.image_size=16",
    "--model.denoiser.channels=[8, 16]",
    "--model.denoiser.heads=[1, 2]",
    "--model.denoiser.attention=[false, true]",
    "--model.denoiser.patch=4",
    "--model.denoiser.token_channels=8",
    "--model.denoiser.norm_groups=4",
)
BRIEF = (
    "--model.warmup_steps=0",
    "--model.sampling.steps=2",
    "--data=EchoDataModule",
    "--data.batch_size=4",
    "--trainer.max_steps=3",
    "--trainer.log_every_n_steps=1",
)
OFTEN = ("--trainer.max_steps=6", "--checkpoint.every_n_train_steps=2", "--trainer.logger.version=0")
Train = Callable[..., Path]


def train(command: str, out: Path, *words: str) -> Path:
    """One Lightning subcommand; returns the folder that it logged to."""
    version = "--trainer.logger.version="
    fixed = [word for word in words if word.startswith(version)][-1:]
    words = tuple(word for word in words if not word.startswith(version))
    before = set(out.glob("run/version_*"))
    quiet = ("--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false")
    logger = ("--trainer.logger=TensorBoardLogger", f"--trainer.logger.save_dir={out}", "--trainer.logger.name=run")
    main([command, *words, *quiet, *logger, *fixed])
    if fixed and not fixed[0].endswith("null"):
        return out / "run" / fixed[0].replace(version, "version_")
    (folder,) = set(out.glob("run/version_*")) - before
    return folder


@pytest.fixture(scope="session")
def adapt(tiny_base: Path, tee_store: Path) -> Train:
    """``adapt(out, *overrides, command="fit", method="lora")`` runs TEEAdapter; returns the run's folder."""

    def run(out: Path, *overrides: str, command: str = "fit", method: str = "lora") -> Path:
        scope = ["--model.scope=[cross_attention, convolution]"] if method == "lora" else []
        model = ("--model=TEEAdapter", f"--model.base={tiny_base}", f"--model.method={method}")
        data = f"--data.store={tee_store}"
        return train(command, out, *model, "--model.learning_rate=0.01", *BRIEF, data, *scope, *overrides)

    return run


@pytest.fixture(scope="session")
def train_base(tte_store: Path) -> Train:
    """``train_base(out, *overrides, command="fit")`` runs TTEDiffusion; returns the run's folder."""

    def run(out: Path, *overrides: str, command: str = "fit") -> Path:
        return train(
            command, out, "--model=TTEDiffusion", *TINY_DENOISER, *BRIEF, f"--data.store={tte_store}", *overrides
        )

    return run


@pytest.fixture(scope="session")
def fit(tee_store: Path) -> Train:
    """``fit(out, *overrides, command="fit")`` runs HeartSegmenter on the tiny store; returns the run's folder."""

    def run(out: Path, *overrides: str, command: str = "fit") -> Path:
        words = [
            "--model=HeartSegmenter",
            "--model.network.channels=[4, 8, 8]",
            "--model.warmup_steps=0",
            "--data=SegmentationDataModule",
            f"--data.real={tee_store}",
            "--data.batch_size=4",
            "--trainer.max_steps=4",
            "--trainer.val_check_interval=2",
            "--trainer.log_every_n_steps=1",
        ]
        return train(command, out, *words, *overrides)

    return run


@pytest.fixture(scope="session")
def tasks(train_base: Train, adapt: Train, fit: Train) -> dict[str, Train]:
    """Each task, in the form that is hardest to resume."""

    def with_options(run: Train, *options: str) -> Train:
        return lambda out, *words, **kwargs: run(out, *options, *OFTEN, *words, **kwargs)

    often = ("--trainer.val_check_interval=3",)
    return {
        "base": with_options(train_base, *often, "--trainer.accumulate_grad_batches=2"),
        "lora": with_options(adapt, *often),
        "learnable": with_options(adapt, "--model.maskr2.learnable=true"),
        "segmenter": with_options(fit, "--model.network.dropout=0.3", "--trainer.val_check_interval=2"),
    }


@pytest.fixture(scope="session")
def undisturbed(tasks: dict[str, Train], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """``undisturbed(task, *options)``: a run that nothing happened to, made once."""
    made: dict[tuple[str, ...], Path] = {}

    def run(task: str, *options: str) -> Path:
        if (task, *options) not in made:
            made[task, *options] = tasks[task](tmp_path_factory.mktemp(task), *options)
        return made[task, *options]

    return run


@pytest.fixture(scope="session")
def lora_run(adapt: Train, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a finished LoRA run of three steps."""
    return adapt(tmp_path_factory.mktemp("lora"))


@pytest.fixture(scope="session")
def studio(tmp_path_factory: pytest.TempPathFactory) -> "Studio":
    """A page's adapters, segmenter, shape model and stores, all of them tiny."""
    from studios import make_studio

    return make_studio(tmp_path_factory.mktemp("studio"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    for stem in ("train/p1_2CH_ED", "train/p1_2CH_ES", "train/p2_4CH_ED", "val/p3_4CH_ES"):
        write_frame(folder, f"{stem}.png", f"{stem}_gt.png")
    return folder


@pytest.fixture
def cine(tmp_path: Path) -> Path:
    folder = tmp_path / "cine"
    for i in range(6):
        write_frame(folder, f"images/f_{i:02d}.png", f"labels/f_{i:02d}.png")
    return folder


@pytest.fixture(scope="session")
def seg_run(fit: Train, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fit(tmp_path_factory.mktemp("seg"))


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """A file that is there once hostile code ran."""
    return tmp_path / "it_ran"


@pytest.fixture
def foreign(tmp_path: Path, mark: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of nobody's whose import leaves a mark."""
    text = f"import lightning\nfrom pathlib import Path\nPath({str(mark)!r}).touch()\n"
    (tmp_path / "foreign_code.py").write_text(f"{text}class Mine(lightning.Callback):\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    return "foreign_code.Mine"


@pytest.fixture
def out_store(tmp_path: Path) -> Path:
    """Where ``synthesize`` writes to: a folder that holds nothing else."""
    return tmp_path / "out" / "s.h5"


@pytest.fixture(scope="session")
def synthesis_words(lora_run: Path, tee_store: Path) -> list[str]:
    """Sixteen masks, two samples of each, in eleven batches of which the last is short."""
    given = [f"--adapter={lora_run / 'adapter'}", f"--masks={tee_store}", "--samples-per-mask=2"]
    return ["synthesize", *given, "--steps=2", "--batch-size=3"]


@pytest.fixture
def synthesize(synthesis_words: list[str], out_store: Path) -> Callable[..., None]:
    """``synthesize(*options)`` runs the command in this process, unless ``--processes`` says otherwise."""
    return lambda *options: main([*synthesis_words, f"--out={out_store}", "--processes=1", *options])


@pytest.fixture
def batches_drawn(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Keys of every batch that ``synthesize`` draws in this process."""
    from tte_tee.synthesis import batches

    keys: list[list[str]] = []
    draw = batches.draw_frames

    def spy(*given: Any) -> torch.Tensor:
        keys.append(list(given[4]))
        return draw(*given)

    monkeypatch.setattr(batches, "draw_frames", spy)
    return keys


@pytest.fixture(scope="session")
def hearts(tmp_path_factory: pytest.TempPathFactory) -> EchoStore:
    """Masks enough for a shape model: six training patients and one of split test."""
    return EchoStore(write_hearts(tmp_path_factory.mktemp("shapes") / "train.h5"))


@pytest.fixture(scope="session")
def shape_model(hearts: EchoStore) -> "ShapeModel":
    """What is learnt from the hearts."""
    from tte_tee.data.shape_model import fit_shape_model

    return fit_shape_model(hearts)
