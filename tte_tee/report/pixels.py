"""Figures of matplotlib as pixels."""

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


def pixels(figure: Figure) -> np.ndarray:
    """A figure as uint8 RGB ``[H, W, 3]``."""
    canvas = FigureCanvasAgg(figure)  # by hand, not by pyplot: no display, and no state that outlives the call
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
