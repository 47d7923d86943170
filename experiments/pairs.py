"""Drawn frames against the acquired frames of the same masks, beside what a copy would score.

For every mask that all stores of drawn frames have drawn: squared error (inside the sector, grey
levels in [-1, 1]) and SSIM to the acquired frame of the mask, and the squared error to the
nearest frame the adapter was trained on (the training split of that store). The row ``nearest
training frame`` is what returning a training frame would score if the one nearest to the
acquired frame were known beforehand: a bound on copying, not a method.

    python experiments/pairs.py --acquired LATER.h5 --trained-on ADAPT.h5 --out FILE.json \\
        [--picture GRID.png] NAME=SYNTHETIC.h5 ...
"""

import argparse
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from tte_tee.data.pictures import colour_mask, contact_sheet, grey, write_png
from tte_tee.data.store import EchoStore
from tte_tee.metrics.pairs import similarity
from tte_tee.provenance import provenance


def squared_error(drawn: Tensor, acquired: Tensor, sector: Tensor) -> Tensor:
    """Mean squared error inside the sector, grey levels scaled to [-1, 1].

    Args:
        drawn: uint8 ``[B, H, W]``.
        acquired: uint8 ``[B, H, W]``.
        sector: 0 or 1 ``[B, H, W]``.

    Returns:
        ``[B]``.
    """
    difference = (drawn.float() - acquired.float()).div(127.5).square()
    return (difference * sector).sum(dim=(1, 2)) / sector.sum(dim=(1, 2))


def errors_to(others: Tensor, frames: Tensor, sector: Tensor) -> Tensor:
    """Squared errors ``[N, B]`` of each of ``others``, uint8 ``[N, H, W]``, to each frame, as :func:`squared_error`."""
    return torch.stack([squared_error(frames, other.expand_as(frames), sector) for other in others])


def images(store: EchoStore, indices: Iterable[int]) -> Tensor:
    """Some frames of a store, uint8 ``[N, H, W]``."""
    return torch.from_numpy(np.stack([store.frame(int(i))[0] for i in indices]))


def first_samples(synthetic: EchoStore) -> dict[str, int]:
    """Index of the first frame drawn for each mask, by the key of the mask."""
    return {parent: i for i, parent in reversed(list(enumerate(synthetic.table["parent"])))}


def main() -> None:
    """Compares, prints a table and writes JSON and, where asked for, a grid."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("synthetic", nargs="+", metavar="NAME=SYNTHETIC.h5")
    parser.add_argument("--acquired", required=True)
    parser.add_argument("--trained-on", required=True)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()

    acquired, trained_on = EchoStore(options.acquired), EchoStore(options.trained_on)
    stores = {name: EchoStore(path) for name, path in (word.split("=", 1) for word in options.synthetic)}
    first = {name: first_samples(store) for name, store in stores.items()}
    compared = {key: i for i, key in enumerate(acquired.table["key"]) if all(key in part for part in first.values())}
    real, seen = images(acquired, compared.values()), images(trained_on, trained_on.indices(split="train"))
    sector = torch.from_numpy(np.stack([acquired.frame(i)[2] for i in compared.values()])).float()
    rows, columns = {}, [grey(f) for f in real.numpy()]
    copies = seen[errors_to(seen, real, sector).argmin(dim=0)]
    candidates = {"nearest training frame": copies}
    for name, store in stores.items():
        candidates[name] = images(store, (first[name][key] for key in compared))
    for name, drawn in candidates.items():
        rows[name] = {
            "squared_error": round(squared_error(drawn, real, sector).mean().item(), 4),
            "ssim": round(similarity(drawn, real).mean().item(), 3),
            "to_nearest_trained_on": round(errors_to(seen, drawn, sector).amin(dim=0).mean().item(), 4),
        }
    hashes = {"acquired": acquired.content_hash, "trained_on": trained_on.content_hash}
    record = {**provenance(), "stores": hashes, "frames": len(real), "scores": rows}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(record, indent=2) + "\n")

    table = Table("", "squared error", "SSIM", "to nearest trained-on")
    for name, row in rows.items():
        table.add_row(name, *(str(value) for value in row.values()))
    Console().print(table)
    if options.picture:
        masks = [colour_mask(*acquired.frame(i)[1:], acquired.label_space) for i in compared.values()]
        drawn_columns = [[grey(f) for f in drawn.numpy()] for drawn in candidates.values()]
        sheet = contact_sheet(
            list(zip(masks, columns, *drawn_columns, strict=True)), ("mask", "acquired", *candidates), scale=3
        )
        write_png(options.picture, sheet)


if __name__ == "__main__":
    main()
