"""BAGAN-GP's networks (Huang and Jafari 2021, arXiv 2011.00189) for images of 32 to 256 px.

At 64 px the widths and parameter counts are those of the original implementation; other sizes
add or remove stride-2 stages of 128 channels in the middle.
"""

from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from huggingface_hub import PyTorchModelHubMixin
from torch import Tensor, nn

LATENT = 128
BASE = 4  # px, the smallest feature map
SLOPE = 0.2  # of every LeakyReLU
MOST_CLASSES = 10_000


def stage_widths(size: int) -> list[int]:
    """Channels after each stride-2 convolution: 64, 128, 128, 256 at 64 px."""
    stages = (size // BASE).bit_length() - 1
    if BASE * 2**stages != size or not 3 <= stages <= 6:
        raise ValueError(f"BAGAN-GP is made for 32, 64, 128 or 256 px, not {size}")
    return [64] + [128] * (stages - 2) + [256]


class _Bend(torch.autograd.Function):
    """LeakyReLU whose gradient takes no way back to the input.

    Its second derivative is zero, but autograd's own sends zeros back through the whole network
    when a gradient penalty is differentiated.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        bent = F.leaky_relu(x, SLOPE)
        ctx.save_for_backward(bent)
        ctx.set_materialize_grads(False)  # what has no gradient sends none, instead of zeros
        return bent

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> Tensor | None:
        if gradients[0] is None:
            return None
        (bent,) = ctx.saved_tensors
        backward = torch.ops.aten.leaky_relu_backward
        slope: Tensor = backward(gradients[0], bent.detach(), SLOPE, True)  # the sign is the same
        return slope


class Bend(nn.Module):
    """LeakyReLU for a discriminator whose gradient is penalised."""

    def forward(self, x: Tensor) -> Tensor:
        bent: Tensor = _Bend.apply(x)
        return bent


def _conv_stack(size: int, channels: int) -> nn.Sequential:
    """(n, C, size, size) → (n, 4096), flattened."""
    layers: list[nn.Module] = []
    for before, after in pairwise([channels, *stage_widths(size)]):
        layers += [nn.Conv2d(before, after, 4, stride=2, padding=1), Bend()]
    return nn.Sequential(*layers, nn.Flatten())


class Decoder(nn.Module):
    """(n, 128) → (n, C, size, size) in [-1, 1]."""

    def __init__(self, size: int, channels: int) -> None:
        super().__init__()
        widths = stage_widths(size)[::-1]
        self.project = nn.Sequential(
            nn.Linear(LATENT, widths[0] * BASE**2),
            nn.LeakyReLU(SLOPE),
            nn.Unflatten(1, (widths[0], BASE, BASE)),
        )
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [
                nn.ConvTranspose2d(before, after, 4, stride=2, padding=1),
                nn.BatchNorm2d(after),
                nn.LeakyReLU(SLOPE),
            ]
        last = nn.ConvTranspose2d(widths[-1], channels, 4, stride=2, padding=1)
        self.grow = nn.Sequential(*layers, last, nn.Tanh())

    def forward(self, latent: Tensor) -> Tensor:
        image: Tensor = self.grow(self.project(latent))
        return image


class Discriminator(nn.Module):
    """Is this image real and of this class? Its trunk and head can be called apart, so that one
    look at an image serves several labels."""

    def __init__(self, size: int, channels: int, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.trunk = _conv_stack(size, channels)
        flat = stage_widths(size)[-1] * BASE**2
        self.label = nn.Sequential(
            nn.Embedding(classes, 512), nn.Linear(512, flat), nn.LeakyReLU(SLOPE)
        )
        self.head = nn.Sequential(nn.Linear(flat, 512), nn.Linear(512, 1))

    def judge(self, features: Tensor, labels: Tensor) -> Tensor:
        """Features (n, 4096) of the trunk, labels (n,) → logits (n,)."""
        table = self.label(torch.arange(self.classes, device=labels.device))
        # The dense layer runs once for each class. Looked up as an embedding: the gradient of plain
        # indexing adds up in an order that differs from run to run.
        logits: Tensor = self.head(features * F.embedding(labels, table))
        return logits.squeeze(1)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        return self.judge(self.trunk(images), labels)


class BaganGP(nn.Module, PyTorchModelHubMixin):
    """Encoder, label embedding, decoder and discriminator; `generate` needs the middle two.

    `save_pretrained(dir)` and `from_pretrained(dir)` keep safetensors and the arguments below.
    """

    def __init__(
        self, size: int, channels: int, classes: list[str], unseen: list[str] | None = None
    ) -> None:
        """`unseen`: classes that training held no image of."""
        super().__init__()
        names = all(isinstance(c, str) for c in [*classes, *(unseen or [])])
        known = names and 1 <= len(set(classes)) == len(classes) <= MOST_CLASSES
        if channels not in (1, 3) or not known or not set(unseen or []) <= set(classes):
            raise ValueError(f"{channels} channels and classes {str(classes)[:100]} do not fit")
        self.size, self.channels, self.classes = size, channels, list(classes)
        self.unseen = list(unseen or [])
        flat = stage_widths(size)[-1] * BASE**2
        self.encoder = nn.Sequential(
            _conv_stack(size, channels), nn.Linear(flat, LATENT), nn.LeakyReLU(SLOPE)
        )
        self.embedding = nn.Embedding(len(classes), LATENT)
        self.decoder = Decoder(size, channels)
        self.discriminator = Discriminator(size, channels, len(classes))
        self.apply(_start)

    def generate(self, latent: Tensor, labels: Tensor) -> Tensor:
        """Latents (n, 128), labels (n,) → images (n, C, size, size) in [-1, 1]."""
        images: Tensor = self.decoder(latent * self.embedding(labels))
        return images

    def reconstruct(self, images: Tensor, labels: Tensor) -> Tensor:
        return self.generate(self.encoder(images), labels)

    def generator_parameters(self) -> list[nn.Parameter]:
        return [*self.decoder.parameters(), *self.embedding.parameters()]


def _start(module: nn.Module) -> None:
    """As in the original: convolutions from N(0, 0.02), the rest by its framework's defaults."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
    elif isinstance(module, nn.Embedding):
        nn.init.uniform_(module.weight, -0.05, 0.05)
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)


def seeded_bagan(
    size: int, channels: int, classes: list[str], seed: int, unseen: list[str] | None = None
) -> BaganGP:
    """A fresh model, the same for the same seed; the global random state is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return BaganGP(size=size, channels=channels, classes=classes, unseen=unseen)
