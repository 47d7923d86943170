"""2D statistical shape models of masks: learnt per view, drawn from by rules learnt with them."""

from tte_tee.data.shape_model.fit import fit_shape_model
from tte_tee.data.shape_model.folder import check_folder, load_shape_model, save_shape_model
from tte_tee.data.shape_model.model import Draw, ShapeModel, ViewModel
from tte_tee.data.shape_model.modes import mode_sheet
from tte_tee.data.shape_model.rules import REASONS, Rules
from tte_tee.data.shape_model.sample import Tally, draw, sample_masks

__all__ = [
    "REASONS",
    "Draw",
    "Rules",
    "ShapeModel",
    "Tally",
    "ViewModel",
    "check_folder",
    "draw",
    "fit_shape_model",
    "load_shape_model",
    "mode_sheet",
    "sample_masks",
    "save_shape_model",
]
