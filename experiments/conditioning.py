"""Which conditioning obeys masks best at equal compute: tokens, concat or both.

Trains a small segmenter on the real training frames of a store, then asks it what each base
drew for the masks of validation patients. Mask fidelity is the Dice between the mask that was
asked for and the mask that was found, averaged over frames, per structure.

    python experiments/conditioning.py --store TTE.h5 --out FILE.json tokens=BASE concat=BASE both=BASE
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from monai.losses import DiceCELoss
from monai.metrics import compute_dice
from monai.networks.nets import BasicUNet
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import default_collate

from tte_tee.anatomy.maskr2 import identity
from tte_tee.data.datamodule import FrameDataset
from tte_tee.data.mixing import FrameStream
from tte_tee.data.store import EchoStore
from tte_tee.models.folders import load_base
from tte_tee.models.maskr2 import MaskR2
from tte_tee.synthesis.frames import Sampling, draw_frames
from tte_tee.synthesis.provenance import provenance


def train_segmenter(store: EchoStore, steps: int) -> nn.Module:
    """A MONAI BasicUNet on the store's training frames, grey levels in [-1, 1]."""
    torch.manual_seed(0)
    classes = len(store.label_space.structures) + 1
    net = BasicUNet(2, 1, classes, features=(16, 16, 32, 64, 128, 16))
    loss = DiceCELoss(include_background=False, to_onehot_y=True, softmax=True)
    optimizer = torch.optim.AdamW(net.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    data, batch_size = FrameDataset(store), 16
    stream = iter(FrameStream(store.indices(split="train"), seed=0, batch_size=batch_size, steps=steps))
    for _ in range(steps):
        batch = default_collate([data[next(stream)] for _ in range(batch_size)])
        optimizer.zero_grad()
        loss(net(batch["image"]), batch["mask"][:, None]).backward()
        optimizer.step()
        schedule.step()
    return net.eval()


@torch.no_grad()
def fidelity(net: nn.Module, frames: Tensor, masks: Tensor) -> Tensor:
    """Dice ``[B, structures]`` of what the segmenter finds in frames ``[B, 1, H, W]`` against masks ``[B, H, W]``."""
    logits = net(frames)
    found, asked = (F.one_hot(m, logits.shape[1]).movedim(-1, 1) for m in (logits.argmax(1), masks))
    return compute_dice(found, asked, include_background=False, ignore_empty=True)


def drawn_frames(base: str, store: EchoStore, batch: dict[str, Tensor]) -> Tensor:
    """What a base draws for a batch of masks, ``[B, 1, H, W]`` in [-1, 1]."""
    loaded = load_base(base)
    maskr2 = MaskR2(identity(store.label_space.structures))
    keys = [str(i) for i in batch["frame"].tolist()]
    frames = draw_frames(loaded.denoiser.eval(), loaded.schedule, maskr2, batch, keys, Sampling())
    return frames.float().div(127.5).sub(1.0)[:, None]


def main() -> None:
    """Runs the comparison and writes it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bases", nargs="+", metavar="NAME=BASE")
    parser.add_argument("--store", required=True)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--frames", type=int, default=80, help="validation masks to draw")
    parser.add_argument("--segmenter-steps", type=int, default=400)
    options = parser.parse_args()

    store = EchoStore(options.store)
    net = train_segmenter(store, options.segmenter_steps)
    indices = store.indices(split="val")
    chosen = indices[np.linspace(0, len(indices) - 1, options.frames).round().astype(int)]
    data = FrameDataset(store)
    batch = default_collate([data[int(i), 0] for i in chosen])

    def row(frames: Tensor) -> dict[str, float]:
        dice = fidelity(net, frames, batch["mask"]).nanmean(dim=0)
        named = dict(zip(store.label_space.structures, (100 * dice).tolist(), strict=True))
        return {k: round(v, 2) for k, v in {**named, "mean": 100 * dice.mean().item()}.items()}

    results = {"real frames": row(batch["image"])}
    for name, base in (word.split("=", 1) for word in options.bases):
        results[name] = row(drawn_frames(base, store, batch))
        print(name, results[name], flush=True)
    record = {
        **provenance(),
        "store": store.content_hash,
        "frames": len(chosen),
        "split": "val",
        "dice_percent": results,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
