"""``synthesize``: an adapter and a store of masks in, a store of labelled synthetic frames out."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from tte_tee.data.curate.card import card_path, write_card
from tte_tee.data.curate.copying import check_out
from tte_tee.data.leakage import BASE_SEEN, MASK_SEEN, SEEN, patients_of_masks, seen_in
from tte_tee.data.parts import Parts
from tte_tee.data.store import MOST_FRAMES, EchoStore, FrameInfo, StoreWriter
from tte_tee.data.usable import usable_frames
from tte_tee.errors import UserError
from tte_tee.models.devices import named_device
from tte_tee.models.folders import Adapter, load_adapter
from tte_tee.provenance import provenance
from tte_tee.synthesis.batches import (
    Drawing,
    cut,
    default_processes,
    draw_batches,
    drawn_frames,
    fingerprint,
)
from tte_tee.synthesis.frames import Sampling
from tte_tee.synthesis.shards import Shard, refuse_missing

_MOST_THREADS = 1024  # a machine may have fewer cores than the one whose frames are drawn again


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
    threads: int = 1,
    device: str = "cpu",
    processes: int | None = None,
    shard: Shard | None = None,
    merge: int | None = None,
    command: str = "",
) -> Path:
    """Draws frames for the masks of a store and writes them with those masks, and their datasheet beside them.

    Batches are kept beside ``out`` until that is whole: the same call goes on where another was
    killed, and takes up what shards drew. With the same batch size, threads, hardware and libraries,
    frames are the same to the bit, whatever the number of processes, shards and kills; another batch
    size or number of threads changes them by 2 grey levels at most, in single precision.

    Args:
        adapter: folder left by a run of TEEAdapter.
        masks: echo store whose masks, sectors and views are used.
        out: echo store to write.
        sampling: solver, steps, guidance and seed.
        samples_per_mask: frames per mask, each from its own noise.
        split: masks of one split alone.
        base: where the adapter's base is now, if it moved.
        batch_size: frames drawn at once.
        threads: CPU threads per process.
        device: torch device; ``cuda`` alone spreads processes and shards over the GPUs of a node.
        processes: that draw; None takes as many as fill the CPU cores, or one per GPU, or one for a shard.
        shard: draws a share of the batches and leaves ``out`` to :obj:`merge`.
        merge: draws nothing; writes ``out`` from what so many shards drew.
        command: to be recorded in the store.

    Returns:
        What was left: ``out``, or by a shard the folder of the parts.

    Raises:
        UserError: adapter, base and masks do not fit, a frame has no mask or no plane that the generator
            knows, or a shard to merge has not drawn all of its batches.
    """
    out, store = Path(out), EchoStore(masks)
    check_out(out, store)
    card_path(out)
    if threads > _MOST_THREADS:
        raise UserError(f"--threads {threads}: use {_MOST_THREADS} at most")
    loaded = load_adapter(adapter, base)
    _check_fit(loaded, store, Path(adapter))
    indices = usable_frames(store, split, image=False)
    if len(indices) * samples_per_mask > MOST_FRAMES:
        raise UserError(
            f"--samples-per-mask {samples_per_mask}: for {len(indices):,} masks, that is more than the "
            f"{MOST_FRAMES:,} frames that a store takes; draw several stores, each with another --seed"
        )
    drawn = {
        "split": split,
        "samples_per_mask": samples_per_mask,
        "batch_size": batch_size,
        "threads": threads,
        "device": named_device(device, reach=not merge).type,
    }
    record = {**_record(loaded, store, indices, sampling), "drawn": drawn}
    batches = cut(indices, samples_per_mask, batch_size)
    parts = Parts(out, fingerprint(record), shared=shard is not None)
    if merge:
        refuse_missing(out, parts, len(batches), merge)
    with parts:
        if not merge:
            hashes = (loaded.hash, store.content_hash)
            drawing = Drawing(Path(adapter), base, store.path, hashes, sampling, threads, device)
            draw_batches(drawing, batches, parts, shard, processes or default_processes(device, threads, shard))
        if shard:
            return parts.folder
        _write(out, store, drawn_frames(parts, batches), sampling, command, record)
    write_card(out)
    return out


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
        "masks": store.as_source(),
        **_seen(store, list(frames), known[SEEN]),
        BASE_SEEN: sorted(known[BASE_SEEN]),
    }
    drawn = (((index, 0), frames[index]) for index in sorted(frames))
    _write(path, store, drawn, sampling, "python -m tte_tee predict", record)


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


def drawn_by(loaded: Adapter, sampling: Sampling) -> dict[str, Any]:
    """Provenance of frames: what drew them, and how."""
    return {
        **provenance(),
        "sampling": asdict(sampling),
        "adapter": {"hash": loaded.hash, "base_hash": loaded.record["base_hash"], "method": loaded.record["method"]},
        "trained_on": loaded.record.get("data"),
    }


def known_to(learnt: Collection[str], shown: Collection[str]) -> dict[str, list[str]]:
    """Provenance of frames: from whom something was learnt, and who lent a mask beside."""
    return {SEEN: sorted({*learnt, *shown}), MASK_SEEN: sorted({*shown} - {*learnt})}


def _record(loaded: Adapter, store: EchoStore, indices: np.ndarray, sampling: Sampling) -> dict[str, Any]:
    """Provenance: what drew, for which masks, and who is known to it."""
    return {
        **drawn_by(loaded, sampling),
        **_seen(store, indices, seen_in(loaded.record)),
        BASE_SEEN: sorted(seen_in(loaded.record, BASE_SEEN)),
        "masks": store.as_source(),
    }


def _seen(store: EchoStore, indices: Sequence[int] | np.ndarray, known: Collection[str]) -> dict[str, list[str]]:
    """Everybody who went into adapter and base (``known``) and masks, and those whose masks are all that did."""
    return known_to({*known, *seen_in(store.provenance)}, patients_of_masks(store, indices))


def _write(
    out: Path,
    store: EchoStore,
    drawn: Iterable[tuple[tuple[int, int], np.ndarray]],
    sampling: Sampling,
    command: str,
    record: dict[str, Any],
) -> None:
    """Writes frames, each by index of its mask in ``store`` and number of the sample, with those masks."""
    licence, provenance = f"synthetic; masks: {store.licence}", json.dumps(record)
    with StoreWriter(out, store.label_space, licence=licence, command=command, provenance=provenance) as writer:
        for (index, sample), frame in drawn:
            _, mask, sector = store.frame(index)
            writer.append(frame, mask, sector, generated_info(store.info(index), sampling.seed, sample))


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
