"""Fidelity of synthetic frames: every number beside its floor, its ceiling and N."""

from tte_tee.evaluation.fidelity.compare import Options, compare

__all__ = ["Options", "compare"]
