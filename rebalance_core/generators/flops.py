"""What a step of training costs and how many numbers a generator holds, counted without torch."""

from collections.abc import Sequence
from itertools import pairwise

from rebalance_core.generators.bagan_gp.config import BaganConfig
from rebalance_core.generators.diffusion.config import ConditionalDdpmConfig, DiffusionConfig

BASE, LATENT, HIDDEN = 4, 128, 512  # px, numbers: as in models/bagan_gp.py


def widths(size: int) -> list[int]:
    """Channels after each stride-2 stage."""
    return [64] + [128] * ((size // BASE).bit_length() - 3) + [256]


def stack_products(size: int, channels: int) -> int:
    """Multiplications of one image through the stride-2 convolutions, either way."""
    stages = enumerate(pairwise([channels, *widths(size)]), start=1)
    return sum((size // 2**n) ** 2 * a * b * 16 for n, (a, b) in stages)


def step_work(config: BaganConfig, channels: int) -> tuple[float, float]:
    """Floating-point operations of one autoencoder step and one adversarial step: an image's way
    forward counts 1, backward 2, through the gradient penalty 4."""
    stack, flat = stack_products(config.size, channels), 256 * BASE**2
    autoencoder = 3 * (2 * stack + 2 * flat * LATENT)
    head, make = flat * HIDDEN, stack + flat * LATENT
    discriminator = make + (2 * 3 + 4) * stack + (3 * 3 + 4) * head
    adversarial = config.discriminator_updates * discriminator + 3 * make + 2 * (stack + head)
    return 2.0 * config.batch_size * autoencoder, 2.0 * config.batch_size * adversarial


def bagan_parameters(size: int, channels: int, classes: int) -> dict[str, int]:
    """Trainable parameters of the four parts."""
    flat, stages = 256 * BASE**2, list(pairwise([channels, *widths(size)]))
    convolutions = sum(a * b * 16 + b for a, b in stages)
    up = sum(a * b * 16 + a for a, b in stages) + 2 * sum(a for a, _ in stages[1:])
    return {
        "encoder": convolutions + (flat + 1) * LATENT,
        "decoder": up + (LATENT + 1) * flat,
        "embedding": classes * LATENT,
        "discriminator": convolutions
        + classes * HIDDEN + (HIDDEN + 1) * flat + (flat + 1) * HIDDEN + HIDDEN + 1,
    }  # fmt: skip


class Count:
    """Of the layers it is told of: parameters, and multiplications of one image forward."""

    def __init__(self) -> None:
        self.parameters = self.products = 0

    def linear(self, places: int, ins: int, outs: int) -> None:
        self.parameters += (ins + 1) * outs
        self.products += places * ins * outs

    def conv(self, side: int, ins: int, outs: int, kernel: int = 3) -> None:
        """`side`: of what comes out, px."""
        self.linear(side**2, kernel**2 * ins, outs)

    def norm(self, width: int) -> None:
        self.parameters += 2 * width

    def residual(self, side: int, ins: int, outs: int, told: int, tells: int) -> None:
        """Two convolutions, between which it is told `tells` numbers a channel of `told`."""
        self.norm(ins)
        self.conv(side, ins, outs)
        self.linear(1, told, tells * outs)
        self.norm(outs)
        self.conv(side, outs, outs)
        if ins != outs:
            self.conv(side, ins, outs, kernel=1)

    def attention(self, side: int, width: int, normed: bool = True) -> None:
        for _ in range(4):  # query, key, value, out
            self.linear(side**2, width, width)
        self.products += 2 * side**4 * width  # each pixel with each, twice
        if normed:
            self.norm(width)


def unet_count(config: DiffusionConfig, channels: int) -> Count:
    """Of the U-Net of a diffusion model; what a conditional one is told of its images apart."""
    size, embedding = config.size, None
    if isinstance(config, ConditionalDdpmConfig):
        size, channels = size // config.unshuffle, channels * config.unshuffle**2
        embedding = 4 * max(config.widths[0], 64)
    return _layers(size, channels, config.widths, config.layers, config.attention, embedding)


def _layers(
    size: int,
    channels: int,
    widths: Sequence[int],
    layers: int,
    attention: Sequence[int],
    embedding: int | None,
) -> Count:
    """Of what models/unet.py builds of the same arguments."""
    count, told, tells = Count(), embedding or 4 * widths[0], 2 if embedding else 1
    # in, and the timestep
    count.conv(size, channels, widths[0])
    count.linear(1, widths[0], told)
    count.linear(1, told, told)
    # down
    side, now, skips = size, widths[0], [widths[0]]
    for level, width in enumerate(widths):
        for _ in range(layers):
            count.residual(side, now, width, told, tells)
            if level in attention:
                count.attention(side, width)
            now = width
            skips.append(now)
        if level < len(widths) - 1:
            side //= 2
            count.conv(side, now, now)
            skips.append(now)
    # middle
    count.residual(side, now, now, told, tells)
    count.attention(side, now, normed=not embedding)
    count.residual(side, now, now, told, tells)
    # up
    for level, width in reversed(list(enumerate(widths))):
        for _ in range(layers + 1):
            count.residual(side, now + skips.pop(), width, told, tells)
            if level in attention:
                count.attention(side, width)
            now = width
        if level:
            side *= 2
            count.conv(side, now, now)
    # out
    count.norm(now)
    count.conv(size, now, channels)
    return count


def diffusion_work(config: DiffusionConfig, channels: int) -> float:
    """Floating-point operations of one update: an image's way forward counts 1, backward 2."""
    passes = 2 if isinstance(config, ConditionalDdpmConfig) and config.cbdm else 1
    images = config.batch_size * config.accumulation
    return 2.0 * 3 * passes * images * unet_count(config, channels).products
