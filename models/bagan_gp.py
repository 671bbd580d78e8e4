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

LATENT_DIM = 128
BASE_SIZE = 4  # px, side of the smallest feature map
NEGATIVE_SLOPE = 0.2  # of every LeakyReLU
MAX_CLASSES = 10_000


def stage_widths(size: int) -> list[int]:
    """Output channels of each stride-2 convolution: 64, 128, 128, 256 at 64 px.

    Raises ValueError for any size but 32, 64, 128 and 256 px.
    """
    stages = (size // BASE_SIZE).bit_length() - 1
    if BASE_SIZE * 2**stages != size or not 3 <= stages <= 6:
        raise ValueError(f"BAGAN-GP supports 32, 64, 128 or 256 px, not {size}")
    return [64] + [128] * (stages - 2) + [256]


# eps and momentum, as torch counts it, of each framework's batch norm
BATCH_NORMS = {"keras": (1e-3, 0.01), "torch": (1e-5, 0.1)}


class _FirstOrderLeakyReLU(torch.autograd.Function):
    """LeakyReLU whose gradient is a constant to autograd, not a function of the input.

    The second derivative of LeakyReLU is zero, but autograd's own double backward propagates these
    zeros through the whole network when a gradient penalty is differentiated.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        output = F.leaky_relu(x, NEGATIVE_SLOPE)
        ctx.save_for_backward(output)
        ctx.set_materialize_grads(False)  # pass a missing gradient on as None instead of zeros
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> Tensor | None:
        if gradients[0] is None:
            return None
        (output,) = ctx.saved_tensors
        backward = torch.ops.aten.leaky_relu_backward
        # The output has the sign of the input, so it can stand in for it.
        gradient: Tensor = backward(gradients[0], output.detach(), NEGATIVE_SLOPE, True)
        return gradient


class FirstOrderLeakyReLU(nn.Module):
    """LeakyReLU for a discriminator under a gradient penalty: a cheaper double backward."""

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = _FirstOrderLeakyReLU.apply(x)
        return output


def _conv_stack(size: int, channels: int) -> nn.Sequential:
    """Strided convolutions: (n, C, size, size) → (n, 4096), flattened."""
    layers: list[nn.Module] = []
    for ins, outs in pairwise([channels, *stage_widths(size)]):
        layers += [nn.Conv2d(ins, outs, 4, stride=2, padding=1), FirstOrderLeakyReLU()]
    return nn.Sequential(*layers, nn.Flatten())


class Decoder(nn.Module):
    """Latents (n, 128) → images (n, C, size, size) in [-1, 1]; `batch_norm`: of BATCH_NORMS."""

    def __init__(self, size: int, channels: int, batch_norm: str = "torch") -> None:
        super().__init__()
        eps, momentum = BATCH_NORMS[batch_norm]
        widths = stage_widths(size)[::-1]
        self.project = nn.Sequential(
            nn.Linear(LATENT_DIM, widths[0] * BASE_SIZE**2),
            nn.LeakyReLU(NEGATIVE_SLOPE),
            nn.Unflatten(1, (widths[0], BASE_SIZE, BASE_SIZE)),
        )
        layers: list[nn.Module] = []
        for ins, outs in pairwise(widths):
            layers += [
                nn.ConvTranspose2d(ins, outs, 4, stride=2, padding=1),
                nn.BatchNorm2d(outs, eps, momentum),
                nn.LeakyReLU(NEGATIVE_SLOPE),
            ]
        last = nn.ConvTranspose2d(widths[-1], channels, 4, stride=2, padding=1)
        self.grow = nn.Sequential(*layers, last, nn.Tanh())

    def forward(self, latent: Tensor) -> Tensor:
        image: Tensor = self.grow(self.project(latent))
        return image


class Discriminator(nn.Module):
    """Logit of an image being real and of the given class.

    `trunk` and `logits` can be called separately, so that one pass of the trunk serves several
    labels.
    """

    def __init__(self, size: int, channels: int, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.trunk = _conv_stack(size, channels)
        flat_dim = stage_widths(size)[-1] * BASE_SIZE**2
        self.label = nn.Sequential(
            nn.Embedding(classes, 512), nn.Linear(512, flat_dim), nn.LeakyReLU(NEGATIVE_SLOPE)
        )
        self.head = nn.Sequential(nn.Linear(flat_dim, 512), nn.Linear(512, 1))

    def logits(self, features: Tensor, labels: Tensor) -> Tensor:
        """Features (n, 4096) of the trunk, labels int64 (n,) → logits (n,)."""
        table = self.label(torch.arange(self.classes, device=labels.device))
        # The dense layer runs once per class. F.embedding instead of table[labels]: the gradient of
        # indexing is accumulated in a nondeterministic order.
        logits: Tensor = self.head(features * F.embedding(labels, table))
        return logits.squeeze(1)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """Images (n, C, size, size) in [-1, 1], labels int64 (n,) → logits (n,)."""
        return self.logits(self.trunk(images), labels)


class BaganGP(nn.Module, PyTorchModelHubMixin):
    """Encoder, label embedding, decoder and discriminator; the generator is the middle two.

    `save_pretrained(dir)` writes the weights as safetensors and the arguments of `__init__` as
    config.json; `from_pretrained(dir)` reads both.
    """

    def __init__(
        self,
        size: int,
        channels: int,
        classes: list[str],
        unseen: list[str] | None = None,
        batch_norm: str = "torch",
    ) -> None:
        """`unseen`: the classes without a training image; `batch_norm`: of BATCH_NORMS.

        Raises ValueError for arguments that are out of range: config.json may come from anywhere.
        """
        super().__init__()
        are_names = all(isinstance(c, str) for c in [*classes, *(unseen or [])])
        are_valid = are_names and 1 <= len(set(classes)) == len(classes) <= MAX_CLASSES
        if channels not in (1, 3) or not are_valid or not set(unseen or []) <= set(classes):
            raise ValueError(
                f"{channels} channels and classes {str(classes)[:100]} are not 1 or 3 channels and "
                "distinct class names"
            )
        if not isinstance(batch_norm, str) or batch_norm not in BATCH_NORMS:
            raise ValueError(f"batch_norm {str(batch_norm)[:100]!r} is none of {[*BATCH_NORMS]}")
        self.size, self.channels, self.classes = size, channels, list(classes)
        self.unseen = list(unseen or [])
        flat_dim = stage_widths(size)[-1] * BASE_SIZE**2
        self.encoder = nn.Sequential(
            _conv_stack(size, channels),
            nn.Linear(flat_dim, LATENT_DIM),
            nn.LeakyReLU(NEGATIVE_SLOPE),
        )
        self.embedding = nn.Embedding(len(classes), LATENT_DIM)
        self.decoder = Decoder(size, channels, batch_norm)
        self.discriminator = Discriminator(size, channels, len(classes))
        self.apply(_init_weights)

    def generate(self, latent: Tensor, labels: Tensor) -> Tensor:
        """Latents (n, 128), labels int64 (n,) → images (n, C, size, size) in [-1, 1]."""
        images: Tensor = self.decoder(latent * self.embedding(labels))
        return images

    def reconstruct(self, images: Tensor, labels: Tensor) -> Tensor:
        """The autoencoder: images (n, C, size, size) in [-1, 1], labels (n,) → the same shape."""
        return self.generate(self.encoder(images), labels)

    def generator_parameters(self) -> list[nn.Parameter]:
        return [*self.decoder.parameters(), *self.embedding.parameters()]


def _init_weights(module: nn.Module) -> None:
    """The original's initialisation: convolutions from N(0, 0.02²), the rest Keras defaults."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
    elif isinstance(module, nn.Embedding):
        nn.init.uniform_(module.weight, -0.05, 0.05)
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)


def seeded_bagan(
    size: int,
    channels: int,
    classes: list[str],
    seed: int,
    unseen: list[str] | None = None,
    batch_norm: str = "torch",
) -> BaganGP:
    """Initialise a model from `seed`, without touching the global random state."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return BaganGP(
            size=size, channels=channels, classes=classes, unseen=unseen, batch_norm=batch_norm
        )
