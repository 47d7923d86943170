"""Counterfactual edits: the same heart with one thing changed, as masks for the generator."""

from tte_tee.data.edits.operations import (
    MaskFrame,
    dilate,
    open_sector,
    opening,
    rotate,
    set_depth,
    shrink,
    take_sector,
    tell_view,
)
from tte_tee.data.edits.parse import KINDS, Edit, parse_edit
from tte_tee.data.edits.picture import before_and_after
from tte_tee.data.edits.write import EditTally, edit_masks

__all__ = [
    "KINDS",
    "Edit",
    "EditTally",
    "MaskFrame",
    "before_and_after",
    "dilate",
    "edit_masks",
    "open_sector",
    "opening",
    "parse_edit",
    "rotate",
    "set_depth",
    "shrink",
    "take_sector",
    "tell_view",
]
