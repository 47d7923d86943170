"""The phantom: one parametric heart of four chambers under two probes, the package's embedded data."""

from tte_tee.data.phantom.cohorts import STUDY, study_spec
from tte_tee.data.phantom.masks import HeartMasks, write_heart_masks
from tte_tee.data.phantom.version import PHANTOM_VERSION
from tte_tee.data.phantom.write import PhantomSpec, write_phantom

__all__ = ["PHANTOM_VERSION", "STUDY", "HeartMasks", "PhantomSpec", "study_spec", "write_heart_masks", "write_phantom"]
