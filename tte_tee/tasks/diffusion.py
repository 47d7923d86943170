"""Diffusion training: what base and adapter share, and the base itself."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from diffusers import DDPMScheduler
from torch import Tensor

from tte_tee.anatomy import LabelSpace
from tte_tee.anatomy.maskr2 import identity
from tte_tee.data.datamodule import Batch
from tte_tee.data.pictures import colour_mask, grey
from tte_tee.errors import UserError
from tte_tee.files import file_hash
from tte_tee.models.adapters import GroupRow, parameter_table
from tte_tee.models.conditioning import encode_condition
from tte_tee.models.denoiser import Denoiser, DenoiserConfig
from tte_tee.models.diffusion import Prediction, diffusion_loss, keyed_draws, noise_schedule
from tte_tee.models.folders import save_base
from tte_tee.models.maskr2 import MaskR2
from tte_tee.seen import BASE_SEEN, SEEN
from tte_tee.synthesis.frames import Sampling, draw_frames
from tte_tee.synthesis.record import write_predictions
from tte_tee.tasks.task import Preview, Task, gathered


class DiffusionTask(Task):
    """Trains ``self.denoiser`` to undo noise, given masks; subclasses say what is built and trained.

    Logged: ``train/loss``, ``val/loss``, ``test/loss`` (weighted as it is trained) and ``learning_rate``.
    """

    denoiser: Denoiser
    schedule: DDPMScheduler
    maskr2: MaskR2

    def __init__(
        self,
        learning_rate: float,
        weight_decay: float,
        warmup_steps: int,
        mask_dropout: float,
        min_snr_gamma: float | None,
        sampling: Sampling,
        seed: int,
    ) -> None:
        super().__init__(learning_rate, weight_decay, warmup_steps, seed)
        if not 0 <= mask_dropout <= 1:
            raise UserError(f"model.mask_dropout: {mask_dropout}; a share lies between 0 and 1")
        if min_snr_gamma is not None and not min_snr_gamma > 0:
            raise UserError(f"model.min_snr_gamma: {min_snr_gamma}; use a number above 0, or null for equal weights")
        self.mask_dropout, self.min_snr_gamma, self.sampling = mask_dropout, min_snr_gamma, sampling
        self._losses: dict[int, float] = {}
        self._trained_on: dict[str, Any] | None = None

    def configure_model(self) -> None:
        """Builds the network once the data's label space is known.

        Raises:
            UserError: the frames have another size than the network.
        """
        super().configure_model()
        data, side = self.data, self.denoiser.config.image_size
        if tuple(data.image_size) != (side, side):
            raise UserError(
                f"{data.path}: frames are {'x'.join(map(str, data.image_size))}, the network takes {side}x{side}; "
                "pack the data at that size"
            )

    def condition(self, batch: Batch, null: Tensor | None = None) -> Tensor:
        """Condition ``[B, X + 1, H, W]`` of a batch; ``null`` ``[B]`` withholds masks."""
        return encode_condition(self.maskr2(batch["mask"]), batch["sector"], null)

    def _shared_step(self, batch: Batch, stage: str) -> Tensor:
        """Loss ``[B]`` of each frame of a batch."""
        image = batch["image"]
        # The noise of an evaluation depends on the frame alone, so runs of any seed compare.
        key = ("train", self.seed) if stage == "train" else ("evaluate", 0)
        draws = keyed_draws(key, batch["frame"], batch["draw"], image.shape[1:])
        timesteps, noise, uniform = (t.to(image.device) for t in draws)
        null = uniform < self.mask_dropout if stage == "train" else None
        condition = self.condition(batch, null)
        return diffusion_loss(
            lambda noisy, t: self.denoiser(noisy, t, condition, batch["plane"]),
            self.schedule,
            image,
            timesteps,
            noise,
            self.min_snr_gamma,
        )

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Denoising loss of one batch."""
        self.log("learning_rate", self.trainer.optimizers[0].param_groups[0]["lr"])
        loss = self._shared_step(batch, "train").mean()
        # The curve is that of the global batch, not of the first rank's part.
        self.log("train/loss", loss, prog_bar=True, batch_size=len(batch["image"]), sync_dist=True)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """The same loss at fixed time steps and noise."""
        self._evaluate(batch)

    def on_validation_epoch_end(self) -> None:
        """Logs the mean over the validation frames."""
        self._log_mean("val/loss")

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """The same loss at fixed time steps and noise."""
        self._evaluate(batch)

    def on_test_epoch_end(self) -> None:
        """Logs the mean over the test frames."""
        self._log_mean("test/loss")

    def _evaluate(self, batch: Batch) -> None:
        losses = self._shared_step(batch, "evaluate").tolist()
        self._losses.update(zip(batch["frame"].tolist(), losses, strict=True))

    def _log_mean(self, name: str) -> None:
        losses, self._losses = self._losses, {}
        mean = float(np.mean(list(gathered(self.trainer, losses).values())))
        self.log(name, mean, prog_bar=True, sync_dist=True)

    def predict_step(self, batch: Batch, batch_idx: int) -> tuple[Tensor, Tensor]:
        """Indices ``[B]`` of the frames whose masks were used, and frames drawn, uint8 ``[B, H, W]``."""
        return batch["frame"].cpu(), self.draw(batch)

    def draw(self, batch: Batch) -> Tensor:
        """Frames for the masks of a batch, uint8 ``[B, H, W]``; the same ones each time."""
        table = self.data.store.table["key"]
        keys = [f"{table[frame]}#0" for frame in batch["frame"].tolist()]  # those of synthesize, of the first sample
        return draw_frames(self.denoiser, self.schedule, self.maskr2, batch, keys, self.sampling)

    def layers(self) -> list[GroupRow]:
        """Groups of layers of the denoiser."""
        return parameter_table(self.denoiser.unet)

    def remark(self) -> str:
        """The MaskR² rule."""
        return f"MaskR²: {self.maskr2.mask_map.describe()}"

    def preview(self, batch: Batch) -> Preview:
        """Mask, reference and sample at fixed noise."""
        drawn = self.draw(batch).numpy()
        reference = batch["image"][:, 0].add(1).mul(127.5).round().byte().cpu().numpy()
        masks, sectors = batch["mask"].cpu().numpy(), batch["sector"][:, 0].byte().cpu().numpy()
        rows = [
            [colour_mask(mask, sector, self.target), grey(real), grey(synthetic)]
            for mask, sector, real, synthetic in zip(masks, sectors, reference, drawn, strict=True)
        ]
        return Preview(rows, ("mask", "reference", "sample"))

    def made_from(self) -> dict[str, str]:
        """What decides the network beside the checkpoint."""
        return {}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Notes what is trained on, which predictions repeat: their masks may be of another store."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["trained_on"] = self.data_record()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes up what was noted."""
        super().on_load_checkpoint(checkpoint)
        self._trained_on = checkpoint.get("trained_on")

    def base_seen(self) -> set[str]:
        """Those of :meth:`seen` whom a base knew before it was adapted."""
        return set()

    def write_predictions(self, run: Path, predictions: Mapping[int, np.ndarray]) -> Path:
        """An echo store of the frames drawn."""
        path = run / "predictions.h5"
        known = {SEEN: self.seen(), BASE_SEEN: self.base_seen()}
        trained = {"hash": file_hash(Path(self.trainer.ckpt_path)) if self.trainer.ckpt_path else None}
        drew = {"checkpoint": {**trained, **self.made_from()}, "trained_on": self._trained_on}
        write_predictions(path, self.data.store, predictions, self.sampling, drew, known)
        return path


