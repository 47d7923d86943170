"""What the store is worth: random reads beside the files it was packed from, packing, and memory.

    python experiments/bench/loading.py [--out FILE.json]

The same phantom frames, image and mask at 224x224, as PNGs, as gzipped NIfTI and as a store, read in
one random order by turns; every figure is a ratio of medians. The store gives the sector on top.
Memory is the highest resident size of a process of its own, against one with a hundredth of the frames.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import nibabel
import numpy as np
import yaml
from rich.console import Console
from rich.table import Table

from tte_tee.anatomy import TEE
from tte_tee.data.pack import pack_folder
from tte_tee.data.phantom import PhantomSpec, write_phantom
from tte_tee.data.store import EchoStore, FrameInfo, StoreWriter
from tte_tee.synthesis.provenance import provenance

SIZE, PATIENTS = 224, 50  # 200 frames
COPIES = 9  # of each frame in the folder that is packed: 1,800 frames, as many as CAMUS has
ROUNDS, READS = 7, 100
MANY = 200_000
RECIPE = {
    "name": "bench",
    "licence": "CC0-1.0 (synthetic)",
    "images": r"(?P<patient>p\d+)_(?P<frame>\d+)\.png",
    "masks": "{patient}_{frame}_gt.png",
    "view": "ME4C",
    "label_space": "tee",
    "labels": {0: "background", 1: "LV", 2: "LA", 3: "RV", 4: "RA"},
    "size": 64,
    "sector": "estimate",
    "split": "train",
    "spacing": "unknown",
}


def write_files(store: EchoStore, folder: Path) -> None:
    """Every frame as two PNGs and two gzipped NIfTIs, and the PNGs' copies for packing."""
    for kind in ("png", "nifti", "pack"):
        (folder / kind).mkdir()
    for i, (image, mask, _) in enumerate(store):
        for name, array in (("image", image), ("mask", mask)):
            png = folder / f"png/{name}{i}.png"
            png.write_bytes(cv2.imencode(".png", array)[1].tobytes())
            nibabel.save(nibabel.Nifti1Image(array.T, np.eye(4)), folder / f"nifti/{name}{i}.nii.gz")
            for copy in range(COPIES):
                suffix = "_gt" if name == "mask" else ""
                os.link(png, folder / f"pack/p{i // 4}_{i % 4 * COPIES + copy}{suffix}.png")


def read_rates(store: EchoStore, folder: Path) -> dict[str, float]:
    """Rate of random reads from the store over that of the files."""

    def png(i: int) -> None:
        for name in ("image", "mask"):
            cv2.imread(str(folder / f"png/{name}{i}.png"), cv2.IMREAD_UNCHANGED)

    def nifti(i: int) -> None:
        for name in ("image", "mask"):
            np.asarray(nibabel.load(folder / f"nifti/{name}{i}.nii.gz").dataobj)

    readers: dict[str, Callable[[int], object]] = {"store": store.frame, "png": png, "nifti": nifti}
    times: dict[str, list[float]] = {name: [] for name in readers}
    for turn in range(ROUNDS):
        order = np.random.default_rng(turn).integers(0, len(store), READS).tolist()
        for name, read in readers.items():
            start = time.perf_counter()
            for i in order:
                read(i)
            times[name].append(time.perf_counter() - start)
    median = {name: statistics.median(values) for name, values in times.items()}
    return {
        "store_over_png": median["png"] / median["store"],
        "store_over_gzip_nifti": median["nifti"] / median["store"],
        "store_frames_per_s": READS / median["store"],
    }


def pack_seconds(folder: Path) -> float:
    """1,800 pairs of PNGs into a 64x64 store, by as many processes as there are cores."""
    recipe = folder / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(RECIPE))
    start = time.perf_counter()
    pack_folder(recipe, folder / "pack", folder / "packed.h5")
    return time.perf_counter() - start


def fill_and_read(path: Path, frames: int) -> None:
    """Writes a store of many small frames and reads some; prints the highest resident size in MiB."""
    frame = np.zeros((3, 32, 32), np.uint8)
    frame[2] = 1
    with StoreWriter(path, TEE, licence="none", command="bench") as writer:
        for i in range(frames):
            name = f"patient{i // 20:05d}"
            info = FrameInfo(f"{name}/{i:06d}", name, "ME4C", "train", "acquired", mask_source="none")
            writer.append(*frame, info)
    store = EchoStore(path)
    for i in np.random.default_rng(0).integers(0, frames, 2000).tolist():
        store.frame(i)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def memory(folder: Path) -> dict[str, float]:
    """Highest resident size with many frames, and over that with a hundredth of them."""
    sizes = []
    for frames in (MANY // 100, MANY):
        command = [sys.executable, __file__, "--fill", str(folder / f"{frames}.h5"), "--frames", str(frames)]
        sizes.append(float(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    return {"memory_200k_frames_mib": sizes[1], "memory_200k_over_2k_frames": sizes[1] / sizes[0]}


def main() -> None:
    """Measures, prints and, where asked for, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="JSON to write")
    parser.add_argument("--fill", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--frames", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.fill:
        fill_and_read(options.fill, options.frames)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_phantom(PhantomSpec("tee", PATIENTS, size=SIZE), folder / "phantom.h5")
        store = EchoStore(folder / "phantom.h5")
        write_files(store, folder)
        figures = {**read_rates(store, folder), "pack_1800_frames_s": pack_seconds(folder), **memory(folder)}
    table = Table("what", "figure")
    for key, value in figures.items():
        table.add_row(key, f"{value:.4g}")
    Console().print(table)
    if options.out:
        options.out.write_text(
            json.dumps({**provenance(), "cpus": os.cpu_count(), "figures": figures}, indent=2) + "\n"
        )


if __name__ == "__main__":
    main()
