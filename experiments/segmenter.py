"""A small segmenter for the experiments: how it is trained, and the Dice it reaches per structure and patient."""

import numpy as np
import torch
from monai.losses import DiceCELoss
from monai.metrics import compute_dice
from monai.networks.nets import BasicUNet
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import default_collate

from tte_tee.data.datamodule import FrameDataset
from tte_tee.data.mixing import FrameStream
from tte_tee.data.store import EchoStore


def train_segmenter(
    store: EchoStore,
    steps: int,
    *,
    split: str | None = "train",
    seed: int = 0,
    augment: bool = False,
    half: bool = False,
) -> nn.Module:
    """A MONAI BasicUNet (AdamW, cosine from 2e-3, Dice and cross-entropy, batches of 16), grey levels in [-1, 1].

    Args:
        store: what it learns from.
        steps: of the optimiser.
        split: whose frames; all of them if None.
        seed: of weights, order and augmentation.
        augment: see :func:`augmented`.
        half: whether the network is run in bfloat16 (a quarter less CPU time).
    """
    torch.manual_seed(seed)
    classes = len(store.label_space.structures) + 1
    net = BasicUNet(2, 1, classes, features=(16, 16, 32, 64, 128, 16))
    loss = DiceCELoss(include_background=False, to_onehot_y=True, softmax=True)
    optimizer = torch.optim.AdamW(net.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    data, batch_size = FrameDataset(store), 16
    stream = iter(FrameStream(store.indices(split=split), seed=seed, batch_size=batch_size, steps=steps))
    for _ in range(steps):
        batch = default_collate([data[next(stream)] for _ in range(batch_size)])
        image, mask = batch["image"], batch["mask"]
        if augment:
            image, mask = augmented(image, mask)
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            logits = net(image)
        loss(logits.float(), mask[:, None]).backward()
        optimizer.step()
        schedule.step()
    return net.eval()


def augmented(image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Turns (10 degrees), scales (10 %), shifts (5 %), brightens (.1 of 2) and stretches (20 %), each uniform.

    Args:
        image: ``[B, 1, H, W]`` in [-1, 1].
        mask: ``[B, H, W]``.
    """
    draw = torch.rand(6, len(image)) * 2 - 1
    turn, scale = draw[0] * np.deg2rad(10), 1 + 0.1 * draw[1]
    cos, sin, shift = scale * turn.cos(), scale * turn.sin(), 0.1 * draw[2:4]
    rows = torch.stack([torch.stack([cos, -sin, shift[0]], 1), torch.stack([sin, cos, shift[1]], 1)], 1)
    grid = F.affine_grid(rows, list(image.shape), align_corners=False)
    moved = F.grid_sample(image + 1, grid, align_corners=False) - 1
    labels = F.grid_sample(mask[:, None].float(), grid, mode="nearest", align_corners=False)[:, 0].long()
    contrast, level = (1 + 0.2 * draw[4])[:, None, None, None], (0.1 * draw[5])[:, None, None, None]
    return ((moved + 1) * contrast - 1 + level).clamp(-1, 1), labels


@torch.no_grad()
def mask_dice(net: nn.Module, frames: Tensor, masks: Tensor) -> Tensor:
    """Dice ``[B, structures]`` of what the segmenter finds in frames ``[B, 1, H, W]`` against masks ``[B, H, W]``.

    NaN where the mask lacks the structure.
    """
    logits = net(frames)
    found, asked = (F.one_hot(m, logits.shape[1]).movedim(-1, 1) for m in (logits.argmax(1), masks))
    return compute_dice(found, asked, include_background=False, ignore_empty=True)


def patient_dice(net: nn.Module, store: EchoStore, indices: np.ndarray, *, four_chamber: tuple[str, ...] = ()) -> dict:
    """Dice in percent per structure: over the frames that show it, then over patients.

    Args:
        net: the segmenter.
        store: where the frames are.
        indices: of the frames.
        four_chamber: structures that are judged on four-chamber views alone.

    Returns:
        by structure ``{"mean", "sd", "patients"}`` (sd over patients), and ``"mean"`` over the structures.
    """
    data = FrameDataset(store)
    parts = []
    for start in range(0, len(indices), 64):
        batch = default_collate([data[int(i), 0] for i in indices[start : start + 64]])
        parts.append(mask_dice(net, batch["image"], batch["mask"]))
    table = store.table.iloc[indices].reset_index(drop=True)
    dice = table[["patient", "view"]].assign(
        **{name: 100 * torch.cat(parts)[:, i].numpy() for i, name in enumerate(store.label_space.structures)}
    )
    dice.loc[~dice["view"].str.contains("4C"), list(four_chamber)] = np.nan
    patients = dice.drop(columns="view").groupby("patient").mean()
    rows: dict = {
        name: {
            "mean": round(float(patients[name].mean()), 2),
            "sd": round(float(patients[name].std()), 2),
            "patients": int(patients[name].notna().sum()),
        }
        for name in store.label_space.structures
    }
    return {**rows, "mean": round(float(np.mean([row["mean"] for row in rows.values()])), 2)}
