"""FLOPs and disk space of training BAGAN-GP, counted without torch."""

from itertools import pairwise

from rebalance_core.config import Config
from rebalance_core.generators.bagan_gp.config import BaganConfig
from rebalance_core.generators.spec import Cost
from rebalance_core.runs.directory import KEPT
from rebalance_core.training_sets.resolve import TrainingSet

BASE, LATENT, HIDDEN = 4, 128, 512  # px, dimensions: as in models/bagan_gp.py


def widths(size: int) -> list[int]:
    """Channels after each stride-2 stage."""
    return [64] + [128] * ((size // BASE).bit_length() - 3) + [256]


def stack_macs(size: int, channels: int) -> int:
    """MACs of one image through the stride-2 convolutions, down or up."""
    stages = enumerate(pairwise([channels, *widths(size)]), start=1)
    return sum((size // 2**n) ** 2 * a * b * 16 for n, (a, b) in stages)


def step_flops(config: BaganConfig, channels: int) -> tuple[float, float]:
    """FLOPs of one autoencoder step and of one adversarial step.

    The backward pass costs 2 forward passes, the gradient penalty 4.
    """
    stack, flat = stack_macs(config.size, channels), 256 * BASE**2
    autoencoder = 3 * (2 * stack + 2 * flat * LATENT)
    head, generation = flat * HIDDEN, stack + flat * LATENT
    discriminator = generation + (2 * 3 + 4) * stack + (3 * 3 + 4) * head
    adversarial = config.discriminator_updates * discriminator + 3 * generation + 2 * (stack + head)
    return 2.0 * config.batch_size * autoencoder, 2.0 * config.batch_size * adversarial


def bagan_parameters(size: int, channels: int, classes: int) -> dict[str, int]:
    """{module: number of its trainable parameters}."""
    flat, stages = 256 * BASE**2, list(pairwise([channels, *widths(size)]))
    convolutions = sum(a * b * 16 + b for a, b in stages)
    up = sum(a * b * 16 + a for a, b in stages) + 2 * sum(a for a, _ in stages[1:])
    return {
        "encoder": convolutions + (flat + 1) * LATENT,
        "decoder": up + (LATENT + 1) * flat,
        "embedding": classes * LATENT,
        "discriminator": convolutions
        + classes * HIDDEN
        + (HIDDEN + 1) * flat
        + (flat + 1) * HIDDEN
        + HIDDEN
        + 1,
    }


def adversarial_flops(config: Config, channels: int) -> float:
    """FLOPs of one adversarial step, the step that is logged."""
    assert isinstance(config, BaganConfig)
    return step_flops(config, channels)[1]


def training_cost(config: Config, training_set: TrainingSet, channels: int) -> Cost:
    """The cost of both stages and of the checkpoints."""
    assert isinstance(config, BaganConfig)
    parts = bagan_parameters(config.size, channels, len(training_set.classes))
    generator, model = parts["decoder"] + parts["embedding"], sum(parts.values())
    # a checkpoint: the weights, two moments of three Adam optimizers, the EMA
    checkpoint = model + 2 * (model + generator) + (generator if config.ema else 0)
    per_epoch = -(-len(training_set.train) // config.batch_size)
    first = config.autoencoder_steps or config.autoencoder_epochs * per_epoch
    second = config.steps or config.epochs * per_epoch
    autoencoder, adversarial = step_flops(config, channels)
    return Cost(first * autoencoder + second * adversarial, model + KEPT * checkpoint)
