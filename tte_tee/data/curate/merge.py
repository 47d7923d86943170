"""Several stores into one."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from tte_tee.data.alike import refuse_other_kind
from tte_tee.data.curate.copying import Selection, check_out, copy_frames
from tte_tee.data.store import EchoStore, check_table
from tte_tee.errors import UserError


def merge_stores(paths: Sequence[Path], out: Path, *, command: str, progress: bool = False) -> None:
    """Writes the frames of every store of ``paths``, in that order, into the store ``out``.

    Patients go by their names: a patient of two stores is one patient.

    Raises:
        UserError: there are fewer than two stores; they differ in structures, their order, or size; a
            key stands in two of them; a patient's split or cohort differs between them.
    """
    if len(paths) < 2:
        raise UserError("give two stores or more to merge")
    stores = [EchoStore(path) for path in paths]
    check_out(out, *stores)
    first = stores[0]
    for store in stores[1:]:
        refuse_other_kind(first, store)
    table = pd.concat([store.table.assign(store=str(store.path)) for store in stores], ignore_index=True)
    _refuse_twins(table)
    for column in ("split", "cohort"):
        _refuse_leaks(table, column)
    check_table(table, str(out))
    parts = [Selection(store, store.indices()) for store in stores]
    copy_frames(out, parts, command=command, rule={"made_by": "merge"}, progress=progress)


def _refuse_twins(table: pd.DataFrame) -> None:
    twins = table[table["key"].duplicated(keep=False)]
    if len(twins):
        key = twins["key"].iloc[0]
        places = twins["store"][twins["key"] == key]
        raise UserError(
            f"frame key {key} stands in {' and in '.join(places)}{_more(twins['key'])}; a frame goes into a store once"
        )


def _refuse_leaks(table: pd.DataFrame, column: str) -> None:
    leaking = table[table.groupby("patient")[column].transform("nunique") > 1]
    if len(leaking):
        patient = leaking["patient"].iloc[0]
        places = leaking[leaking["patient"] == patient].drop_duplicates(column)
        said = " and in ".join(
            f"{column} {value} of {store}" for value, store in zip(places[column], places["store"], strict=True)
        )
        raise UserError(
            f"patient {patient} stands in {said}{_more(leaking['patient'])}; a patient has one {column}: "
            "merge stores whose patients stand alike"
        )


def _more(names: pd.Series) -> str:
    """How many there are beside the one that is named."""
    others = names.nunique() - 1
    return f" (and {others} more like it)" if others else ""
