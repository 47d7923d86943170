"""Bases and adapters for those who have diffusers and peft, and nothing of this package.

A network::

    unet/, scheduler/   as diffusers reads them; LoRA is merged into the base
    base.json           shape of the denoiser, provenance: a base folder here, too
    maskr2.json         of an adapter
    README.md           model card; says how the input is made

An adapter is the folder that a run leaves, checked, with the same card.
"""

import shutil
from dataclasses import asdict
from pathlib import Path, PurePath
from typing import Any

from tte_tee.errors import UserError
from tte_tee.files import new_folder, read_json, write_json, write_whole
from tte_tee.models.adapters import plain_unet
from tte_tee.models.card import CARD, adapter_card, network_card
from tte_tee.models.folders import (
    LORA_WEIGHTS,
    RULE,
    WEIGHTS,
    Adapter,
    Base,
    adapter_hash,
    base_hash,
    load_adapter,
    load_base,
)
from tte_tee.models.records import read_record
from tte_tee.seen import published


def export_base(base: str, out: Path) -> None:
    """Writes a base as it is, weights byte by byte, so that adapters know it again.

    Raises:
        UserError: there is no base, or ``out`` is there.
    """
    loaded = load_base(base)
    _write_network(out, loaded, loaded.record, weights=loaded.folder)


def export_adapted(adapter: Path, out: Path, base: str | None = None) -> None:
    """Writes the network that an adapter makes of its base: LoRA merged, all weights of their own as they are.

    Args:
        adapter: folder left by a run.
        out: folder to write.
        base: where the adapter's base is, if it moved.

    Raises:
        UserError: there is no adapter or no base of it, or ``out`` is there.
    """
    loaded = load_adapter(adapter, base)
    method = loaded.record["method"]
    where = load_base(base or loaded.record["base"]).folder if method == "none" else adapter
    _write_network(out, loaded, loaded.record, weights=None if method == "lora" else where, rule=adapter / RULE)


def export_adapter(adapter: Path, out: Path, base: str | None = None) -> None:
    """Writes a LoRA for ``peft.PeftModel.from_pretrained`` onto its base, see :func:`export_base`.

    Args:
        adapter: folder left by a run.
        out: folder to write.
        base: where its base is, if it moved.

    Raises:
        UserError: it is no LoRA, or does not fit its base; or ``out`` is there.
    """
    method = read_record(adapter / "adapter.json", "adapter").get("method")
    if method != "lora":
        raise UserError(
            f"{adapter}: was made by method '{method}', and PEFT's format holds LoRA alone; "
            "'export diffusers --adapter' writes its whole network"
        )
    loaded = load_adapter(adapter, base)
    record = published(loaded.record)
    name = PurePath(record["base"]).name
    config = {**read_json(adapter / "adapter_config.json", "adapter"), "base_model_name_or_path": name}
    with new_folder(out) as temporary:
        for file in (LORA_WEIGHTS, RULE):
            shutil.copyfile(adapter / file, temporary / file)
        write_json(temporary / "adapter_config.json", config)
        write_json(temporary / "adapter.json", record)
        rule = read_json(temporary / RULE, "adapter")
        card = adapter_card(record, rule, adapter_hash(temporary), asdict(loaded.denoiser.config))
        write_whole(temporary / CARD, card.encode())


def _write_network(
    out: Path, loaded: Base | Adapter, record: dict[str, Any], *, weights: Path | None, rule: Path | None = None
) -> None:
    """Writes the folder; ``weights`` is the folder whose ``unet/`` is copied, None saves that of ``loaded``."""
    values = {"denoiser": asdict(loaded.denoiser.config), "provenance": published(record)}
    with new_folder(out) as temporary:
        if weights is None:
            plain_unet(loaded.denoiser.unet).save_pretrained(temporary / "unet")
        else:
            (temporary / "unet").mkdir()
            for file in ("unet/config.json", WEIGHTS):
                shutil.copyfile(weights / file, temporary / file)
        loaded.schedule.save_pretrained(temporary / "scheduler")
        for config in (temporary / "unet/config.json", temporary / "scheduler/scheduler_config.json"):
            kept = {key: value for key, value in read_json(config, "network").items() if key != "_name_or_path"}
            write_json(config, kept)
        write_json(temporary / "base.json", values)
        if rule is not None:
            shutil.copyfile(rule, temporary / RULE)
        told = read_json(temporary / RULE, "adapter") if rule else None
        write_whole(temporary / CARD, network_card(values, base_hash(temporary), told).encode())
