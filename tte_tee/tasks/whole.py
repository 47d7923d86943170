"""What a run writes beside its curve, so that each file appears whole or not at all."""

import io
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.cli import SaveConfigCallback
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


class WholeConfig(SaveConfigCallback):
    """Keeps the config of a run as ``config.yaml``, by which ``--resume auto`` knows it: whole, unlike Lightning's."""

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Notes the folder, which ranks agree on together, and saves on the first of them."""
        self._folder = Path(trainer.log_dir or trainer.default_root_dir)
        super().setup(trainer, pl_module, stage)

    def save_config(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Writes it, and removes what a killed run left of it."""
        path = self._folder / self.config_filename
        for half in self._folder.glob(f"{path.name}.tmp*"):
            half.unlink()
        write_whole(path, self.parser.dump(self.config, skip_none=False).encode())
