"""Diffusion training: what base and adapter share, and the base itself."""

from typing import Any

import lightning as L
import torch
from diffusers import DDPMScheduler
from diffusers.optimization import get_cosine_schedule_with_warmup
from torch import Tensor

from tte_tee.anatomy import LabelSpace
from tte_tee.anatomy.maskr2 import identity
from tte_tee.data.datamodule import Batch, EchoDataModule
from tte_tee.errors import UserError
from tte_tee.models.conditioning import encode_condition
from tte_tee.models.denoiser import Denoiser, DenoiserConfig
from tte_tee.models.diffusion import Prediction, diffusion_loss, keyed_draws, noise_schedule
from tte_tee.models.maskr2 import MaskR2
from tte_tee.synthesis.frames import Sampling, draw_frames


class DiffusionTask(L.LightningModule):
    """Trains ``self.denoiser`` to undo noise, given masks; subclasses say what is built and trained.

    Logged: ``train/loss``, ``val/loss``, ``test/loss`` (min-SNR weighted) and ``learning_rate``.
    """

    denoiser: Denoiser
    schedule: DDPMScheduler
    maskr2: MaskR2
    target: LabelSpace

    def __init__(
        self,
        learning_rate: float,
        weight_decay: float,
        warmup_steps: int,
        mask_dropout: float,
        min_snr_gamma: float,
        sampling: Sampling,
        seed: int,
    ) -> None:
        super().__init__()
        if min(learning_rate, weight_decay, warmup_steps) < 0:
            raise UserError(
                f"model: learning_rate {learning_rate}, weight_decay {weight_decay}, warmup_steps {warmup_steps}; "
                "none may be negative"
            )
        if not 0 <= mask_dropout <= 1:
            raise UserError(f"model.mask_dropout: {mask_dropout}; a share lies between 0 and 1")
        if min_snr_gamma <= 0:
            raise UserError(f"model.min_snr_gamma: {min_snr_gamma}; use a number above 0")
        self.learning_rate, self.weight_decay, self.warmup_steps = learning_rate, weight_decay, warmup_steps
        self.mask_dropout, self.min_snr_gamma = mask_dropout, min_snr_gamma
        self.sampling, self.seed = sampling, seed
        self._built = False

    @property
    def data(self) -> EchoDataModule:
        """The DataModule of the run."""
        return self.trainer.datamodule  # type: ignore[attr-defined]

    def build(self, label_space: LabelSpace) -> None:
        """Makes ``denoiser``, ``schedule`` and ``maskr2`` for masks of ``label_space``."""
        raise NotImplementedError

    def configure_model(self) -> None:
        """Builds the network once the data's label space is known.

        Raises:
            UserError: the frames have another size than the network.
        """
        if self._built:
            return
        data = self.data
        self.target = data.label_space
        self.build(data.label_space)
        side = self.denoiser.config.image_size
        if tuple(data.image_size) != (side, side):
            raise UserError(
                f"{data.path}: frames are {'x'.join(map(str, data.image_size))}, the network takes {side}x{side}; "
                "pack the data at that size"
            )
        self._built = True

    def condition(self, batch: Batch, null: Tensor | None = None) -> Tensor:
        """Condition ``[B, X + 1, H, W]`` of a batch; ``null`` ``[B]`` withholds masks."""
        return encode_condition(self.maskr2(batch["mask"]), batch["sector"], null)

    def _shared_step(self, batch: Batch, stage: str) -> Tensor:
        image = batch["image"]
        # The noise of an evaluation depends on the frame alone, so runs of any seed compare.
        key = ("train", self.seed) if stage == "train" else ("evaluate", 0)
        draws = keyed_draws(key, batch["frame"], batch["draw"], image.shape[1:])
        timesteps, noise, uniform = (t.to(image.device) for t in draws)
        null = uniform < self.mask_dropout if stage == "train" else None
        condition = self.condition(batch, null)
        loss = diffusion_loss(
            lambda noisy, t: self.denoiser(noisy, t, condition, batch["plane"]),
            self.schedule,
            image,
            timesteps,
            noise,
            self.min_snr_gamma,
        ).mean()
        self.log(f"{stage}/loss", loss, prog_bar=True, batch_size=len(image), sync_dist=stage != "train")
        return loss

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Min-SNR weighted denoising loss of one batch."""
        self.log("learning_rate", self.trainer.optimizers[0].param_groups[0]["lr"])
        return self._shared_step(batch, "train")

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """The same loss at fixed time steps and noise."""
        self._shared_step(batch, "val")

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """The same loss at fixed time steps and noise."""
        self._shared_step(batch, "test")

    def predict_step(self, batch: Batch, batch_idx: int) -> tuple[Tensor, Tensor]:
        """Indices ``[B]`` of the frames whose masks were used, and frames drawn, uint8 ``[B, H, W]``."""
        return batch["frame"].cpu(), self.draw(batch)

    def draw(self, batch: Batch) -> Tensor:
        """Frames for the masks of a batch, uint8 ``[B, H, W]``; the same ones each time."""
        keys = [str(frame) for frame in batch["frame"].tolist()]
        return draw_frames(self.denoiser, self.schedule, self.maskr2, batch, keys, self.sampling)

    def configure_optimizers(self) -> Any:
        """AdamW on what is trainable, with linear warm-up and a cosine to zero; None without any.

        Raises:
            UserError: there is nothing to train and yet steps to take.
        """
        trainable = [p for p in self.parameters() if p.requires_grad]
        if not trainable:
            if self.trainer.max_steps:
                raise UserError("trainer.max_steps: this method trains nothing; set it to 0")
            return None
        if not self.trainer.max_steps:
            raise UserError("trainer.max_steps: 0 steps train nothing; use more, or method 'none'")
        optimizer = torch.optim.AdamW(trainable, lr=self.learning_rate, weight_decay=self.weight_decay)
        scheduler = get_cosine_schedule_with_warmup(optimizer, self.warmup_steps, self.trainer.max_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keeps what was trained; frozen weights stay in the base, where they came from."""
        trained = {name for name, parameter in self.named_parameters() if parameter.requires_grad}
        checkpoint["state_dict"] = {k: v for k, v in checkpoint["state_dict"].items() if k in trained}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Completes a checkpoint with the frozen weights already in place.

        Raises:
            UserError: what it trained is not what this config trains.
        """
        trained = {name: parameter.shape for name, parameter in self.named_parameters() if parameter.requires_grad}
        held = {name: weight.shape for name, weight in checkpoint["state_dict"].items()}
        if held != trained:
            other = sum(held.get(name) != shape for name, shape in trained.items())
            raise UserError(
                f"ckpt_path: the checkpoint holds other trained weights than this config trains ({len(held)} tensors "
                f"against {len(trained)}, of which {other} are missing or of another shape); use the config of its run"
            )
        checkpoint["state_dict"] = {**self.state_dict(), **checkpoint["state_dict"]}


class TTEDiffusion(DiffusionTask):
    """The base: a mask-conditioned diffusion model trained from scratch on transthoracic echo.

    Args:
        denoiser: shape of the network; the default is the compact preset.
        prediction: what the network predicts, ``v_prediction`` or ``epsilon``.
        learning_rate: of AdamW.
        weight_decay: of AdamW.
        warmup_steps: linear warm-up before the cosine.
        mask_dropout: share of frames trained with the mask withheld.
        min_snr_gamma: cap of the min-SNR weight.
        sampling: how previews and predictions are drawn.
        seed: of time steps, noise and dropout; the command line sets it to ``seed_everything``.
    """

    def __init__(
        self,
        denoiser: DenoiserConfig = DenoiserConfig(),
        prediction: Prediction = "v_prediction",
        learning_rate: float = 4e-4,
        weight_decay: float = 0.01,
        warmup_steps: int = 100,
        mask_dropout: float = 0.1,
        min_snr_gamma: float = 5.0,
        sampling: Sampling = Sampling(),
        seed: int = 0,
    ) -> None:
        super().__init__(learning_rate, weight_decay, warmup_steps, mask_dropout, min_snr_gamma, sampling, seed)
        self.shape, self.prediction = denoiser, prediction

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
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self.denoiser = Denoiser(self.shape)
        self.schedule = noise_schedule(self.prediction)
        self.maskr2 = MaskR2(identity(label_space.structures))
