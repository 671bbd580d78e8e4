"""A diffusion U-Net from a folder that anybody may have written.

The network is built from our own bounded config. The library's file beside the weights is only
compared with it: read by the library itself, it would choose sizes, classes and quantisation.
"""

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DModel

from models.unet import seeded_unet
from rebalance_core.generators.diffusion.config import DiffusionConfig
from rebalance_core.system.files import read_json
from rebalance_core.training.weights import load_weights

CHANNELS = (1, 3)  # of images
MAX_GROUPS = 32  # of a GroupNorm


def read_unet(
    folder: Path, config: DiffusionConfig, *, unshuffle: int = 1, conditional: bool = False
) -> UNet2DModel:
    """The U-Net of `config` with the weights in `folder`, whose config.json must describe it.

    Raises ValueError or SafetensorError for other files, UserError for unreadable JSON.
    """
    stored = read_json(folder / "config.json")
    if not isinstance(stored, dict):
        raise ValueError("unet/config.json is not an object")
    channels, rest = divmod(_whole(stored, "in_channels"), unshuffle**2)
    if rest or channels not in CHANNELS:
        raise ValueError("unet/config.json: in_channels is not that of gray or colour images")
    shape = config.unet_shape(channels).unshuffled(unshuffle)
    with torch.device("meta"):
        expected = dict(seeded_unet(shape, 0, conditional=conditional).config)
        # Earlier versions chose other groups for narrow networks.
        expected["norm_num_groups"] = _groups(stored, shape.widths)
        unet = UNet2DModel.from_config(expected)
    for name, value in json.loads(json.dumps(expected)).items():
        if not name.startswith("_") and stored.get(name, value) != value:
            raise ValueError(f"unet/config.json: {name} is not the {value} of the training config")
    load_weights(unet, folder / "diffusion_pytorch_model.safetensors")
    return unet


def _whole(stored: dict[str, Any], name: str) -> int:
    value = stored.get(name)
    if not isinstance(value, int):
        raise ValueError(f"unet/config.json: {name} is not a whole number")
    return value


def _groups(stored: dict[str, Any], widths: tuple[int, ...]) -> int:
    groups = _whole(stored, "norm_num_groups")
    if not 1 <= groups <= MAX_GROUPS or any(width % groups for width in widths):
        raise ValueError("unet/config.json: norm_num_groups does not divide the widths")
    return groups
