"""The copy audit: synthetic frames against those that their adapter learnt from.

A frame drawn for a training patient's own mask shares that patient's geometry, so it is compared with that
patient's frames apart from all others: by texture, not by correlation. The threshold of correlation and
embedding is what real frames of patients whom the adapter has not seen reach against its training frames. That of
texture is the same, or, better, what frames that the same adapter drew for the masks of such patients
reach against those patients' real frames: they share a mask and cannot be copies.

What it cannot see: copies of a part of a frame, copies that are turned, stretched or shifted by more than a
pixel of 64, copies of the frames of the base, a patient's traits without the patient's frame, and, without
control frames, texture that a mask explains beyond the mean of each structure. The thresholds come from real
frames; a generator whose frames are smoother than those agrees a little more with everything.
"""

from tte_tee.evaluation.copies.scores import (
    COPY,
    NOT_ESTIMABLE,
    NOVEL,
    Frames,
    Thresholds,
    coincidence,
    coincidence_within,
    copy_rates,
    read_frames,
    score_copies,
    to_frames,
    with_verdicts,
)
from tte_tee.evaluation.copies.stores import AuditedStores
from tte_tee.evaluation.copies.write import audit

__all__ = [
    "COPY",
    "NOT_ESTIMABLE",
    "NOVEL",
    "AuditedStores",
    "Frames",
    "Thresholds",
    "audit",
    "coincidence",
    "coincidence_within",
    "copy_rates",
    "read_frames",
    "score_copies",
    "to_frames",
    "with_verdicts",
]