class TTEDiffusion(DiffusionTask):
    """The base: a mask-conditioned diffusion model trained from scratch on transthoracic echo.

    Args:
        denoiser: shape of the network; the default is the compact preset.
        prediction: what the network predicts, ``v_prediction`` or ``epsilon``.
        learning_rate: of AdamW.
        weight_decay: of AdamW.
        warmup_steps: linear warm-up before the cosine.
        mask_dropout: share of frames trained with the mask withheld.
        min_snr_gamma: cap of the min-SNR weight; null weighs all time steps alike, without which frames differ too
            little in brightness.
        half: leave the base in half precision. Weights are rounded then, so whatever is adapted on it is
            adapted on the rounded ones.
        sampling: how previews and predictions are drawn.
        seed: of initial weights, time steps, noise and dropout; the command line sets it to ``seed_everything``.
    """

    product = "base"

    def __init__(
        self,
        denoiser: DenoiserConfig = DenoiserConfig(),
        prediction: Prediction = "v_prediction",
        learning_rate: float = 4e-4,
        weight_decay: float = 0.01,
        warmup_steps: int = 100,
        mask_dropout: float = 0.1,
        min_snr_gamma: float | None = None,
        half: bool = True,
        sampling: Sampling = Sampling(),
        seed: int = 0,
    ) -> None:
        super().__init__(learning_rate, weight_decay, warmup_steps, mask_dropout, min_snr_gamma, sampling, seed)
        self.shape, self.prediction, self.half_precision = denoiser, prediction, half

    def build(self, label_space: LabelSpace) -> None:
        """A fresh denoiser; the masks must be of its own label space.

        Raises:
            UserError: they are not.
        """
        if label_space.structures != tuple(self.shape.structures):
            raise UserError(
                f"model.denoiser.structures: {', '.join(self.shape.structures)}, but the masks hold "
                f"{', '.join(label_space.structures)}; a base is trained on its own label space"
            )
        self.denoiser = Denoiser(self.shape)
        self.schedule = noise_schedule(self.prediction)
        self.maskr2 = MaskR2(identity(label_space.structures))

    def export(self, run: Path, record: dict[str, Any]) -> Path:
        """The folder ``base``."""
        save_base(run / self.product, self.denoiser, self.schedule, record, half=self.half_precision)
        return run / self.product
