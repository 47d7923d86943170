"""Folders in which bases and adapters are kept; diffusers and peft read the weights as they are.

A base::

    unet/       config.json, diffusion_pytorch_model.safetensors
    scheduler/  scheduler_config.json
    base.json   shape of the denoiser, provenance
    README.md   model card

An adapter::

    adapter_config.json, adapter_model.safetensors   LoRA, as peft writes it, or
    unet/                                            all weights, as diffusers writes them, or neither
    maskr2.json   label spaces, solved rule, matrix
    adapter.json  method, hash and name of the base, provenance
    README.md     model card
"""

import hashlib
import json
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, cast

import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from peft import LoraConfig, PeftModel, get_peft_model_state_dict
from safetensors import SafetensorError, safe_open

from tte_tee.anatomy import LabelSpace, MaskMap
from tte_tee.errors import UserError
from tte_tee.files import first_line, read_json, whole_folder, write_json, write_whole
from tte_tee.models.adapters import merge_lora, plain_unet
from tte_tee.models.card import CARD, adapter_card, base_card
from tte_tee.models.denoiser import Denoiser, DenoiserConfig, build_unet
from tte_tee.models.maskr2 import MaskR2
from tte_tee.models.records import read_record

SHIPPED = "shipped"
Method = Literal["lora", "full", "scratch", "none"]
WEIGHTS = "unet/diffusion_pytorch_model.safetensors"
LORA_WEIGHTS, RULE = "adapter_model.safetensors", "maskr2.json"
_UNREADABLE = (OSError, LookupError, TypeError, ValueError, AttributeError, RuntimeError, SafetensorError)
_TENSORS_OF_A_LAYER = 8  # of a residual block, at the least
_LORA = ("r", "lora_alpha", "lora_dropout", "use_rslora")
_SAID = ("auto_mapping", "base_model_name_or_path", "inference_mode", "peft_version", "revision", "task_type")
"""What of adapter_config.json decides the network here, and what is only said in it."""
_SCALE = ("r", "lora_alpha", "use_rslora")  # of what LoRA adds; dropout is of training alone
_FORWARD = (
    "num_train_timesteps",
    "beta_schedule",
    "beta_start",
    "beta_end",
    "trained_betas",
    "rescale_betas_zero_snr",
    "prediction_type",
)
"""What of scheduler_config.json decides the forward process; the rest is a sampler's, and set where one is made."""


@dataclass
class Base:
    """A loaded base: the denoiser in single precision, its schedule, its :func:`base_hash`, its record."""

    denoiser: Denoiser
    schedule: DDPMScheduler
    hash: str
    folder: Path
    record: dict[str, Any]


@dataclass
class Adapter:
    """A loaded adapter: a denoiser ready to sample, with its LoRA in its weights, MaskR², and where both came from."""

    denoiser: Denoiser
    schedule: DDPMScheduler
    maskr2: MaskR2
    target: LabelSpace
    record: dict[str, Any]
    hash: str


def base_folder(base: str) -> Path:
    """The folder of a base; ``shipped`` names the one inside the package."""
    return Path(__file__).parent / "shipped_base" if base == SHIPPED else Path(base)


def save_base(folder: Path, denoiser: Denoiser, schedule: DDPMScheduler, record: dict[str, Any], *, half: bool) -> None:
    """Writes a base folder, whole or not at all; ``half`` stores the weights in half precision."""
    with whole_folder(folder) as temporary:
        unet = UNet2DConditionModel.from_config(denoiser.unet.config)
        unet.load_state_dict(denoiser.unet.state_dict())
        (unet.half() if half else unet).save_pretrained(temporary / "unet")
        schedule.save_pretrained(temporary / "scheduler")
        values = {"denoiser": asdict(denoiser.config), "provenance": record}
        write_json(temporary / "base.json", values)
        write_whole(temporary / CARD, base_card(values, base_hash(temporary)).encode())


def load_base(base: str) -> Base:
    """Reads a base folder; weights come from safetensors alone.

    Raises:
        UserError: the folder is missing or is no base.
    """
    folder = base_folder(base)
    record = read_record(folder / "base.json", "base")
    try:
        config, made = _denoiser_config(record["denoiser"]), dict(record["provenance"])
        unet = _load_unet(folder)
        with torch.device("meta"):
            described = build_unet(config)
        if _shapes(described) != _shapes(unet):
            raise ValueError("base.json describes another network than unet/ holds")
        _check_finite(unet)
        _require(folder, "scheduler/scheduler_config.json")
        schedule = DDPMScheduler.from_pretrained(folder / "scheduler", local_files_only=True)
        digest = base_hash(folder)
    except (*_UNREADABLE, UserError) as error:
        raise UserError(f"{folder}: not a readable base ({first_line(error)}); train one with base_tte.yaml") from error
    return Base(Denoiser(config, unet), schedule, digest, folder, made)


