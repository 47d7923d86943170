"""A frame of an exported adapter, by diffusers and peft alone; step by step as in the README.md of the two folders.

`export diffusers --base` and `export adapter` wrote the folders, MASKS.h5 is an echo store; the frame is that of
`synthesize --gain drawn --seed SEED`:  python sample_with_diffusers.py BASE ADAPTER MASKS.h5 INDEX SEED FRAME.png
"""

import hashlib
import json
import math
import sys
from pathlib import Path

import h5py
import torch
from diffusers import DPMSolverMultistepScheduler, UNet2DConditionModel
from diffusers.utils import pt_to_pil
from peft import PeftModel
from torch.nn.functional import one_hot, pixel_shuffle, pixel_unshuffle

base, adapter, masks, index, seed, out = sys.argv[1:]
shape = json.loads(Path(base, "base.json").read_text())["denoiser"]
assert shape["conditioning"] == "both", "the card says where the mask enters instead"
matrix = torch.tensor(json.loads(Path(adapter, "maskr2.json").read_text())["matrix"])
unet = UNet2DConditionModel.from_pretrained(f"{base}/unet", torch_dtype=torch.float32)
unet = PeftModel.from_pretrained(unet, adapter).eval().requires_grad_(False)
solver = {"algorithm_type": "sde-dpmsolver++", "solver_order": 2}
scheduler = DPMSolverMultistepScheduler.from_pretrained(f"{base}/scheduler", **solver)
ratio = (scheduler.alphas_cumprod / (1 - scheduler.alphas_cumprod)).log() / 2
scheduler.set_timesteps(timesteps=[999, *(int((ratio + 4 - 8 * i / 12).abs().argmin()) for i in range(1, 12))])
with h5py.File(masks) as file:
    mask, sector = (torch.from_numpy(file[name][int(index)]).long() for name in ("masks", "sector"))
    key, view = (file[f"frames/{name}"].asstr()[int(index)] for name in ("key", "view"))
places = torch.einsum("hwy,xy->xhw", one_hot(mask, matrix.shape[1] + 1)[..., 1:].float(), matrix)
condition = 2 * torch.cat([places, sector[None]])[None] - 1
patches = pixel_unshuffle(condition, shape["patch"])
grid = patches.shape[-1]
angles = (torch.arange(grid)[:, None] + 0.5) / grid * math.pi * 2 ** torch.linspace(-1, 3, 8)
waves = torch.cat([angles.sin(), angles.cos()], 1)
rows, columns = waves[:, None].expand(grid, grid, 16), waves[None].expand(grid, grid, 16)
tokens = torch.cat([patches[0].flatten(1).T, torch.cat([rows, columns], 2).flatten(0, 1)], 1)[None]
plane = torch.tensor([int(view in ("A2C", "ME2C"))])
digest = hashlib.blake2b(f"sample/{seed}/{key}#0".encode(), digest_size=8).digest()
start = torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)
frame = torch.randn(1, 1, *mask.shape, generator=start)
for t in scheduler.timesteps:
    noisy = pixel_unshuffle(torch.cat([frame, condition], 1), shape["space_to_depth"])
    output = unet(noisy, t, encoder_hidden_states=tokens, class_labels=plane).sample
    frame = scheduler.step(pixel_shuffle(output, shape["space_to_depth"]), t, frame, generator=start).prev_sample
pt_to_pil((frame + 1) * sector - 1)[0].save(out)
