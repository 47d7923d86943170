"""What ``--device`` names, and what it is slow at."""

import torch

from tte_tee.errors import UserError
from tte_tee.files import first_line


def named_device(device: str, *, reach: bool = True) -> torch.device:
    """The torch device of that name.

    Args:
        device: ``cpu``, ``cuda``, ``cuda:1`` and so on.
        reach: it must be there, and give back what is computed on it.

    Raises:
        UserError: saying what torch says of it.
    """
    try:
        if reach:
            torch.empty(1, device=device).cpu()
        return torch.device(device)
    except (RuntimeError, AssertionError) as error:  # it knows no such device, or was built without it
        raise UserError(f"--device {device}: {first_line(error)}") from error


def slow_bf16(device: torch.device, instead: str) -> str:
    """The warning that bfloat16 is emulated there, as on CPUs without AVX-512 or AMX; empty where it is not.

    Args:
        device: that computes in bfloat16.
        instead: options that compute in single precision.
    """
    if device.type != "cpu" or _cpu_has_bf16():
        return ""
    return (
        "warning: this CPU has no instructions for bfloat16 and emulates them, about 20 times slower than single "
        f"precision; give {instead} instead, unless results of bfloat16 are to be repeated"
    )


def _cpu_has_bf16() -> bool:
    """What torch itself asks before it takes the kernels of oneDNN; no public name of it says so much."""
    return torch.backends.mkldnn.is_available() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
