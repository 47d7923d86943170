"""Model cards in the form of the Hugging Face Hub: a record in, Markdown out.

After Mitchell et al., Model Cards for Model Reporting, FAT* 2019. A card says what the record says and no
more: counts instead of patients, names instead of paths, and no date but the record's own.
"""

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

import yaml

from tte_tee.models.input_card import input_words

CARD = "README.md"
FEW = 10
"""Patients; what is learnt from fewer says little about patients at large."""

_RESEARCH = (
    "For research: training and testing of methods. It is no medical device, and neither what it gives nor what "
    "is trained on it may enter a decision about a patient."
)
_INPUT = "The network takes the condition that `tte_tee.models.conditioning` makes of mask, sector and plane."
_METHODS = {
    "lora": "low-rank updates (LoRA) of some layers; the base is frozen",
    "full": "all weights of the base",
    "scratch": "all weights, from a fresh start; nothing of the base but its shape",
    "none": "nothing: MaskR² alone leads the masks into the base",
}


def adapter_card(
    record: Mapping[str, Any], rule: Mapping[str, Any], weights: str, shape: Mapping[str, Any] | None = None
) -> str:
    """The card of an adapter.

    Args:
        record: ``adapter.json``.
        rule: ``maskr2.json``.
        weights: hash of the folder, as stores drawn with it name it.
        shape: of its denoiser; then the card says how to make the input, for those without this package.
    """
    options, method = _options(record, "model"), record["method"]
    base = f"`{PurePath(record['base']).name}`, hash `{record['base_hash']}`"
    parameters = record.get("parameters", {})
    trained = f"{parameters['trained']:,} ({parameters['share']:.2%} of the network)" if parameters else None
    lora = method == "lora"
    return _page(
        ("peft" if lora else "diffusers", ["echocardiography", "diffusion", "synthetic-data", *["lora"] * lora]),
        "Adapter from transthoracic to transoesophageal echo",
        "Lets a mask-conditioned diffusion model of transthoracic echo (TTE) draw transoesophageal frames (TEE) of "
        "given masks, after arXiv 2508.13077.",
        _table(
            ("trained", _METHODS[method]),
            ("base", base),
            ("scope", ", ".join(options.get("scope", ())) or None),
            ("rank, alpha", f"{options['rank']}, {options['alpha']}" if lora and options else None),
            ("trained parameters", trained),
            ("hash of weights and rule", f"`{weights}`"),
        ),
        "## MaskR²",
        _rule(rule),
        *_training(record),
        "## Loading without tte_tee",
        _python(*_loading(method)),
        *(input_words(shape, rule) if shape else [_INPUT]),
        "## Synthesis",
        "```\npython -m tte_tee synthesize --adapter ADAPTER --masks MASKS.h5 --out SYNTHETIC.h5\n```",
        "`--base BASE` says where the base is, if it moved; any other base than that of the hash is refused.",
        "## Limits and intended use",
        _limits(
            record,
            "What it draws is synthetic. It may repeat frames that it was trained on: look for copies before frames "
            "are passed on.",
            "Masks of other views, label spaces or populations than those trained on are outside of what was tried.",
        ),
    )


def base_card(values: Mapping[str, Any], digest: str) -> str:
    """The card of a base: ``base.json`` and its hash, which adapters made for it name."""
    shape, record = values["denoiser"], values["provenance"]
    return _page(
        ("diffusers", ["echocardiography", "diffusion", "synthetic-data"]),
        "Base: a mask-conditioned diffusion model of echo",
        "Draws frames of masks in the label space that it was trained on; the ground that adapters stand on.",
        _table(
            ("structures", ", ".join(shape["structures"])),
            ("frames", f"{shape['image_size']}x{shape['image_size']}"),
            ("channels", ", ".join(map(str, shape["channels"]))),
            ("mask enters by", shape["conditioning"]),
            ("hash of weights and shape", f"`{digest}`"),
        ),
        *_training(record),
        "## Loading without tte_tee",
        _python(*_loading("none")[:2]),
        "## Limits and intended use",
        _limits(record, "What it draws is synthetic, and may repeat frames that it was trained on."),
    )


def network_card(values: Mapping[str, Any], digest: str, rule: Mapping[str, Any] | None = None) -> str:
    """The card of a network for diffusers alone: a base, or what an adapter made of it.

    Args:
        values: ``base.json``.
        digest: of the folder, as adapters made for it name it.
        rule: ``maskr2.json``, if an adapter is in it.
    """
    shape, record = values["denoiser"], values["provenance"]
    what = "of its adapter" if rule else "of the label space that it was trained on"
    return _page(
        ("diffusers", ["echocardiography", "diffusion", "synthetic-data"]),
        "A mask-conditioned diffusion model of echo",
        f"Draws frames of masks {what}. U-Net and scheduler are those of diffusers; nothing else is needed.",
        _table(
            ("frames", f"{shape['image_size']}x{shape['image_size']}, grey"),
            ("structures", ", ".join(shape["structures"])),
            ("mask enters by", shape["conditioning"]),
            ("adapted by", _METHODS[record["method"]] if rule else None),
            ("hash of weights and shape", f"`{digest}`"),
        ),
        *(("## MaskR²", _rule(rule)) if rule else ()),
        "## Loading",
        _python(
            "import torch",
            "from diffusers import DDPMScheduler, UNet2DConditionModel",
            "",
            'unet = UNet2DConditionModel.from_pretrained("FOLDER/unet", torch_dtype=torch.float32)',
            'scheduler = DDPMScheduler.from_pretrained("FOLDER/scheduler")',
        ),
        *input_words(shape, rule),
        *_training(record),
        "## Limits and intended use",
        _limits(
            record,
            "What it draws is synthetic, and may repeat frames that it was trained on: look for copies before frames "
            "are passed on.",
        ),
    )


