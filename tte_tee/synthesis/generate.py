"""``synthesize``: an adapter and a store of masks in, a store of labelled synthetic frames out."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np

from tte_tee.data.curate.card import card_path, write_card
from tte_tee.data.curate.copying import check_out
from tte_tee.data.parts import Parts
from tte_tee.data.store import MOST_FRAMES, EchoStore
from tte_tee.data.usable import usable_frames
from tte_tee.errors import UserError
from tte_tee.models.devices import named_device
from tte_tee.models.folders import Adapter, load_adapter
from tte_tee.seen import BASE_SEEN, seen_in
from tte_tee.synthesis.batches import Batch, Drawing, Drawn, Work, cut, draw_batches, drawn_frames, fingerprint
from tte_tee.synthesis.frames import Sampling
from tte_tee.synthesis.gain import GAIN, Gain, brightness, matched_levels, recorded_levels, set_gain
from tte_tee.synthesis.record import drawn_by, seen_by_drawing, write_frames
from tte_tee.synthesis.shards import refuse_missing


def synthesize(
    adapter: str | Path,
    masks: str | Path,
    out: str | Path,
    *,
    sampling: Sampling = Sampling(),
    samples_per_mask: int = 1,
    gain: Gain = "training",
    split: str | None = None,
    base: str | None = None,
    work: Work = Work(),
    command: str = "",
) -> Path:
    """Draws frames for the masks of a store and writes them with those masks, and their datasheet beside them.

    Batches are kept beside ``out`` until that is whole: the same call goes on where another was killed, and takes up
    what shards drew. With the same batch size, threads, hardware and libraries, frames are the same to the bit,
    whatever the number of processes, shards and kills; another batch size or number of threads changes them by 2 grey
    levels at most, in single precision.

    Args:
        adapter: folder left by a run of TEEAdapter.
        masks: echo store whose masks, sectors and views are used.
        out: echo store to write.
        sampling: solver, steps, guidance and seed.
        samples_per_mask: frames per mask, each from its own noise.
        gain: ``training`` makes all frames together as bright as those that the adapter learnt from, the darkest as
            the darkest (one that learnt from none leaves them as they are); ``drawn`` leaves them as they were drawn.
        split: masks of one split alone.
        base: where the adapter's base is now, if it moved.
        work: how the drawing is divided up.
        command: to be recorded in the store.

    Returns:
        What was left: ``out``, or by a shard the folder of the parts.

    Raises:
        UserError: adapter, base and masks do not fit, a frame has no mask or no plane that the generator
            knows, the adapter does not say how bright its frames were, or a shard to merge has not drawn all of
            its batches.
    """
    out, store = Path(out), EchoStore(masks)
    check_out(out, store)
    card_path(out)
    loaded = load_adapter(adapter, base)
    _check_fit(loaded, store, Path(adapter))
    levels = _levels(gain, loaded, adapter)
    indices = _indices(store, split, samples_per_mask)
    batches = cut(indices, samples_per_mask, work.batch_size)
    record = {**_record(loaded, store, indices, sampling), "drawn": _drawn(split, samples_per_mask, work)}
    said = {**record, GAIN: "drawn" if levels is None else "training"}
    with _parts(out, record, len(batches), work) as parts:
        if not work.merge:
            hashes = loaded.hash, store.content_hash
            draw_batches(Drawing(Path(adapter), base, store.path, hashes, sampling, work), batches, parts)
        if work.shard:
            return parts.folder
        write_frames(out, store, _with_gain(parts, batches, store, levels), sampling, command, said)
    write_card(out)
    return out


def _indices(store: EchoStore, split: str | None, samples_per_mask: int) -> np.ndarray:
    """Frames whose masks are used."""
    if samples_per_mask < 1:
        raise UserError(f"--samples-per-mask {samples_per_mask}: use 1 or more")
    indices = usable_frames(store, split, image=False)
    if len(indices) * samples_per_mask > MOST_FRAMES:
        raise UserError(
            f"--samples-per-mask {samples_per_mask}: for {len(indices):,} masks, that is more than the "
            f"{MOST_FRAMES:,} frames that a store takes; draw several stores, each with another --seed"
        )
    return indices


def _levels(gain: str, loaded: Adapter, adapter: str | Path) -> np.ndarray | None:
    """Brightness of the frames that the adapter learnt from, if frames are to be as bright."""
    if gain not in get_args(Gain):
        raise UserError(f"--gain {gain}: use {' or '.join(get_args(Gain))}")
    return recorded_levels(loaded.record, adapter) if gain == "training" else None


def _with_gain(parts: Parts, batches: Sequence[Batch], store: EchoStore, levels: np.ndarray | None) -> Iterator[Drawn]:
    """The frames, the set of them as bright as those levels say; as they are without levels."""
    if levels is None:
        yield from drawn_frames(parts, batches)
        return
    frames = drawn_frames(parts, batches)
    wanted = matched_levels([brightness(frame, store.frame(index)[2]) for (index, _), frame in frames], levels)
    for ((index, sample), frame), level in zip(drawn_frames(parts, batches), wanted, strict=True):
        yield (index, sample), set_gain(frame, store.frame(index)[2], level)


def _drawn(split: str | None, samples_per_mask: int, work: Work) -> dict[str, Any]:
    """Provenance: what of the options decides the frames and is no part of the sampling."""
    return {
        "split": split,
        "samples_per_mask": samples_per_mask,
        "batch_size": work.batch_size,
        "threads": work.threads,
        "device": named_device(work.device, reach=not work.merge).type,
    }


def _parts(out: Path, record: dict[str, Any], batches: int, work: Work) -> Parts:
    """Where the batches are kept; of a merge, all of them are there."""
    parts = Parts(out, fingerprint(record), shared=work.shard is not None)
    if work.merge:
        refuse_missing(out, parts, batches, work.merge)
    return parts


def _record(loaded: Adapter, store: EchoStore, indices: np.ndarray, sampling: Sampling) -> dict[str, Any]:
    """Provenance: what drew, for which masks, and who is known to it."""
    return {
        **drawn_by(loaded, sampling),
        **seen_by_drawing(store, indices, seen_in(loaded.record)),
        BASE_SEEN: sorted(seen_in(loaded.record, BASE_SEEN)),
        "masks": store.as_source(),
    }


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
