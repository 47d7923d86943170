"""The judge's cost. A training step of the default segmenter (64x64, batches of 16) against plain MONAI and Lightning
with the same network, loss and optimiser on frames that are held in memory: with the frames as they are, and augmented
(ours: the `standard` pipeline, read from the store and averaged by EMA, as `fit` does; MONAI's: RandAffine, intensity
and contrast over a CacheDataset). Then the metrics of `evaluate segmenter` (Dice, HD95, HD, ASSD, surface Dice and the
case of every structure) against MONAI's Dice, HD95 and surface Dice alone, on the same pairs of masks; seconds per
1,000 frames.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path

import lightning as L
import monai.transforms as mt
import numpy as np
import torch
from monai.data import CacheDataset
from monai.losses import DiceCELoss
from monai.metrics import DiceMetric, HausdorffDistanceMetric, SurfaceDiceMetric
from monai.networks.nets import UNet
from monai.networks.utils import one_hot
from ratios import Options, Reading, Row, interleaved, row, seconds
from subjects import fit_seconds
from torch import Tensor
from torch.utils.data import DataLoader

from tte_tee.anatomy import TEE
from tte_tee.data.datamodule import frame_tensors
from tte_tee.data.phantom import PhantomSpec, write_phantom
from tte_tee.data.segmentation import SegmentationDataModule
from tte_tee.data.store import EchoStore
from tte_tee.metrics.cases import Pair
from tte_tee.metrics.segmentation import evaluate
from tte_tee.models.segmenter import SegmenterConfig
from tte_tee.tasks.callbacks import EMA
from tte_tee.tasks.segmenter import HeartSegmenter

CLASSES = len(TEE.structures) + 1
TOLERANCE = 1.5  # pixels


class Plain(L.LightningModule):
    """What a user of MONAI and Lightning would write: the network, loss and optimiser of our segmenter."""

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.net = UNet(2, 1, CLASSES, channels, [2] * (len(channels) - 1), num_res_units=2)
        self.loss = DiceCELoss(include_background=False, to_onehot_y=True, softmax=True, batch=True)

    def training_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> Tensor:
        loss = self.loss(self.net(batch["image"]), batch["mask"])
        self.log("train/loss", loss, prog_bar=True, batch_size=len(batch["image"]))
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), 5e-3, weight_decay=0.01)


def measure(options: Options) -> list[Row]:
    """Training, then metrics."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "tee.h5"
        write_phantom(PhantomSpec("tee", options.pick(50, 10), size=options.pick(64, 16)), path)
        store = EchoStore(path)
        return [*training_rows(options, store), metrics_row(options, store)]


def training_rows(options: Options, store: EchoStore) -> list[Row]:
    """Seconds per step, as they are and augmented."""
    rivals = {
        "ours": ours(options, store, "none"),
        "MONAI and Lightning": plain(options, store),
        "ours, augmented": ours(options, store, "standard", EMA()),
        "MONAI and Lightning, augmented": plain(options, store, augmentation()),
    }
    taken = interleaved(rivals, options.few)
    names = list(rivals)
    return [row(taken, what, against, "s a step") for what, against in zip(names[::2], names[1::2], strict=True)]


def ours(options: Options, store: EchoStore, augmentation: str, *callbacks: L.Callback) -> Reading:
    """A fit of our segmenter on our data module."""
    channels, size, steps = network(options)

    def read() -> float:
        data = SegmentationDataModule(str(store.path), augmentation=augmentation, batch_size=size)
        module = HeartSegmenter(SegmenterConfig(channels=channels))
        return fit_seconds(module, data, options.device, steps, *callbacks)

    return read


def plain(options: Options, store: EchoStore, augmentation: mt.Compose | None = None) -> Reading:
    """A fit of the same network on the same frames, in memory from the start."""
    channels, size, steps = network(options)
    frames = []
    for index in store.indices(split="train").tolist():
        tensors = frame_tensors(*store.frame(index))
        frames.append({"image": tensors["image"], "mask": tensors["mask"][None]})
    data = CacheDataset(frames, augmentation or mt.Compose([]), progress=False)
    loader = DataLoader(data, size, shuffle=True, drop_last=True)
    return lambda: fit_seconds(Plain(channels), loader, options.device, steps)


def network(options: Options) -> tuple[tuple[int, ...], int, int]:
    """Channels, batch size and steps."""
    return options.pick((SegmenterConfig().channels, 16, 100), ((4, 8, 8), 4, 5))


def augmentation() -> mt.Compose:
    """MONAI's transforms of the kind of our ``standard`` ones, with its ranges."""
    both, side = ("image", "mask"), 0.05 * 64
    return mt.Compose(
        [
            mt.RandAffined(
                both,
                prob=1.0,
                rotate_range=float(np.deg2rad(10)),
                scale_range=0.1,
                translate_range=side,
                mode=("bilinear", "nearest"),
                padding_mode="zeros",
            ),
            mt.RandScaleIntensityd("image", factors=0.2, prob=1.0),
            mt.RandAdjustContrastd("image", prob=1.0, gamma=(0.8, 1.25)),
        ]
    )


def metrics_row(options: Options, store: EchoStore) -> Row:
    """Ours over MONAI's, on masks and the same shifted by two pixels."""
    count = options.pick(200, 4)
    pairs = []
    for index in range(count):
        truth = store.frame(index % len(store))[1]
        pairs.append(Pair(f"{index}", f"{index // 4}", np.roll(truth, (2, -2), (0, 1)), truth, None))
    found, truth = (torch.from_numpy(np.stack(masks)).to(options.device) for masks in zip(*_masks(pairs), strict=True))

    def of_monai() -> None:
        both = [one_hot(masks[:, None].long(), CLASSES) for masks in (found, truth)]
        for metric in (
            DiceMetric(include_background=False),
            HausdorffDistanceMetric(percentile=95),
            SurfaceDiceMetric([TOLERANCE] * len(TEE.structures)),
        ):
            metric(*both)
            metric.aggregate()

    rivals = {
        "our metrics": seconds(lambda: evaluate(pairs, TEE).summary(), per=count),
        "MONAI's Dice, HD95, surface Dice": seconds(of_monai, options.device, count),
    }
    taken = {name: [1000 * value for value in values] for name, values in interleaved(rivals, options.rounds).items()}
    return row(taken, *rivals, "s for 1,000 frames")


def _masks(pairs: list[Pair]) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(pair.found, pair.truth) for pair in pairs]
