"""What every exported set of frames says of itself: a table of its frames, and where they come from."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from tte_tee.data.curate.copying import record_of
from tte_tee.data.store import EchoStore
from tte_tee.files import write_json, write_whole
from tte_tee.provenance import made_with
from tte_tee.seen import published

TABLE, RECORD, CARD = "frames.csv", "provenance.json", "README.md"


def write_record(folder: Path, stores: Sequence[EchoStore], table: pd.DataFrame, words: Sequence[str]) -> None:
    """Writes the table, the record of all stores (names of this machine's folders left out) and the card.

    Args:
        folder: of the export.
        stores: whose frames these are.
        table: a row per frame.
        words: paragraphs of the card.
    """
    write_whole(folder / TABLE, table.to_csv(index=False, lineterminator="\n").encode())
    record = {**made_with(), "from": [record_of(store) for store in stores]}
    write_json(folder / RECORD, published(record))
    write_whole(folder / CARD, ("\n\n".join(words) + "\n").encode())