def save_adapter(
    folder: Path, denoiser: Denoiser, maskr2: MaskR2, method: Method, target: LabelSpace, record: dict[str, Any]
) -> None:
    """Writes an adapter folder, whole or not at all.

    Args:
        folder: where; an older one is replaced.
        denoiser: with LoRA in its U-Net (``lora``), or with weights of its own (``full``,
            ``scratch``), or as the base has them (``none``: nothing but MaskR² is written).
        maskr2: the rule, learnt or not.
        method: see above.
        target: label space of the masks.
        record: provenance; must hold ``base`` (as given) and ``base_hash``.
    """
    mask_map = maskr2.mask_map
    with whole_folder(folder) as temporary:
        if method == "lora":
            cast(PeftModel, denoiser.unet).save_pretrained(str(temporary))
        elif method != "none":
            plain_unet(denoiser.unet).save_pretrained(temporary / "unet")
        rule = {
            "source": mask_map.source,
            "target": target.to_json(),
            "place": dict(mask_map.place),
            "learnable": maskr2.learnable,
            "matrix": maskr2.matrix.detach().tolist(),
        }
        values = {"method": method, **record}
        write_json(temporary / RULE, rule)
        write_json(temporary / "adapter.json", values)
        # In the place of peft's, an empty form that names a path of this machine.
        write_whole(temporary / CARD, adapter_card(values, rule, adapter_hash(temporary)).encode())


def load_adapter(folder: str | Path, base: str | None = None) -> Adapter:
    """Reads an adapter folder and the base it was made for.

    Args:
        folder: written by :func:`save_adapter`.
        base: where the base is now; by default where it was.

    Raises:
        UserError: the folder is no adapter, or the base is not the one that the adapter was made for.
    """
    folder = Path(folder)
    record = read_record(folder / "adapter.json", "adapter")
    rule = read_record(folder / RULE, "adapter")
    try:
        where = base or record["base"]
        if not base_folder(where).is_dir():
            raise UserError(f"{folder}: its base {where} is not there; say with --base where it is")
        loaded = load_base(where)
        if loaded.hash != record["base_hash"]:
            raise UserError(
                f"{folder}: made for base {record['base_hash'][:12]}, but {loaded.folder} has {loaded.hash[:12]}; "
                "give the right one with --base"
            )
        denoiser = loaded.denoiser
        if record["method"] == "lora":
            denoiser.unet = merge_lora(_load_lora(denoiser.unet, folder))
        elif record["method"] in ("full", "scratch"):
            denoiser.unet = _load_unet(folder)
        elif record["method"] != "none":
            raise ValueError(f"method '{record['method']}' is unknown")
        if tuple(rule["source"]) != tuple(denoiser.config.structures):
            raise ValueError("maskr2.json is for another base's structures")
        target = _target(rule["target"])
        maskr2 = MaskR2(MaskMap(tuple(rule["source"]), target.structures, rule["place"]), learnable=rule["learnable"])
        maskr2.load_state_dict({"matrix": torch.tensor(rule["matrix"])})
        _check_finite(denoiser.unet, maskr2)
        digest = adapter_hash(folder)
    except _UNREADABLE as error:
        raise UserError(f"{folder}: not a readable adapter ({first_line(error)})") from error
    return Adapter(denoiser.eval(), loaded.schedule, maskr2, target, record, digest)


def _target(values: dict[str, Any]) -> LabelSpace:
    try:
        return LabelSpace.from_json(values)
    except UserError as error:
        raise ValueError(str(error)) from error  # who reads the folder says which one it is


def _check_finite(*networks: torch.nn.Module) -> None:
    """Refuses weights that would draw frames of nothing."""
    if not all(weight.isfinite().all() for network in networks for weight in network.state_dict().values()):
        raise ValueError("a weight is no finite number")


def _require(folder: Path, *names: str) -> None:
    """Refuses a folder with a file missing, which diffusers and peft would look for on the Hub."""
    for name in names:
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{name} is missing")


def _load_unet(folder: Path) -> UNet2DConditionModel:
    """The network in ``unet/``, in single precision; every one of its weights must be in the file."""
    _require(folder, "unet/config.json", WEIGHTS)
    config = read_json(folder / "unet/config.json", "network")
    stored = _stored_shapes(folder / WEIGHTS)
    _check_size(config, stored)
    with torch.device("meta"):
        described = UNet2DConditionModel.from_config(config)
    _same_weights(stored, _shapes(described), WEIGHTS)
    return UNet2DConditionModel.from_pretrained(
        folder / "unet", torch_dtype=torch.float32, use_safetensors=True, local_files_only=True
    )


