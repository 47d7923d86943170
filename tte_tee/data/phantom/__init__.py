"""The phantom: one parametric heart of four chambers under two probes, the package's embedded data."""

from tte_tee.data.phantom.write import PhantomSpec, write_phantom

__all__ = ["PhantomSpec", "write_phantom"]
