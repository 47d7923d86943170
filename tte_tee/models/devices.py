"""What ``--device`` names."""

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
