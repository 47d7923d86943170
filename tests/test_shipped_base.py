"""The base inside the package: small enough to ship, and a base in earnest, obeying masks, sectors and planes."""

import json

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from tte_tee.anatomy import CAMUS
from tte_tee.anatomy.maskr2 import identity
from tte_tee.data.datamodule import FrameDataset
from tte_tee.data.phantom import PhantomSpec, write_phantom
from tte_tee.data.store import EchoStore
from tte_tee.models.folders import SHIPPED, Base, base_folder, load_base
from tte_tee.models.maskr2 import MaskR2
from tte_tee.synthesis.frames import Sampling, draw_frames


@pytest.fixture(scope="module")
def base() -> Base:
    return load_base(SHIPPED)


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    """Masks of four hearts that no base has seen."""
    path = tmp_path_factory.mktemp("unseen") / "tte.h5"
    write_phantom(PhantomSpec(domain="tte", patients=4, seed=99), path)
    store = EchoStore(path)
    return default_collate([FrameDataset(store)[i, 0] for i in range(len(store))])


def drawn(base: Base, batch: dict[str, torch.Tensor], sampling: Sampling = Sampling(steps=8)) -> np.ndarray:
    keys = [str(i) for i in range(len(batch["mask"]))]
    maskr2 = MaskR2(identity(CAMUS.structures))
    return draw_frames(base.denoiser.eval(), base.schedule, maskr2, batch, keys, sampling).float().numpy()


@pytest.fixture(scope="module")
def frames(base: Base, batch: dict[str, torch.Tensor]) -> np.ndarray:
    return drawn(base, batch)


def test_it_is_small_enough_to_ship() -> None:
    files = [path for path in base_folder(SHIPPED).rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 12 * 2**20
    assert {path.suffix for path in files} == {".json", ".safetensors", ".md"}


def test_its_record_says_how_it_was_trained(base: Base) -> None:
    record = json.loads((base_folder(SHIPPED) / "base.json").read_text())["provenance"]
    assert record["config"]["data"]["class_path"].endswith("PhantomDataModule")
    assert record["steps"] == record["config"]["trainer"]["max_steps"]
    assert len(record["data"]["hash"]) == 64
    assert base.hash[:12] in (base_folder(SHIPPED) / "RECORD.md").read_text()


def test_blood_is_darker_than_myocardium(frames: np.ndarray, batch: dict[str, torch.Tensor]) -> None:
    masks = batch["mask"].numpy()
    cavity, wall = frames[masks == CAMUS.ids["LV"]], frames[masks == CAMUS.ids["LV_epi"]]
    assert wall.mean() - cavity.mean() > 10


def test_a_moved_mask_moves_the_heart(frames: np.ndarray, base: Base, batch: dict[str, torch.Tensor]) -> None:
    moved = drawn(base, {**batch, "mask": batch["mask"].roll(8, dims=-1)})
    uncovered = ((batch["mask"] == CAMUS.ids["LV"]) & (batch["mask"].roll(8, dims=-1) != CAMUS.ids["LV"])).numpy()
    assert moved[uncovered].mean() - frames[uncovered].mean() > 5


def test_what_lies_outside_the_sector_is_black(frames: np.ndarray, batch: dict[str, torch.Tensor]) -> None:
    outside = batch["sector"][:, 0].numpy() == 0
    assert outside.any() and (frames[outside] == 0).all() and (frames[~outside] > 0).mean() > 0.5


def test_the_plane_changes_the_frame(frames: np.ndarray, base: Base, batch: dict[str, torch.Tensor]) -> None:
    other = drawn(base, {**batch, "plane": 1 - batch["plane"]})
    assert np.abs(other - frames).mean() > 1


def test_half_precision_draws_nearly_the_same_frames(base: Base, batch: dict[str, torch.Tensor]) -> None:
    two = {name: values[:2] for name, values in batch.items()}  # CPUs without bfloat16 take twenty times as long
    whole, half = (drawn(base, two, Sampling(steps=4, precision=precision)) for precision in ("32", "bf16"))
    difference = np.abs(half - whole)[two["sector"][:, 0].numpy() == 1]
    assert 0 < difference.mean() < 5
