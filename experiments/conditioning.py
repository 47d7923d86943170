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
from segmenter import mask_dice, train_segmenter
from torch import Tensor
from torch.utils.data import default_collate

from tte_tee.anatomy.maskr2 import identity
from tte_tee.data.datamodule import FrameDataset
from tte_tee.data.store import EchoStore
from tte_tee.models.folders import load_base
from tte_tee.models.maskr2 import MaskR2
from tte_tee.provenance import provenance
from tte_tee.synthesis.frames import Sampling, draw_frames


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
        dice = mask_dice(net, frames, batch["mask"]).nanmean(dim=0)
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
