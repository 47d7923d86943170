"""``synthesize``: an adapter and a store of masks in, a store of labelled synthetic frames out."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch.utils.data import default_collate

from tte_tee.data.datamodule import FrameDataset, usable_frames
from tte_tee.data.leakage import BASE_SEEN, MASK_SEEN, SEEN, patients_of_masks, seen_in
from tte_tee.data.store import EchoStore, FrameInfo, StoreWriter
from tte_tee.errors import UserError
from tte_tee.models.folders import Adapter, load_adapter
from tte_tee.synthesis.frames import Sampling, draw_frames
from tte_tee.synthesis.provenance import provenance


def synthesize(
    adapter: str | Path,
    masks: str | Path,
    out: str | Path,
    *,
    sampling: Sampling = Sampling(),
    samples_per_mask: int = 1,
    split: str | None = None,
    base: str | None = None,
    batch_size: int = 16,
    device: str = "cpu",
    command: str = "",
) -> None:
    """Draws frames for the masks of a store and writes them with those masks.

    Args:
        adapter: folder left by a run of TEEAdapter.
        masks: echo store whose masks, sectors and views are used.
        out: echo store to write.
        sampling: solver, steps, guidance and seed.
        samples_per_mask: frames per mask, each from its own noise.
        split: masks of one split alone.
        base: where the adapter's base is now, if it moved.
        batch_size: frames drawn at once; changes speed, not frames.
        device: torch device.
        command: to be recorded in the store.

    Raises:
        UserError: adapter, base and masks do not fit, or a frame has no mask or no plane that the generator knows.
    """
    store = EchoStore(masks)
    if Path(out).resolve() == store.path.resolve():
        raise UserError(f"--out {out}: is the store of masks itself; give another name")
    loaded = load_adapter(adapter, base)
    _check_fit(loaded, store, Path(adapter))
    indices = usable_frames(store, split, image=False)
    try:
        loaded.denoiser.to(device)
        loaded.maskr2.to(device)
    except (RuntimeError, AssertionError) as error:  # torch knows no such device, or was built without it
        raise UserError(f"--device {device}: {str(error).splitlines()[0]}") from error
    jobs = [(int(i), n) for i in indices for n in range(samples_per_mask)]
    record = {
        **provenance(),
        "sampling": asdict(sampling),
        "adapter": {"hash": loaded.hash, "base_hash": loaded.record["base_hash"], "method": loaded.record["method"]},
        "trained_on": loaded.record.get("data"),
        **_seen(store, indices, seen_in(loaded.record)),
        BASE_SEEN: sorted(seen_in(loaded.record, BASE_SEEN)),
        "masks": {"store": store.path.name, "hash": store.content_hash},
    }
    with _writer(out, store, command, record) as writer:
        for (index, n), frame in zip(jobs, _draw_all(loaded, store, jobs, sampling, batch_size, device), strict=True):
            _, mask, sector = store.frame(index)
            writer.append(frame, mask, sector, generated_info(store.info(index), sampling.seed, n))


def write_predictions(
    path: Path,
    store: EchoStore,
    frames: Mapping[int, np.ndarray],
    sampling: Sampling,
    known: Mapping[str, Collection[str]],
) -> None:
    """Writes frames that ``predict`` drew, by index of the mask's frame in ``store``.

    Args:
        path: store to write.
        store: of the masks.
        frames: uint8 ``[H, W]``.
        sampling: how they were drawn.
        known: patients who went into the denoiser, under ``seen`` and ``base_seen``.
    """
    record = {
        **provenance(),
        "sampling": asdict(sampling),
        "masks": {"store": store.path.name, "hash": store.content_hash},
        **_seen(store, list(frames), known[SEEN]),
        BASE_SEEN: sorted(known[BASE_SEEN]),
    }
    with _writer(path, store, "python -m tte_tee predict", record) as writer:
        for index in sorted(frames):
            _, mask, sector = store.frame(index)
            writer.append(frames[index], mask, sector, generated_info(store.info(index), sampling.seed, 0))


def generated_info(mask: FrameInfo, seed: int, sample: int) -> FrameInfo:
    """What a store says of a synthetic frame: patient, view and split are those of its mask."""
    return FrameInfo(
        key=f"{mask.key}#{seed}.{sample}",
        patient=mask.patient,
        study=mask.study,
        view=mask.view,
        phase=mask.phase,
        spacing=mask.spacing,
        origin="generated",
        split=mask.split,
        cohort=mask.cohort,
        mask_source=mask.mask_source,
        sector_confidence=mask.sector_confidence,
        parent=mask.key,
        seed=seed,
    )


def _seen(store: EchoStore, indices: Sequence[int] | np.ndarray, known: Collection[str]) -> dict[str, list[str]]:
    """Everybody who went into adapter and base (``known``) and masks, and those whose masks are all that did."""
    learnt, shown = {*known, *seen_in(store.provenance)}, patients_of_masks(store, indices)
    return {SEEN: sorted(learnt | shown), MASK_SEEN: sorted(shown - learnt)}


def _writer(out: str | Path, store: EchoStore, command: str, record: dict[str, Any]) -> StoreWriter:
    licence = f"synthetic; masks: {store.licence}"
    return StoreWriter(out, store.label_space, licence=licence, command=command, provenance=json.dumps(record))


def _check_fit(loaded: Adapter, store: EchoStore, folder: Path) -> None:
    if store.label_space.structures != loaded.target.structures:
        raise UserError(
            f"{store.path}: masks hold {', '.join(store.label_space.structures)}, but {folder} was adapted to "
            f"{', '.join(loaded.target.structures)}"
        )
    side = loaded.denoiser.config.image_size
    if tuple(store.image_size) != (side, side):
        raise UserError(
            f"{store.path}: masks are {'x'.join(map(str, store.image_size))}, {folder} draws {side}x{side}; "
            "pack the masks at that size"
        )


def _draw_all(
    loaded: Adapter, store: EchoStore, jobs: Sequence[tuple[int, int]], sampling: Sampling, batch_size: int, device: str
) -> Iterator[np.ndarray]:
    """uint8 ``[H, W]`` for each (index of the mask, number of the sample), in order."""
    dataset = FrameDataset(store)
    keys = store.table["key"]
    columns = (TextColumn("[progress.description]{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as progress:
        task = progress.add_task("frames", total=len(jobs))
        for start in range(0, len(jobs), batch_size):
            part = jobs[start : start + batch_size]
            batch = {k: v.to(device) for k, v in default_collate([dataset[index, 0] for index, _ in part]).items()}
            advance = partial(progress.advance, task, len(part) / sampling.steps)
            yield from draw_frames(
                loaded.denoiser,
                loaded.schedule,
                loaded.maskr2,
                batch,
                [f"{keys[index]}#{n}" for index, n in part],
                sampling,
                on_step=advance,
            ).numpy()
            progress.update(task, completed=start + len(part))