def _check_size(config: dict[str, Any], stored: dict[str, torch.Size]) -> None:
    """Refuses a network larger than its weights before it is built, which for some would never end."""
    widest = max(1024, *(side for shape in stored.values() for side in shape))
    for key, value in config.items():
        values = value if isinstance(value, list) else [value]
        numbers = [number for number in values if isinstance(number, int | float)]
        most = len(stored) // _TENSORS_OF_A_LAYER if "layers" in key else widest
        if max(numbers, default=0) > most or len(values) > len(stored):
            raise ValueError(f"unet/config.json: {key} describes a larger network than its weights")


def _load_lora(unet: UNet2DConditionModel, folder: Path) -> PeftModel:
    """``unet`` with the LoRA of the folder; every weight of the LoRA must be in the file."""
    _require(folder, "adapter_config.json", LORA_WEIGHTS)
    config = _lora_config(folder)
    stored = _stored_shapes(folder / LORA_WEIGHTS)
    if config.r not in {shape[0] for name, shape in stored.items() if ".lora_A." in name and shape}:
        raise ValueError(f"adapter_config.json says rank {config.r}, and {LORA_WEIGHTS} has another")
    with warnings.catch_warnings(action="ignore"):  # of missing weights: what follows refuses them
        adapted = PeftModel.from_pretrained(unet, str(folder), config=config, local_files_only=True)
    held = get_peft_model_state_dict(adapted)
    _same_weights(stored, {name: weight.shape for name, weight in held.items()}, LORA_WEIGHTS)
    return adapted


def _lora_config(folder: Path) -> LoraConfig:
    """Rank, scale and layers, as adapter_config.json has them; nothing else of peft's is taken from a file.

    Other keys make peft load other kinds of adapters, other models or modules by name.
    """
    values = read_json(folder / "adapter_config.json", "adapter")
    targets = values["target_modules"]
    if values.get("peft_type") != "LORA" or not isinstance(targets, list):
        raise ValueError("adapter_config.json is not of a LoRA with a list of target_modules")
    config = LoraConfig(target_modules=targets, bias="none", **{key: values[key] for key in _LORA if key in values})
    default = {**config.to_dict(), "target_modules": targets}
    strange = [key for key, value in values.items() if key not in _SAID and value != default.get(key)]
    if strange:
        raise ValueError(f"adapter_config.json asks for {', '.join(strange[:3])}, which no adapter here has")
    return config


def _shapes(unet: UNet2DConditionModel) -> dict[str, torch.Size]:
    return {name: weight.shape for name, weight in unet.state_dict().items()}


def _stored_shapes(weights: Path) -> dict[str, torch.Size]:
    """Shape of every tensor of a safetensors file, by its header alone."""
    with safe_open(weights, framework="pt") as file:
        return {name: torch.Size(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118


def _same_weights(found: dict[str, torch.Size], expected: dict[str, torch.Size], where: str) -> None:
    if other := [name for name in sorted({*found, *expected}) if found.get(name) != expected.get(name)]:
        raise ValueError(f"{Path(where).name} holds other weights than its config: {other[0]}")


def base_hash(folder: Path) -> str:
    """SHA-256 over a base's weights and what decides what they compute: shape, network, forward process."""
    schedule = read_json(folder / "scheduler/scheduler_config.json", "base")
    decides = {
        "denoiser": asdict(_denoiser_config(read_json(folder / "base.json", "base")["denoiser"])),
        "scheduler": {key: schedule.get(key) for key in _FORWARD},
        "unet": _network(folder),
    }
    return _digest(folder, (WEIGHTS,), decides)


def adapter_hash(folder: Path) -> str:
    """SHA-256 over an adapter's weights and rule, and what else decides its frames."""
    record = read_json(folder / "adapter.json", "adapter")
    decides: dict[str, Any] = {key: record[key] for key in ("method", "gain") if key in record}
    if (folder / LORA_WEIGHTS).is_file():
        config = read_json(folder / "adapter_config.json", "adapter")
        scale = {key: config.get(key) for key in _SCALE}
        decides["lora"] = {**scale, "target_modules": sorted(config["target_modules"])}  # of which peft makes a set
    if (folder / WEIGHTS).is_file():
        decides["unet"] = _network(folder)
    return _digest(folder, (LORA_WEIGHTS, RULE, WEIGHTS), decides)


def _network(folder: Path) -> dict[str, Any]:
    """What unet/config.json says of the network; names with ``_`` are diffusers' notes on the file."""
    config = read_json(folder / "unet/config.json", "network")
    return {key: value for key, value in config.items() if not key.startswith("_")}


def _digest(folder: Path, files: tuple[str, ...], decides: dict[str, Any]) -> str:
    """SHA-256 over what decides, and over names and bytes of those files that are there, and of no others."""
    digest = hashlib.sha256(json.dumps(decides, sort_keys=True).encode())
    for name in files:
        if (folder / name).is_file():
            digest.update(name.encode() + (folder / name).read_bytes())
    return digest.hexdigest()


def _denoiser_config(values: dict[str, Any]) -> DenoiserConfig:
    tuples: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
    return DenoiserConfig(**tuples)
