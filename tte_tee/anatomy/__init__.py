"""Facts about hearts and views: structures, label spaces, planes, and the MaskR² rules.

The only room where such facts stand; it knows nothing of files, arrays or networks.
"""

from tte_tee.anatomy.label_space import CAMUS, LABEL_SPACES, TEE, LabelSpace
from tte_tee.anatomy.maskr2 import MaskMap, solve
from tte_tee.anatomy.structures import BLOOD, STRUCTURES, Structure
from tte_tee.anatomy.views import PHASES, PLANES, VIEWS, WITHOUT_PLANE, View

__all__ = [
    "BLOOD",
    "CAMUS",
    "LABEL_SPACES",
    "PHASES",
    "PLANES",
    "STRUCTURES",
    "TEE",
    "VIEWS",
    "WITHOUT_PLANE",
    "LabelSpace",
    "MaskMap",
    "Structure",
    "View",
    "solve",
]
