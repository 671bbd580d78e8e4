"""The shape of a diffusion U-Net; separate from models/unet.py, so that estimates need no torch."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class UNetShape:
    """Everything that determines a U-Net's layers.

    The paper's is `UNetShape(128, 1, (128, 128, 256, 256, 512, 512), 2, (4,))`.
    """

    size: int  # px, side of the images
    channels: int  # of the images
    widths: tuple[int, ...]  # channels per resolution, from the full one down
    layers: int  # residual blocks per resolution
    attention: tuple[int, ...]  # indices of the resolutions with self-attention, 0 = full

    @property
    def condition_dim(self) -> int:
        """Dimension of the timestep embedding of a conditional U-Net."""
        return 4 * max(self.widths[0], 64)

    def unshuffled(self, factor: int) -> "UNetShape":
        """The shape after pixel unshuffling: `factor` × `factor` pixels become channels."""
        size, channels = self.size // factor, self.channels * factor**2
        return replace(self, size=size, channels=channels)
