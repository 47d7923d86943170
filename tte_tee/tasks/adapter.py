"""The adapter: a base that has seen transthoracic echo alone learns transoesophageal echo."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tte_tee.anatomy import LabelSpace, solve
from tte_tee.errors import UserError
from tte_tee.models.adapters import add_lora, check_scope
from tte_tee.models.denoiser import Denoiser
from tte_tee.models.folders import SHIPPED, Method, load_base, save_adapter
from tte_tee.models.maskr2 import MaskR2
from tte_tee.seen import BASE_SEEN, seen_in
from tte_tee.synthesis.frames import Sampling
from tte_tee.synthesis.gain import GAIN, gain_levels
from tte_tee.tasks.diffusion import DiffusionTask

_RANK = 4  # of LoRA, where none is given


@dataclass(frozen=True)
class MaskR2Rules:
    """Declared MaskR² rules; what they leave out is solved where one answer is left.

    Attributes:
        reduce: super-class -> structures that merge into it.
        repurpose: (super-)class -> structure of the base whose place it takes.
        background: structures that the generator is not told of.
        learnable: train the matrix, starting at the rule.
    """

    reduce: Mapping[str, list[str]] = field(default_factory=dict)
    repurpose: Mapping[str, str] = field(default_factory=dict)
    background: Sequence[str] = ()
    learnable: bool = False


class TEEAdapter(DiffusionTask):
    """Adapts a base to another label space and window with few frames (arXiv 2508.13077).

    Args:
        base: folder of a base, or ``shipped`` for the one inside the package.
        method: ``lora`` trains low-rank updates of the layers in ``scope``; ``full`` trains all
            weights of the base; ``scratch`` all weights of a freshly initialised network of the
            same shape; ``none`` nothing (MaskR² alone).
        scope: groups of layers that LoRA touches: cross_attention, self_attention, feed_forward,
            time_embedding, convolution. The paper's "Linear" is feed_forward and time_embedding.
            Empty for the other methods.
        rank: of the LoRA update; by default 4. The other methods have none.
        alpha: the update is scaled by alpha / rank; by default alpha = rank. The other methods have none.
        maskr2: how the labels of the masks take the places of the base's.
        learning_rate: of AdamW.
        weight_decay: of AdamW.
        warmup_steps: linear warm-up before the cosine.
        mask_dropout: share of frames trained with the mask withheld.
        min_snr_gamma: cap of the min-SNR weight; null weighs all time steps alike, without which frames stay as
            bright as the base's.
        sampling: how previews and predictions are drawn.
        seed: of initialisation, time steps, noise and dropout; the command line sets it to
            ``seed_everything``.

    Raises:
        UserError: unknown group, or a scope, rank or alpha that the method does not use.
    """

    product = "adapter"

    def __init__(
        self,
        base: str = SHIPPED,
        method: Method = "lora",
        scope: Sequence[str] = (),
        rank: int | None = None,
        alpha: int | None = None,
        maskr2: MaskR2Rules = MaskR2Rules(),
        learning_rate: float = 2e-3,
        weight_decay: float = 0.0,
        warmup_steps: int = 20,
        mask_dropout: float = 0.1,
        min_snr_gamma: float | None = None,
        sampling: Sampling = Sampling(),
        seed: int = 0,
    ) -> None:
        super().__init__(learning_rate, weight_decay, warmup_steps, mask_dropout, min_snr_gamma, sampling, seed)
        if method == "lora":
            check_scope(scope)
        for name, given in (("scope", scope or None), ("rank", rank), ("alpha", alpha)):
            if method != "lora" and given is not None:
                raise UserError(f"model.{name}: method '{method}' uses no {name}; leave it out or use method 'lora'")
        self.rank = _RANK if rank is None else rank
        self.alpha = self.rank if alpha is None else alpha
        if self.rank < 1:
            raise UserError(f"model.rank: {rank}; a rank is 1 or more")
        if self.alpha < 1:
            raise UserError(f"model.alpha: {alpha}; it is 1 or more")
        self.base, self.method, self.scope, self.rules = base, method, list(scope), maskr2

    def resolved(self) -> dict[str, Any]:
        """Rank and alpha of LoRA."""
        return {"rank": self.rank, "alpha": self.alpha} if self.method == "lora" else {}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Notes the base as well, without which the trained weights mean nothing."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["base_hash"] = self.base_hash

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuses a checkpoint of another base.

        Raises:
            UserError: the base is another, or the trained weights are.
        """
        if checkpoint.get("base_hash", self.base_hash) != self.base_hash:
            raise UserError(f"ckpt_path: the checkpoint belongs to another base than {self.base}; give that one")
        super().on_load_checkpoint(checkpoint)

    def build(self, label_space: LabelSpace) -> None:
        """Loads the base, solves MaskR² for the masks at hand and makes the right part trainable."""
        base = load_base(self.base)
        self.base_name = SHIPPED if self.base == SHIPPED else str(base.folder.resolve())
        self.base_hash, self.schedule, self.denoiser = base.hash, base.schedule, base.denoiser
        self.base_record = base.record
        rule = solve(
            self.denoiser.config.structures,
            label_space.structures,
            reduce=self.rules.reduce,
            repurpose=self.rules.repurpose,
            background=self.rules.background,
        )
        self.maskr2 = MaskR2(rule, learnable=self.rules.learnable)
        if self.method == "lora":
            self.denoiser.unet = add_lora(self.denoiser.unet, self.scope, rank=self.rank, alpha=self.alpha)
        elif self.method == "scratch":
            self.denoiser = Denoiser(self.denoiser.config)
        elif self.method == "none":
            self.denoiser.requires_grad_(False)
        self.denoiser.train()

    def seen(self) -> set[str]:
        """Patients of the frames and, but from scratch, of the base."""
        return super().seen() | self.base_seen()

    def base_seen(self) -> set[str]:
        """Patients of the base; nobody from scratch."""
        return set() if self.method == "scratch" else seen_in(self.base_record)

    def made_from(self) -> dict[str, str]:
        """The base and the method."""
        return {"base_hash": self.base_hash, "method": self.method}

    def export(self, run: Path, record: dict[str, Any]) -> Path:
        """The folder ``adapter``."""
        known: dict[str, Any] = {BASE_SEEN: sorted(self.base_seen())}
        if self.method != "none":
            known[GAIN] = gain_levels(self.data.store, self.data.store.indices(split="train"))
        record = {"base": self.base_name, "base_hash": self.base_hash, **known, **record}
        save_adapter(run / self.product, self.denoiser, self.maskr2, self.method, self.target, record)
        return run / self.product
