"""Checkpoints that appear whole or not at all."""

import io
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from tte_tee.files import write_whole


class WholeCheckpoints(TorchCheckpointIO):
    """Writes beside the checkpoint and renames, so that a full disk or a kill leaves the older one.

    Lightning's own writes to the system's temporary folder and moves from there, which between two
    disks is a copy that can break off over the older file.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Writes a checkpoint.

        Raises:
            UserError: it cannot be written there.
        """
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        write_whole(Path(path), buffer.getvalue())