def segmenter_card(values: Mapping[str, Any], weights: str) -> str:
    """The card of a segmenter: ``segmenter.json`` and the SHA-256 of its weights."""
    network, record = values["network"], values["provenance"]
    dice = record.get("val_dice")
    return _page(
        (None, ["echocardiography", "image-segmentation", "monai"]),
        "Segmenter of echo frames",
        f"Finds {', '.join(values['label_space']['structures'])} in frames.",
        _table(
            ("network", f"{network['network']} (MONAI), channels {', '.join(map(str, network['channels']))}"),
            ("frames", "x".join(map(str, values["image_size"]))),
            ("label space", values["label_space"]["name"]),
            ("Dice on validation patients", None if dice is None else f"{100 * dice:.1f} %, on which it was chosen"),
            ("SHA-256 of the weights", f"`{weights}`"),
        ),
        *_training(record),
        "## Use",
        "```\npython -m tte_tee segment FRAMES --segmenter SEGMENTER --out FOUND\n```",
        "## Limits and intended use",
        _limits(record, "Validation says how it was chosen, not how good it is: `evaluate` it on patients unseen."),
    )


def _page(front: tuple[str | None, Sequence[str]], title: str, *parts: str) -> str:
    library, tags = front
    matter = {**({"library_name": library} if library else {}), "tags": list(tags)}
    return (
        "\n\n".join((f"---\n{yaml.safe_dump(matter, sort_keys=False)}---", f"# {title}", *filter(None, parts))) + "\n"
    )


def _table(*rows: tuple[str, Any]) -> str:
    """Two columns; what is not known (None) is left out."""
    known = [f"| {name} | {value} |" for name, value in rows if value is not None]
    return "\n".join(["| | |", "|---|---|", *known]) if known else "Not recorded."


def _rule(rule: Mapping[str, Any]) -> str:
    place = rule["place"]
    lines = [f"| {name} | {place[name] or 'background'} |" for name in rule["target"]["structures"]]
    size = len(rule["source"]) * len(rule["target"]["structures"])
    kind = f"A matrix of {size} entries, learnt from this start." if rule["learnable"] else "Fixed."
    return "\n".join(["| label of the masks | place in the base |", "|---|---|", *lines, "", kind])


def _training(record: Mapping[str, Any]) -> tuple[str, ...]:
    """Sections on the data and on the run."""
    data, options = record.get("data", {}), _options(record, "model")
    synthetic = data.get("synthetic")
    seen, of_base = len(record.get("seen", ())), len(record.get("base_seen", ()))
    known = f"{seen:,}" + (f", {of_base:,} of them by way of the base" if of_base else "")
    counts = [(f"split {split}", _counts(n)) for split, n in data.get("learnt_from", {}).items()]
    return (
        "## Data",
        _table(
            ("store", _named(data) if data else None),
            ("label space", data.get("label_space")),
            *counts,
            ("synthetic frames", f"{synthetic['frames']:,} of {_named(synthetic)}" if synthetic else None),
            ("cohorts", ", ".join(data.get("cohorts", ())) or None),
            ("licence", data.get("licence")),
            ("patients known, in all", known if seen else None),
        ),
        "## Training",
        _table(
            ("optimiser steps", record.get("steps")),
            ("seed", options.get("seed")),
            ("learning rate", options.get("learning_rate")),
            ("weight decay", options.get("weight_decay")),
            ("frames per step", _options(record, "data").get("batch_size")),
            ("seconds", record.get("seconds")),
            ("time", record.get("time")),
            ("commit of tte_tee", record.get("commit")),
            ("libraries", ", ".join(f"{name} {v}" for name, v in record.get("versions", {}).items()) or None),
        ),
    )


def _counts(of_split: Mapping[str, int]) -> str:
    return f"{of_split['patients']:,} patients, {of_split['frames']:,} frames"


def _named(store: Mapping[str, Any]) -> str:
    return f"`{store['store']}`, content hash `{store['hash']}`"


def _options(record: Mapping[str, Any], part: str) -> Mapping[str, Any]:
    return record.get("config", {}).get(part, {}).get("init_args", {})


def _loading(method: str) -> list[str]:
    base = ["from diffusers import UNet2DConditionModel", 'unet = UNet2DConditionModel.from_pretrained("BASE/unet")']
    if method == "lora":
        return [base[0], "from peft import PeftModel", "", base[1], 'unet = PeftModel.from_pretrained(unet, "ADAPTER")']
    return base if method == "none" else [base[0], base[1].replace("BASE", "ADAPTER")]


def _python(*lines: str) -> str:
    return "\n".join(("```python", *lines, "```"))


def _limits(record: Mapping[str, Any], *own: str) -> str:
    limits = [_RESEARCH, *own]
    patients = record.get("data", {}).get("learnt_from", {}).get("train", {}).get("patients")
    if patients is not None and patients < FEW:
        limits.append(f"Trained on {patients} patient{'s' * (patients != 1)}: it says little of patients at large.")
    limits.append("Whoever is known to it is refused as a test patient; the record beside this card says who.")
    return "\n".join(f"- {limit}" for limit in limits)
