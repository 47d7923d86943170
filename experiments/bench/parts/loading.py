"""What the store is worth. Random reads of image and mask (phantom frames, 224x224) from a store, which gives the
sector on top, against the same frames as PNGs and as gzipped NIfTI; packing 1,800 pairs of PNGs by all cores, sectors
estimated, against decoding them once in one process; batches of 16 at 64x64 against MONAI's CacheDataset, which holds
decoded PNGs in memory: in the middle of training and, from opening the data, the first one; the share of a training
step (lora_mlp) that loading its batch and drawing its noise takes; and the peak memory of writing and reading a store
of 200,000 frames (32x32) against one with a hundredth of them.
"""

import os
import tempfile
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path

import cv2
import monai.transforms as mt
import nibabel
import numpy as np
from memory import fill_and_read, fresh_process
from monai.data import CacheDataset
from networks import LORA_MLP, shape, trained, training_step
from ratios import Options, Row, interleaved, row, seconds
from recipes import write_recipe
from torch.utils.data import default_collate

from tte_tee.data.datamodule import Batch, FrameDataset
from tte_tee.data.mixing import FrameStream
from tte_tee.data.pack import pack_folder
from tte_tee.data.phantom import PhantomSpec, write_phantom
from tte_tee.data.store import EchoStore
from tte_tee.models.diffusion import keyed_draws

COPIES = 9  # of each frame in the folder that is packed: 1,800 frames, as many as CAMUS has
BATCH = 16


def measure(options: Options) -> list[Row]:
    """Reading, packing, batches, memory."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        stores = {}
        for side in options.pick((224, 64), (32, 16)):
            path = folder / f"{side}.h5"
            write_phantom(PhantomSpec("tee", options.pick(50, 8), size=side), path)
            stores[side] = EchoStore(path)
        large, small = stores.values()
        write_files(large, folder, ("png", "nifti", "pack"))
        (folder / "small").mkdir()
        write_files(small, folder / "small", ("png",))
        return [
            *reading_rows(options, large, folder),
            packing_row(options, folder),
            *batch_rows(options, small, folder / "small"),
            memory_row(options, folder),
        ]


def write_files(store: EchoStore, folder: Path, kinds: tuple[str, ...]) -> None:
    """Every frame as two PNGs, two gzipped NIfTIs, and the PNGs' copies for packing."""
    for kind in kinds:
        (folder / kind).mkdir()
    for i, (image, mask, _) in enumerate(store):
        for name, array in (("image", image), ("mask", mask)):
            png = folder / f"png/{name}{i}.png"
            png.write_bytes(cv2.imencode(".png", array)[1].tobytes())
            if "nifti" in kinds:
                nibabel.save(nibabel.Nifti1Image(array.T, np.eye(4)), folder / f"nifti/{name}{i}.nii.gz")
            for copy in range(COPIES if "pack" in kinds else 0):
                suffix = "_gt" if name == "mask" else ""
                os.link(png, folder / f"pack/p{i // 4}_{i % 4 * COPIES + copy}{suffix}.png")


def decoded(path: Path) -> np.ndarray:
    """One PNG."""
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def reading_rows(options: Options, store: EchoStore, folder: Path) -> list[Row]:
    """Random reads, in the same order from each."""

    def png(i: int) -> None:
        for name in ("image", "mask"):
            decoded(folder / f"png/{name}{i}.png")

    def nifti(i: int) -> None:
        for name in ("image", "mask"):
            np.asarray(nibabel.load(folder / f"nifti/{name}{i}.nii.gz").dataobj)

    order = np.random.default_rng(0).integers(0, len(store), options.pick(200, 10)).tolist()

    def read_all(read: Callable[[int], object]) -> None:
        for i in order:
            read(i)

    readers: dict[str, Callable[[int], object]] = {"store": store.frame, "PNG": png, "gzipped NIfTI": nifti}
    rivals = {name: seconds(partial(read_all, read), per=len(order)) for name, read in readers.items()}
    taken = {name: [1000 * value for value in values] for name, values in interleaved(rivals, options.rounds).items()}
    return [row(taken, "store", other, "ms a frame") for other in ("PNG", "gzipped NIfTI")]


def packing_row(options: Options, folder: Path) -> Row:
    """The whole command's work against what no packing can do without."""
    recipe, files = folder / "recipe.yaml", sorted((folder / "pack").iterdir())
    write_recipe(recipe, size=options.pick(64, 16), sector="estimate")
    rivals = {
        f"packing {len(files) // 2:,} pairs": seconds(
            lambda: pack_folder(recipe, folder / "pack", folder / "packed.h5")
        ),
        "decoding their PNGs": seconds(lambda: [decoded(path) for path in files]),
    }
    return row(interleaved(rivals, options.few), *rivals)


def batch_rows(options: Options, store: EchoStore, folder: Path) -> list[Row]:
    """Batches of a store against those of CacheDataset, and against the step that they are for."""
    chosen = iter(FrameStream(store.indices(), seed=0, batch_size=BATCH, steps=10**6))

    def of_store(data: FrameDataset) -> Batch:
        return default_collate([data[key] for key in islice(chosen, BATCH)])

    def of_cache(data: CacheDataset) -> Batch:
        return default_collate([data[index] for index, _ in islice(chosen, BATCH)])

    def with_noise() -> None:
        batch = of_store(opened)
        keyed_draws(("train", 0), batch["frame"], batch["draw"], batch["image"].shape[1:])

    opened, cache = FrameDataset(store), cached(folder, len(store))
    middle = {"a batch of the store": lambda: of_store(opened), "a batch of CacheDataset": lambda: of_cache(cache)}
    first = {
        "the store's first batch": lambda: of_store(FrameDataset(EchoStore(store.path))),
        "CacheDataset's first batch": lambda: of_cache(cached(folder, len(store))),
    }
    denoiser = trained(shape(options), LORA_MLP, options.device)
    waiting = {
        "loading a batch, with its noise": seconds(with_noise),
        "a step of lora_mlp": seconds(training_step(denoiser, BATCH, options.device), options.device),
    }
    of = {name: seconds(work) for name, work in middle.items()}, {name: seconds(work) for name, work in first.items()}
    return [row(interleaved(rivals, options.rounds), *rivals) for rivals in (*of, waiting)]


def cached(folder: Path, count: int) -> CacheDataset:
    """Every frame decoded, scaled and kept, as MONAI's tutorials do it."""
    both = ("image", "mask")
    files = [{name: str(folder / f"png/{name}{i}.png") for name in both} for i in range(count)]
    steps = [
        mt.LoadImaged(both, reader="PILReader"),
        mt.EnsureChannelFirstd(both),
        mt.ScaleIntensityRanged("image", 0, 255, -1, 1),
    ]
    return CacheDataset(files, mt.Compose(steps), progress=False)


def memory_row(options: Options, folder: Path) -> Row:
    """Many frames against a hundredth of them."""
    counts = options.pick((200_000, 2_000), (4000, 40))
    rivals = {f"a store of {count:,} frames": partial(fresh_process, fill_and_read, folder, count) for count in counts}
    return row(interleaved(rivals, 2, warm_up=False), *rivals, "MiB")
