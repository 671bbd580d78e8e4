"""What training a diffusion model costs and leaves on disk, counted without torch."""

from models.unet_shape import UNetShape
from rebalance_core.config import Config
from rebalance_core.generators.diffusion.config import (
    LOOKS,
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

    def residual(self, side: int, ins: int, outs: int, embedding_dim: int, modulation: int) -> None:
        """Two convolutions; the embedding gives `modulation` numbers per channel in between."""
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
        self.products += 2 * side**4 * width  # each pixel with each, twice
        if normed:
            self.norm(width)


def unet_count(config: DiffusionConfig, channels: int) -> Count:
    """Parameters and multiplications of a diffusion model's U-Net, without its condition layers."""
    shape = config.unet_shape(channels)
    if isinstance(config, ConditionalDdpmConfig):
        return _layers(shape.unshuffled(config.unshuffle), conditional=True)
    return _layers(shape, conditional=False)


def _layers(shape: UNetShape, *, conditional: bool) -> Count:
    """The layers that `models.unet.seeded_unet` builds from the same arguments."""
    widths, count = shape.widths, Count()
    embedding_dim = shape.condition_dim if conditional else 4 * widths[0]
    modulation = 2 if conditional else 1  # scale and shift, or shift alone
    # Input convolution and timestep embedding.
    count.conv(shape.size, shape.channels, widths[0])
    count.linear(1, widths[0], embedding_dim)
    count.linear(1, embedding_dim, embedding_dim)
    # Down blocks.
    side, now, skips = shape.size, widths[0], [widths[0]]
    for level, width in enumerate(widths):
        for _ in range(shape.layers):
            count.residual(side, now, width, embedding_dim, modulation)
            if level in shape.attention:
                count.attention(side, width)
            now = width
            skips.append(now)
        if level < len(widths) - 1:
            side //= 2
            count.conv(side, now, now)
            skips.append(now)
    # Middle block.
    count.residual(side, now, now, embedding_dim, modulation)
    count.attention(side, now, normed=not conditional)
    count.residual(side, now, now, embedding_dim, modulation)
    # Up blocks.
    for level, width in reversed(list(enumerate(widths))):
        for _ in range(shape.layers + 1):
            count.residual(side, now + skips.pop(), width, embedding_dim, modulation)
            if level in shape.attention:
                count.attention(side, width)
            now = width
        if level:
            side *= 2
            count.conv(side, now, now)
    # Output convolution.
    count.norm(now)
    count.conv(shape.size, now, shape.channels)
    return count


def update_flops(config: Config, channels: int) -> float:
    """Floating-point operations of one update: forward counts 1, backward 2."""
    assert isinstance(config, DiffusionConfig)
    passes = 2 if isinstance(config, ConditionalDdpmConfig) and config.cbdm else 1
    images = config.batch_size * config.accumulation
    return 2.0 * 3 * passes * images * unet_count(config, channels).products


def ddpm_cost(config: Config, chosen: TrainingSet, channels: int) -> Cost:
    """One model for each class that is trained."""
    assert isinstance(config, DdpmConfig)
    trained = config.classes or tuple(chosen.minority)
    models = [chosen.counts.get(label, 0) for label in trained]
    return _cost(config, models, PREVIEWS, VALIDATION_IMAGES, channels)


def conditional_cost(config: Config, chosen: TrainingSet, channels: int) -> Cost:
    """One model over all classes."""
    assert isinstance(config, ConditionalDdpmConfig)
    classes = len(chosen.classes)
    previews = PREVIEWS * classes * (1 if config.guidance == 1 else 2)
    return _cost(config, [len(chosen.train)], previews, VALIDATION_IMAGES * classes, channels)


def _cost(
    config: DiffusionConfig, models: list[int], previews: int, held_out: int, channels: int
) -> Cost:
    """`models`: the images of each model; `previews` and `held_out`: images that pass through it at
    every step of a preview's sampler, and at every level of a validation."""
    unet, batch = unet_count(config, channels), config.batch_size * config.accumulation
    evaluation = 2.0 * unet.products * (previews * PREVIEW_STEPS + held_out * VALIDATION_LEVELS)
    lengths = [config.steps or config.epochs * max(1, -(-images // batch)) for images in models]
    step = update_flops(config, channels)
    operations = sum(steps * step + min(steps, LOOKS) * evaluation for steps in lengths)
    # a checkpoint: the weights, Adam's two moments, the average, the models finished before
    kept = 2 + len(models) + (1 if config.ema else 0)
    numbers = unet.parameters * (len(models) + (KEPT + 1) * kept)  # the best may be older
    return Cost(operations, numbers)
