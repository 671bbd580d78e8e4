"""One decoded image of a file, and how it is displayed in 8 bits."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from PIL import Image

from rebalance_core.imaging.gray import scale_gray_values

Ground = Literal["black", "white"]  # behind transparent pixels
Plane = Literal["axial", "coronal", "sagittal"]
PLANES: tuple[Plane, ...] = get_args(Plane)
GRAY_MODES = ("1", "L", "LA", "La")
MAX_PIXELS = 50_000_000  # per image, checked before decoding
DARK, BRIGHT_SHARE = 96, 0.05  # gray level of ink, and the share that may be brighter


@dataclass(frozen=True)
class Display:
    """Which image of a file is read, and how it becomes 8 bits."""

    frame: int = 0
    low: float | None = None  # gray value shown as 0; None: as the file prescribes, or by its range
    high: float | None = None  # gray value shown as 255
    ground: Ground = "black"
    plane: Plane = "axial"  # of volumes
    legacy: bool = False  # exactly as versions up to 0.1 did

    @property
    def limits(self) -> tuple[float, float] | None:
        return None if self.low is None or self.high is None else (self.low, self.high)


@dataclass(frozen=True)
class Picture:
    """A decoded image: `image` of 8 bits per channel, or gray `values` of any range, (H, W)."""

    stored: str  # Pillow's mode in the file, DICOM or NIfTI
    image: Image.Image | None = None
    values: np.ndarray | None = None
    is_integer: bool = True
    padding: np.ndarray | None = None  # mask of the pixels outside the scan
    inverted: bool = False  # low values are bright
    # uint8 (H, W) without chosen limits; has_window: as the file prescribes
    default: Callable[[], np.ndarray] | None = None
    has_window: bool = False
    scale: str = ""  # images of the same scale share their limits
    kind: Literal["absolute", "CT", "series", "file"] = "absolute"  # of the scale
    skipped: int = 0  # further frames or volumes of the file, which are not imported

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        if self.image is not None:
            return self.image.size
        assert self.values is not None
        return self.values.shape[1], self.values.shape[0]

    def render(self, display: Display) -> Image.Image:
        """The picture in mode L or RGB."""
        if self.image is not None:
            return _to_8_bit(self.image, display.ground)
        assert self.values is not None and self.default is not None
        if display.limits:
            low, high = display.limits
            pixels = scale_gray_values(self.values, low, high, inverted=self.inverted)
        else:
            pixels = self.default()
        if self.padding is not None and not display.legacy:
            pixels = np.where(self.padding, 0, pixels).astype(np.uint8)
        return Image.fromarray(pixels)

    @property
    def ink(self) -> Literal["dark", "light", ""]:
        """Whether what is drawn on a transparent ground is dark; '' without transparent pixels."""
        if self.image is None or not self.image.has_transparency_data:
            return ""
        small = self.image.convert("RGBA")
        if max(small.size) > 256:
            small.thumbnail((256, 256), Image.Resampling.NEAREST)
        alpha = np.asarray(small.getchannel("A"), dtype=np.float64)
        if alpha.min() == 255 or not alpha.any():
            return ""
        gray = np.asarray(small.convert("RGB").convert("L"), dtype=np.float64)
        # a cut-out photograph or scan has brighter parts: there, the picture is in the colours
        is_dark = alpha[gray >= DARK].sum() <= BRIGHT_SHARE * alpha.sum()
        return "dark" if is_dark else "light"


def check_pixels(width: int, height: int) -> None:
    """Raise ValueError for an image that is too large to decode."""
    if width * height > MAX_PIXELS:
        raise ValueError(f"{width}×{height} pixels are more than {MAX_PIXELS}")


def _to_8_bit(image: Image.Image, ground: Ground) -> Image.Image:
    """Convert a Pillow mode of 8 bits or fewer to L or RGB."""
    if image.mode in ("L", "RGB") and (ground == "black" or not image.has_transparency_data):
        return image
    mode = "L" if image.mode in GRAY_MODES else "RGB"
    if image.has_transparency_data:
        level = 255 if ground == "white" else 0
        composite = Image.new("RGBA", image.size, (level, level, level, 255))
        composite.alpha_composite(image.convert("RGBA"))
        return composite.convert(mode)
    return image.convert(mode)
