"""A tiny studio: 16x16, a base with random weights, a shape model of drawn blobs."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import torch
from conftest import SIZE, make_base, write_store

from tte_tee.anatomy import TEE, solve
from tte_tee.data.shape_model import fit_shape_model, save_shape_model
from tte_tee.data.store import EchoStore
from tte_tee.models.folders import load_base, save_adapter
from tte_tee.models.maskr2 import MaskR2
from tte_tee.models.segmenter import Segmenter, SegmenterConfig, save_segmenter
from tte_tee.seen import BASE_SEEN, SEEN
from tte_tee.studio.serve import Service, service
from tte_tee.studio.start import Studio, open_studio

PATIENTS = {"train": 12, "val": 2}


def make_store(folder: Path) -> Path:
    """Twelve patients to learn from, two to validate."""
    return write_store(folder / "real.h5", TEE, patients=PATIENTS)


def make_adapter(folder: Path, name: str, store: Path, seed: int = 7) -> Path:
    """An adapter whose weights are its own, said to have learnt from a store."""
    base = make_base(folder / f"base_{name}", seed=7)
    loaded, other = load_base(str(base)), load_base(str(make_base(folder / f"weights_{name}", seed=seed)))
    table = EchoStore(store)
    record = {
        "base": str(base),
        "base_hash": loaded.hash,
        BASE_SEEN: ["somebody"],
        SEEN: ["somebody", *sorted(set(table.table["patient"]))],
        "data": {"store": store.name, "hash": table.content_hash},
    }
    rule = MaskR2(solve(loaded.denoiser.config.structures, TEE.structures))
    save_adapter(folder / name / "adapter", other.denoiser, rule, "full", TEE, record)
    return folder / name / "adapter"


def make_shapes(folder: Path, store: Path) -> Path:
    save_shape_model(folder / "shapes", fit_shape_model(EchoStore(store), record={"made": "by a test"}))
    return folder / "shapes"


def make_segmenter(folder: Path, seen: list[str]) -> Path:
    """One with random weights that knows some patients."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        network = Segmenter(SegmenterConfig(channels=(4, 8, 8)), TEE.structures)
    save_segmenter(folder / "segmenter", network, TEE, (SIZE, SIZE), {SEEN: seen})
    return folder / "segmenter"


def make_studio(folder: Path) -> Studio:
    """Two adapters, a segmenter of others, and the store that the adapters learnt from."""
    store = make_store(folder)
    return open_studio(
        [str(make_adapter(folder, name, store, seed)) for name, seed in (("first", 8), ("second", 9))],
        segmenter=str(make_segmenter(folder, ["another"])),
        shapes=str(make_shapes(folder, store)),
        trained_on=str(store),
        out=folder / "saved.h5",
        work=folder / "work",
        command="python -m tte_tee studio",
    )


@contextmanager
def served(studio: Studio, host: str = "127.0.0.1") -> Iterator[Service]:
    """The page of a studio, served on a free port within the block."""
    with service(studio, host, 0) as page:
        thread = Thread(target=page.run)
        thread.start()
        try:
            yield page
        finally:
            page.stop()
            thread.join(60)
