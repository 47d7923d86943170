"""Drawn frames against the acquired frames of the same masks, beside what a copy would score.

For every store of drawn frames: squared error (inside the sector, grey levels in [-1, 1]) and
SSIM to the acquired frame of each mask, and the squared error to the nearest frame the adapter
was trained on. The row ``nearest training frame`` is what returning that frame would score.

    python experiments/pairs.py --acquired LATER.h5 --trained-on ADAPT.h5 --out FILE.json \\
        [--picture GRID.png] NAME=SYNTHETIC.h5 ...
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from tte_tee.data.pictures import colour_mask, contact_sheet, grey, write_png
from tte_tee.data.store import EchoStore
from tte_tee.metrics.pairs import nearest, similarity, squared_error
from tte_tee.synthesis.provenance import provenance


def images(store: EchoStore) -> Tensor:
    """All frames, uint8 ``[N, H, W]``."""
    return torch.from_numpy(np.stack([image for image, _, _ in store]))


def drawn_for(synthetic: EchoStore, acquired: EchoStore) -> Tensor:
    """The first sample of each mask of ``acquired``, in its order, uint8 ``[N, H, W]``."""
    first = {parent: i for i, parent in reversed(list(enumerate(synthetic.table["parent"])))}
    return torch.from_numpy(np.stack([synthetic.frame(first[key])[0] for key in acquired.table["key"]]))


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
    real, seen = images(acquired), images(trained_on)
    sector = torch.from_numpy(np.stack([s for _, _, s in acquired])).float()
    rows, columns = {}, [grey(f) for f in real.numpy()]
    copies = seen[torch.stack([squared_error(real, s.expand_as(real), sector) for s in seen]).argmin(dim=0)]
    candidates = {"nearest training frame": copies}
    for name, path in (word.split("=", 1) for word in options.synthetic):
        candidates[name] = drawn_for(EchoStore(path), acquired)
    for name, drawn in candidates.items():
        rows[name] = {
            "squared_error": round(squared_error(drawn, real, sector).mean().item(), 4),
            "ssim": round(similarity(drawn, real).mean().item(), 3),
            "to_nearest_trained_on": round(nearest(drawn, seen, sector).mean().item(), 4),
        }
    stores = {"acquired": acquired.content_hash, "trained_on": trained_on.content_hash}
    record = {**provenance(), "stores": stores, "frames": len(real), "scores": rows}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(record, indent=2) + "\n")

    table = Table("", "squared error", "SSIM", "to nearest trained-on")
    for name, row in rows.items():
        table.add_row(name, *(str(value) for value in row.values()))
    Console().print(table)
    if options.picture:
        masks = [colour_mask(m, s, acquired.label_space) for _, m, s in acquired]
        drawn_columns = [[grey(f) for f in drawn.numpy()] for drawn in candidates.values()]
        sheet = contact_sheet(
            list(zip(masks, columns, *drawn_columns, strict=True)), ("mask", "acquired", *candidates), scale=3
        )
        write_png(options.picture, sheet)


if __name__ == "__main__":
    main()
