"""VGG-16, ResNet-18 and Inception v3 without their classifiers (VGG-16: paper, section 3.1)."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from rebalance_core.poses.extractors import NetworkName
from rebalance_core.training.device import is_bf16_fast

BATCH = 16  # images; larger batches are not faster on a CPU
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, as torchvision uses them


def empty_network(name: NetworkName) -> nn.Module:
    """The complete torchvision network with its 1,000 outputs, on the meta device."""
    from torchvision import models

    build: dict[NetworkName, Callable[[], nn.Module]] = {
        "vgg16": models.vgg16,
        "resnet18": models.resnet18,
        # transform_input converts ImageNet's normalization to the [-1, 1] that it was trained on.
        "inception": lambda: models.inception_v3(init_weights=False, transform_input=True),
    }
    with torch.device("meta"):
        return build[name]()


def headless(network: nn.Module, name: NetworkName) -> nn.Module:
    """Remove the classifier: VGG-16 outputs 4,096 values after ReLU (`classifier[:-2]`),
    ResNet-18 and Inception v3 the 512 and 2,048 of their average pool."""
    if name == "vgg16":
        network.classifier = network.classifier[:-2]  # type: ignore[index]
    else:
        network.fc = nn.Identity()
    return network


def best_device() -> torch.device:
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def resolved_precision(precision: str) -> str:
    """`auto` is bf16 where the device is fast at it, else fp32."""
    return precision if precision != "auto" else "bf16" if is_bf16_fast() else "fp32"


def network_input(images: np.ndarray) -> Tensor:
    """uint8 (n, H, W, C) → float32 (n, 3, H, W) with ImageNet's normalization; gray is repeated."""
    pixels = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 255
    return (pixels.expand(-1, 3, -1, -1) - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[
        :, None, None
    ]


def load_extractor(
    name: NetworkName, weights: Path, precision: str
) -> Callable[[np.ndarray], np.ndarray]:
    """A function uint8 (n, size, size, C) → float32 (n, width), in batches on the best device.

    `weights` is a safetensors file written by `weights.py`; `precision` is fp32 or bf16.
    """
    from safetensors.torch import load_file

    network = empty_network(name)
    network.load_state_dict(load_file(weights), assign=True)
    device = best_device()
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    network = headless(network, name).eval().requires_grad_(False)
    network = network.to(device=device, dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def extract(images: np.ndarray) -> np.ndarray:
        outputs = []
        with torch.inference_mode():
            for start in range(0, len(images), BATCH):
                batch = network_input(images[start : start + BATCH]).to(
                    device=device, dtype=dtype, memory_format=torch.channels_last
                )
                outputs.append(network(batch).float().cpu().numpy())
        return np.concatenate(outputs)

    return extract
