"""FLOPs and disk space of training a diffusion model, counted without torch."""

from collections.abc import Sequence

from models.unet_shape import UNetShape
from rebalance_core.config import Config
from rebalance_core.generators.diffusion.config import (
    EVALUATIONS,
    PREVIEW_STEPS,
    PREVIEWS,
    VALIDATION_IMAGES,
    VALIDATION_LEVELS,
    ConditionalDdpmConfig,
    DdpmConfig,
    DiffusionConfig,
)
from rebalance_core.generators.spec import Cost
from rebalance_core.runs.directory import KEPT
from rebalance_core.training_sets.resolve import TrainingSet


class LayerCounter:
    """Parameters, and multiply-accumulates (MACs) of one image's forward pass, layer by layer."""

    def __init__(self) -> None:
        self.parameters = self.macs = 0

    def linear(self, positions: int, ins: int, outs: int) -> None:
        self.parameters += (ins + 1) * outs
        self.macs += positions * ins * outs

    def conv(self, side: int, ins: int, outs: int, kernel: int = 3) -> None:
        """`side`: of the output, px."""
        self.linear(side**2, kernel**2 * ins, outs)

    def norm(self, width: int) -> None:
        self.parameters += 2 * width

    def residual(self, side: int, ins: int, outs: int, embedding_dim: int, modulation: int) -> None:
        """Two convolutions, modulated by `modulation` values per channel from the embedding."""
        self.norm(ins)
        self.conv(side, ins, outs)
        self.linear(1, embedding_dim, modulation * outs)
        self.norm(outs)
        self.conv(side, outs, outs)
        if ins != outs:
            self.conv(side, ins, outs, kernel=1)

    def attention(self, side: int, width: int, normed: bool = True) -> None:
        for _ in range(4):  # query, key, value, out
            self.linear(side**2, width, width)
        self.macs += 2 * side**4 * width  # all pairs of pixels, twice
        if normed:
            self.norm(width)


def count_unet(config: DiffusionConfig, channels: int) -> LayerCounter:
    """Parameters and MACs of a diffusion model's U-Net, without its condition layers."""
    shape = config.unet_shape(channels)
    if isinstance(config, ConditionalDdpmConfig):
        return _layers(shape.unshuffled(config.unshuffle), conditional=True)
    return _layers(shape, conditional=False)


def _layers(shape: UNetShape, *, conditional: bool) -> LayerCounter:
    """The layers that `models.unet.seeded_unet` builds from the same arguments."""
    widths, count = shape.widths, LayerCounter()
    embedding_dim = shape.condition_dim if conditional else 4 * widths[0]
    modulation = 2 if conditional else 1  # scale and shift, or shift alone
    # Input convolution and timestep embedding.
    count.conv(shape.size, shape.channels, widths[0])
    count.linear(1, widths[0], embedding_dim)
    count.linear(1, embedding_dim, embedding_dim)
    # Down blocks.
    side, width_in, skips = shape.size, widths[0], [widths[0]]
    for level, width in enumerate(widths):
        for _ in range(shape.layers):
            count.residual(side, width_in, width, embedding_dim, modulation)
            if level in shape.attention:
                count.attention(side, width)
            width_in = width
            skips.append(width_in)
        if level < len(widths) - 1:
            side //= 2
            count.conv(side, width_in, width_in)
            skips.append(width_in)
    # Middle block.
    count.residual(side, width_in, width_in, embedding_dim, modulation)
    count.attention(side, width_in, normed=not conditional)
    count.residual(side, width_in, width_in, embedding_dim, modulation)
    # Up blocks.
    for level, width in reversed(list(enumerate(widths))):
        for _ in range(shape.layers + 1):
            count.residual(side, width_in + skips.pop(), width, embedding_dim, modulation)
            if level in shape.attention:
                count.attention(side, width)
            width_in = width
        if level:
            side *= 2
            count.conv(side, width_in, width_in)
    # Output convolution.
    count.norm(width_in)
    count.conv(shape.size, width_in, shape.channels)
    return count


def update_flops(config: Config, channels: int) -> float:
    """FLOPs of one update; the backward pass costs twice the forward pass."""
    assert isinstance(config, DiffusionConfig)
    passes = 2 if isinstance(config, ConditionalDdpmConfig) and config.cbdm else 1
    images = config.batch_size * config.accumulation
    return 2.0 * 3 * passes * images * count_unet(config, channels).macs


def ddpm_cost(config: Config, training_set: TrainingSet, channels: int) -> Cost:
    """The cost of one model per trained class."""
    assert isinstance(config, DdpmConfig)
    labels = config.classes or tuple(training_set.minority)
    image_counts = [training_set.counts.get(label, 0) for label in labels]
    return _cost(config, image_counts, PREVIEWS, VALIDATION_IMAGES, channels)


def conditional_cost(config: Config, training_set: TrainingSet, channels: int) -> Cost:
    """The cost of one model over all classes."""
    assert isinstance(config, ConditionalDdpmConfig)
    classes = len(training_set.classes)
    previews = PREVIEWS * classes * (1 if config.guidance == 1 else 2)
    return _cost(config, [len(training_set.train)], previews, VALIDATION_IMAGES * classes, channels)


def _cost(
    config: DiffusionConfig, image_counts: list[int], previews: int, held_out: int, channels: int
) -> Cost:
    """The cost of one model per number in `image_counts`, of training images.

    `previews` images pass through it at each step of a preview, `held_out` at each noise level of
    a validation.
    """
    unet, batch = count_unet(config, channels), config.batch_size * config.accumulation
    evaluation = 2.0 * unet.macs * (previews * PREVIEW_STEPS + held_out * VALIDATION_LEVELS)
    lengths = [
        config.steps or config.epochs * max(1, -(-images // batch)) for images in image_counts
    ]
    step = update_flops(config, channels)
    flops = sum(steps * step + min(steps, EVALUATIONS) * evaluation for steps in lengths)
    # a checkpoint: the weights, Adam's two moments, the EMA, the finished models
    copies = 2 + len(image_counts) + (1 if config.ema else 0)
    stored = unet.parameters * (len(image_counts) + (KEPT + 1) * copies)  # the best may be older
    return Cost(flops, stored, warmup_notes(config, lengths))


def warmup_notes(config: DiffusionConfig, lengths: Sequence[int]) -> tuple[str, ...]:
    """A sentence where a model has fewer than three times as many updates as its warm-up.

    `lengths`: updates of each model.
    """
    fewest, warmup = min(lengths, default=0), config.warmup_steps
    if not 0 < fewest < 3 * warmup:
        return ()
    rate = min(1.0, fewest / warmup)
    effect = (
        f"the learning rate never exceeds {rate:.0%} of {config.lr:g}"
        if rate < 1
        else f"{warmup / fewest:.0%} of the training is warm-up"
    )
    return (
        f"The warm-up takes {warmup:,} updates, and a model has {fewest:,}: {effect}. "
        f"Train longer, or set warmup_steps to {max(1, fewest // 10)}.",
    )
