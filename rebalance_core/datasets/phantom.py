"""A seeded, procedural brain-MRI phantom: four classes and three poses, with the true pose.

Every image is drawn in head coordinates (u to the right, v down, head radius about 1), so the same
seed shows the same anatomy at every size. The intensities inside the head are then mapped onto a
histogram drawn independently of the pose, as is the head's area: poses differ in shape, not in
mean, variance or extent. The tumour is painted last and changes only its own pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

CLASSES = ("glioma", "meningioma", "notumor", "pituitary")
POSES = ("axial", "coronal", "sagittal")
GLIOMA, MENINGIOMA, NOTUMOR, PITUITARY = range(4)
AXIAL, CORONAL, SAGITTAL = range(3)

# Counts
MIN_COUNT = 40
MIN_SIZE = 16
TEST_SHARE = 0.25
TRAIN_SHARES = {"glioma": 0.12, "meningioma": 0.12, "notumor": 0.64, "pituitary": 0.12}

# Acquisition
AREA = (0.45, 0.54)  # the head's share of the frame
TILT = 0.09  # either way, in radians
SHIFT = 0.035  # either way, in half frames
MIRROR_CHANCE = 0.02  # of sagittal images that face right instead of left
NOISE = (0.010, 0.035)  # sigma of the Rician noise, full scale 1
GAIN = (0.74, 0.98)
GAMMA = (0.85, 1.25)
DARK_SHARE = (0.80, 1.25)  # exponent of the histogram's ranks: fewer or more dark pixels
BIAS = 0.12  # shading of the receive coil

# Tissue intensities before the histogram is matched
AIR, BONE, FLUID, GRAY, WHITE, MUSCLE, FAT = 0.02, 0.10, 0.16, 0.50, 0.72, 0.40, 0.95
# Histogram of the head: intensity at each rank
RANKS = np.array([0, 0.05, 0.12, 0.22, 0.35, 0.50, 0.65, 0.80, 0.90, 1.0])
LEVELS = np.array([0.02, 0.05, 0.10, 0.20, 0.30, 0.38, 0.46, 0.55, 0.70, 0.92])

# Tumours: radii in head units, contrast as a fraction of the step to the tumour's intensity
GLIOMA_RADIUS = (0.16, 0.34)
MENINGIOMA_RADIUS = (0.12, 0.27)
PITUITARY_RADIUS = (0.09, 0.18)
GLIOMA_CONTRAST = (0.65, 1.0)
MENINGIOMA_CONTRAST = (0.55, 1.0)
PITUITARY_CONTRAST = (0.50, 1.0)
GLIOMA_RIM, GLIOMA_CORE, GLIOMA_EDEMA = 0.92, 0.06, 0.20
MENINGIOMA_LEVEL, PITUITARY_LEVEL = 0.92, 0.97

# Drawing
WAVES = 9  # plane waves in a folding pattern
FOLD_LENGTH = 0.30  # wavelength of the folds in head units
PROBE = 56  # side of the grid that measures a head's area and centre
PROBE_REACH = 1.45
CHUNK_PIXELS = 1 << 17
OUTLINE_DRAWS, INSIDE_DRAWS, FOLD_DRAWS, TUMOUR_DRAWS, SCAN_DRAWS = 8, 24, 2 * WAVES, 16, 12

# float32; (n, 1, 1) for one number per image, (n, size, size) for one per pixel
Floats = NDArray[Any]


@dataclass(frozen=True)
class PhantomBatch:
    """images: uint8 (n, s, s); labels, poses: int64 (n,); split: str (n,), "train" or "test"."""

    images: np.ndarray
    labels: np.ndarray
    poses: np.ndarray
    split: np.ndarray


class Outline(NamedTuple):
    """Signed distances (negative inside) to the skin, the head and the skull, and the skull's
    ellipse (x, y, a, b). The head is the skin cut off at the neck, where the field of view ends."""

    skin: Floats
    head: Floats
    skull: Floats
    ellipse: tuple[Floats, Floats, Floats, Floats]


class Draws:
    """A reader of the uniform random numbers of n images, column by column."""

    def __init__(self, uniform: np.ndarray) -> None:
        self._columns: Iterator[np.ndarray] = iter(uniform.T[:, :, None, None])

    def between(self, low: float, high: float) -> Floats:
        values: Floats = low + (high - low) * next(self._columns)
        return values

    def symmetric(self, spread: float) -> Floats:
        return self.between(-spread, spread)

    def chance(self, share: float) -> Floats:
        """1 with probability `share`, else 0."""
        return (next(self._columns) < share).astype(np.float32)

    def sign(self) -> Floats:
        return 2 * self.chance(0.5) - 1


# Shapes


def _ellipse(
    u: Floats,
    v: Floats,
    x: Floats | float,
    y: Floats | float,
    a: Floats | float,
    b: Floats | float,
    turn: Floats | float = 0.0,
) -> Floats:
    """Approximate signed distance to an ellipse, negative inside."""
    du, dv = u - x, v - y
    if not isinstance(turn, float) or turn:
        angle = np.asarray(turn, dtype=np.float32)
        cos, sin = np.cos(angle), np.sin(angle)
        du, dv = cos * du + sin * dv, cos * dv - sin * du
    distance: Floats = np.sqrt(np.square(du / a) + np.square(dv / b)) - 1
    distance *= np.sqrt(np.asarray(a * b, dtype=np.float32))
    return distance


def _capsule(
    u: Floats,
    v: Floats,
    start: tuple[Floats | float, Floats | float],
    end: tuple[Floats | float, Floats | float],
    radius: Floats | float,
) -> Floats:
    """Signed distance to a line segment with a radius."""
    x, y = end[0] - start[0], end[1] - start[1]
    du, dv = u - start[0], v - start[1]
    along = np.clip((du * x + dv * y) / (x * x + y * y), 0, 1)
    distance: Floats = np.hypot(du - along * x, dv - along * y) - radius
    return distance


def _join(first: Floats, second: Floats, blend: float = 0.12) -> Floats:
    """Smooth union of two shapes."""
    near = np.maximum(blend - np.abs(first - second), 0) / blend
    joined: Floats = np.minimum(first, second) - near * near * (blend / 4)
    return joined


def _inside(distance: Floats, soft: float = 0.035) -> Floats:
    """1 inside, 0 outside, with a linear ramp of width `soft`."""
    share: Floats = np.clip(0.5 - distance / soft, 0, 1)
    return share


def _paint(image: Floats, mask: Floats, level: Floats | float) -> None:
    image += mask * (level - image)


def _folds(u: Floats, v: Floats, draws: Draws, length: float) -> Floats:
    """A smooth random field of one wavelength, mean 0, variance 1, whose zeros look like sulci."""
    field = np.zeros(np.broadcast_shapes(u.shape, v.shape), dtype=np.float32)
    for wave in range(WAVES):
        angle = (np.pi / WAVES) * (wave + draws.between(0, 1))
        k = 2 * np.pi / length
        field += np.cos(k * np.cos(angle) * u + k * np.sin(angle) * v + draws.between(0, 2 * np.pi))
    return field * np.float32(np.sqrt(2 / WAVES))


def _brain(image: Floats, surface: Floats, folds: Floats, cortex: Floats | float) -> None:
    """Paint folded gray matter of depth `cortex` over white matter inside `surface`."""
    depth = np.maximum(-surface, 0) / cortex
    crest = np.abs(folds)
    tissue = WHITE - (WHITE - GRAY) * np.clip(2.0 * (1.15 - 1.1 * depth - crest), 0, 1)
    tissue -= (GRAY - FLUID) * np.clip(3.0 * (0.50 - 0.6 * depth - crest), 0, 1)
    _paint(image, _inside(surface), tissue)


# Poses: outline and anatomy


def _axial_outline(u: Floats, v: Floats, draws: Draws) -> Outline:
    a, b = draws.between(0.70, 0.77), draws.between(0.89, 0.97)
    # the forehead is narrower than the back of the head
    skin = _ellipse(u * (1 - draws.between(0.06, 0.13) * v), v, 0.0, 0.0, a, b)
    zero = np.zeros_like(a)
    return Outline(skin, skin, skin, (zero, zero, a, b))


def _axial_inside(
    image: Floats, u: Floats, v: Floats, outline: Outline, folds: Floats, draws: Draws
) -> None:
    rim = draws.between(0.14, 0.18)
    _paint(image, _inside(outline.skin), FAT)
    _paint(image, _inside(outline.skull + draws.between(0.05, 0.075)), BONE)
    _brain(image, outline.skull + rim, folds, 0.24)

    # The falx separates the hemispheres in front of and behind the ventricles
    wide = draws.between(0.8, 1.35)
    gap = _capsule(u, v, (0.0, -0.95), (0.0, -0.36), 0.012)
    gap = np.minimum(gap, _capsule(u, v, (0.0, 0.40), (0.0, 0.95), 0.012))
    _paint(image, _inside(gap) * _inside(outline.skull + rim), FLUID)
    deep = _inside(_ellipse(np.abs(u), v, 0.20, 0.03, 0.10, 0.19, -0.25))
    _paint(image, deep, GRAY)

    # Ventricles like a butterfly: front and back horns on both sides, slightly asymmetric
    tall, lean = draws.between(0.85, 1.2), draws.symmetric(0.15)
    across = np.abs(u) * (1 + lean * np.sign(u))
    front = _ellipse(across, v, 0.085 * wide, -0.20, 0.055 * wide, 0.16 * tall, 0.40)
    body = _ellipse(across, v, 0.055 * wide, 0.02, 0.038 * wide, 0.16 * tall)
    back = _ellipse(across, v, 0.15 * wide, 0.24, 0.058 * wide, 0.19 * tall, -0.50)
    _paint(image, _inside(np.minimum(np.minimum(front, body), back)), FLUID)

    # Low slices show the eyes
    eyes = draws.chance(0.10)
    orbit = _ellipse(np.abs(u), v, 0.30, -0.66, 0.17, 0.15)
    _paint(image, eyes * _inside(orbit), FAT)
    _paint(image, eyes * _inside(orbit + 0.05), 0.25)


def _coronal_outline(u: Floats, v: Floats, draws: Draws) -> Outline:
    a, b = draws.between(0.77, 0.83), draws.between(0.70, 0.76)
    y = draws.between(-0.30, -0.24)
    zero = np.zeros_like(a)
    skull = _ellipse(u, v, zero, y, a, b)
    jaw = _ellipse(u, v, 0.0, 0.42, draws.between(0.50, 0.56), 0.42)
    neck = _capsule(u, v, (0.0, 0.5), (0.0, 1.6), draws.between(0.38, 0.45))
    shape = _join(_join(skull, jaw, 0.2), neck, 0.2)
    return Outline(shape, np.maximum(shape, v - 0.95), skull, (zero, y, a, b))


def _coronal_inside(
    image: Floats, u: Floats, v: Floats, outline: Outline, folds: Floats, draws: Draws
) -> None:
    across = np.abs(u)
    y = outline.ellipse[1]
    _paint(image, _inside(outline.skin), FAT)
    _paint(image, _inside(outline.skin + 0.06), MUSCLE + 0.06 * folds)
    _paint(image, _inside(outline.skull + draws.between(0.045, 0.07)), BONE)

    # Below the skull base: the airway in the middle, jaw bones on both sides
    _paint(image, _inside(_ellipse(u, v, 0.0, 0.66, 0.13, 0.20)), AIR)
    _paint(image, _inside(_ellipse(across, v, 0.33, 0.56, 0.07, 0.16, -0.3)), BONE)

    # Cerebrum with a temporal lobe on each side, cut off below
    low = draws.between(0.02, 0.08)
    vault = np.maximum(outline.skull + draws.between(0.13, 0.16), v - low)
    lobe = _ellipse(across, v, 0.40, y + 0.40, 0.24, 0.19, -0.35)
    _brain(image, np.minimum(vault, lobe), folds, 0.22)
    stem = _ellipse(u, v, 0.0, y + 0.52, 0.16, 0.22)
    _paint(image, _inside(stem), WHITE - 0.1)

    # Sylvian fissure, falx, callosum, lateral ventricles, slit-like third ventricle
    _paint(image, _inside(_capsule(across, v, (0.30, y + 0.20), (0.66, y + 0.12), 0.012)), FLUID)
    falx = _capsule(u, v, (0.0, -1.0), (0.0, y - 0.16), 0.014)
    _paint(image, _inside(falx) * _inside(vault), FLUID)
    _paint(image, _inside(_ellipse(across, v, 0.22, y + 0.10, 0.08, 0.13, 0.3)), GRAY)
    wide, lean = draws.between(0.8, 1.35), draws.symmetric(0.15)
    leaning = across * (1 + lean * np.sign(u))
    horn = _ellipse(leaning, v, 0.11 * wide, y - 0.07, 0.10 * wide, 0.042 * wide, -0.45)
    third = _capsule(u, v, (0.0, y + 0.05), (0.0, y + 0.22), 0.012 * wide)
    _paint(image, _inside(np.minimum(horn, third)), FLUID)


def _sagittal_outline(u: Floats, v: Floats, draws: Draws) -> Outline:
    a, b = draws.between(0.80, 0.86), draws.between(0.64, 0.70)
    x, y = draws.between(0.03, 0.07), draws.between(-0.33, -0.28)
    skull = _ellipse(u, v, x, y, a, b, 0.08)
    face = _ellipse(u, v, -0.42, 0.34, 0.36, 0.56, 0.12)
    nose = _ellipse(u, v, -0.76, 0.24, draws.between(0.11, 0.15), 0.16, 0.9)
    chin = _ellipse(u, v, -0.52, 0.80, 0.20, 0.15)
    neck = _capsule(u, v, (0.18, 0.2), (0.30, 1.6), draws.between(0.36, 0.42))
    shape = _join(_join(_join(skull, face), nose, 0.15), _join(chin, neck, 0.2))
    return Outline(shape, np.maximum(shape, v - 0.98), skull, (x, y, a, b))


def _sagittal_inside(
    image: Floats, u: Floats, v: Floats, outline: Outline, folds: Floats, draws: Draws
) -> None:
    x, y = outline.ellipse[:2]
    _paint(image, _inside(outline.skin), FAT)
    _paint(image, _inside(outline.skin + 0.06), MUSCLE + 0.08 * folds)
    # The slanting skull base separates vault and face; the cerebellum is below it at the back
    base = v - (y + 0.31 + draws.symmetric(0.02) + 0.10 * (u - x))
    vault = outline.skull + draws.between(0.045, 0.07)
    back = x + 0.05 - u
    _paint(image, _inside(np.maximum(vault, np.minimum(base - 0.09, back))), BONE)

    # Face: air in sinuses, nasal cavity and pharynx; the tongue under a dark palate
    _paint(image, _inside(_ellipse(u, v, -0.66, -0.12, 0.05, 0.08)), AIR)
    _paint(image, _inside(_ellipse(u, v, -0.24, 0.16, 0.10, 0.06)), AIR)
    _paint(image, _inside(_ellipse(u, v, -0.52, 0.25, 0.17, 0.055, 0.1)), AIR)
    _paint(image, _inside(_ellipse(u, v, -0.17, 0.52, 0.045, 0.24, -0.15)), AIR)
    _paint(image, _inside(_ellipse(u, v, -0.46, 0.56, 0.22, 0.15)), BONE)
    _paint(image, _inside(_ellipse(u, v, -0.44, 0.59, 0.19, 0.13)), WHITE - 0.1)

    cerebrum = np.maximum(outline.skull + draws.between(0.12, 0.15), base)
    _brain(image, cerebrum, folds, 0.26)
    size = draws.between(0.9, 1.1)
    hind = _ellipse(u, v, x + 0.42, y + 0.47, 0.25 * size, 0.17 * size, -0.35)
    leaves = np.hypot(u - x - 0.20, v - y - 0.42)
    _paint(image, _inside(hind), 0.56 + 0.17 * np.sin(42 * leaves))

    # Brainstem: midbrain, pons, cord in the neck with fluid and vertebrae in front
    cord_x = x + 0.20
    canal = _capsule(u, v, (x + 0.10, y + 0.28), (cord_x, y + 0.68), 0.11)
    canal = np.minimum(canal, _capsule(u, v, (cord_x, y + 0.68), (cord_x + 0.10, 1.6), 0.085))
    _paint(image, _inside(canal) * (1 - _inside(hind)), FLUID)
    stem = _capsule(u, v, (x + 0.08, y + 0.20), (cord_x, y + 0.68), 0.065)
    stem = np.minimum(stem, _ellipse(u, v, x + 0.10, y + 0.44, 0.09, 0.12, -0.2))
    stem = np.minimum(stem, _capsule(u, v, (cord_x, y + 0.68), (cord_x + 0.10, 1.6), 0.045))
    _paint(image, _inside(stem), WHITE - 0.04)
    bones = np.abs(u - (cord_x - 0.16) - 0.11 * (v - y - 0.68)) - 0.06
    rows = np.abs((v / 0.17) % 1 - 0.5) * 0.17 - 0.06
    _paint(
        image, _inside(np.maximum(np.maximum(bones, rows), 0.46 - v)) * _inside(outline.skin), 0.60
    )

    # Callosum: a bright arch over the ventricle, above the thalamus
    tall = draws.between(0.9, 1.15)
    arch = _ellipse(u, v, x + 0.02, y + 0.09, 0.33, 0.21 * tall)
    below = v - (y + 0.11)
    _paint(image, _inside(np.maximum(arch - 0.05, below)), GRAY)
    _paint(image, _inside(np.maximum(np.abs(arch) - 0.040, below)), WHITE + 0.14)
    _paint(image, _inside(np.maximum(arch + 0.045, below + 0.03)), FLUID)
    _paint(image, _inside(_ellipse(u, v, x + 0.06, y + 0.09, 0.13, 0.085)), GRAY + 0.06)


OutlineOf = Callable[[Floats, Floats, Draws], Outline]
InsideOf = Callable[[Floats, Floats, Floats, Outline, Floats, Draws], None]
ANATOMY: tuple[tuple[OutlineOf, InsideOf], ...] = (
    (_axial_outline, _axial_inside),
    (_coronal_outline, _coronal_inside),
    (_sagittal_outline, _sagittal_inside),
)


# Tumours, in head coordinates; their position depends on the pose

GLIOMA_PLACES = (  # distance from the midline (sagittal: along the head), height
    ((0.24, 0.40), (-0.45, 0.45)),
    ((0.25, 0.45), (-0.60, -0.15)),
    ((-0.40, 0.45), (-0.62, -0.28)),
)
SELLAE = ((0.0, -0.06), (0.0, 0.37), (-0.15, 0.365))  # from the centre of the skull
# Range of meningiomas on the skull's ellipse, in radians from the crown, either way
CONVEXITY = (2.8, 1.5, 1.3)
SKULL_DEPTH = 0.12  # of scalp and skull, which no tumour enters


def _glioma(image: Floats, u: Floats, v: Floats, outline: Outline, pose: int, draws: Draws) -> None:
    """Irregular, inside a hemisphere: bright rim or blotches, dark core, surrounding edema."""
    across, height = GLIOMA_PLACES[pose]
    side = draws.sign() if pose != SAGITTAL else 1.0
    x, y = side * draws.between(*across), draws.between(*height)
    radius, contrast = draws.between(*GLIOMA_RADIUS), draws.between(*GLIOMA_CONTRAST)
    du, dv = u - x, v - y
    angle = np.arctan2(dv, du)
    radius_factor = 1 + 0.16 * np.cos(2 * angle + draws.between(0, 6.3))
    radius_factor += 0.13 * np.cos(3 * angle + draws.between(0, 6.3))
    radius_factor += 0.08 * np.cos(5 * angle + draws.between(0, 6.3))
    distance = np.hypot(du, dv) - radius * radius_factor
    blotch = 0.5 + 0.5 * np.cos(9 * du / radius * 0.5 + draws.between(0, 6.3)) * np.cos(
        4 * dv / radius + draws.between(0, 6.3)
    )
    ringed = draws.chance(0.6)
    contrast = contrast * _inside(outline.skull + SKULL_DEPTH)
    _paint(image, 0.7 * contrast * _inside(distance - 0.35 * radius, 0.12), GLIOMA_EDEMA)
    rim = GLIOMA_RIM - (1 - ringed) * 0.45 * blotch
    _paint(image, contrast * _inside(distance), rim)
    core = _inside(distance + draws.between(0.35, 0.55) * radius, 0.05)
    _paint(image, contrast * core * (ringed + (1 - ringed) * 0.5 * blotch), GLIOMA_CORE)


def _meningioma(
    image: Floats, u: Floats, v: Floats, outline: Outline, pose: int, draws: Draws
) -> None:
    """Round and uniformly bright, attached to the skull or the falx."""
    x, y, a, b = outline.ellipse
    radius, contrast = draws.between(*MENINGIOMA_RADIUS), draws.between(*MENINGIOMA_CONTRAST)
    turn = draws.symmetric(CONVEXITY[pose])
    depth = SKULL_DEPTH + 0.75 * radius
    at_x, at_y = x + (a - depth) * np.sin(turn), y - (b - depth) * np.cos(turn)
    falx = draws.chance(0.15) if pose != SAGITTAL else 0.0
    side = draws.sign()
    at_x = at_x + falx * (x + side * 0.8 * radius - at_x)
    at_y = at_y + falx * (y - draws.between(0.45, 0.60) * b - at_y)
    squash = draws.between(0.85, 1.15)
    distance = _ellipse(u, v, at_x, at_y, radius * squash, radius / squash)
    contrast = contrast * _inside(outline.skull + SKULL_DEPTH)
    _paint(image, 0.5 * contrast * _inside(distance - 0.03, 0.05), FLUID)  # fluid cleft
    _paint(image, contrast * _inside(distance), MENINGIOMA_LEVEL)


def _pituitary(
    image: Floats, u: Floats, v: Floats, outline: Outline, pose: int, draws: Draws
) -> None:
    """Small and bright above the sella: at the midline, on the skull base."""
    x, y = (middle + away for middle, away in zip(outline.ellipse[:2], SELLAE[pose], strict=True))
    radius, contrast = draws.between(*PITUITARY_RADIUS), draws.between(*PITUITARY_CONTRAST)
    at_x, at_y = x + draws.symmetric(0.03), y + draws.symmetric(0.04)
    tall = draws.between(0.8, 1.15)
    body = _ellipse(u, v, at_x, at_y, radius, radius * tall)
    # Large ones extend above the sella with a waist (snowman sign)
    cap = _ellipse(u, v, at_x, at_y - 0.9 * radius, 0.7 * radius, 0.6 * radius)
    distance = np.minimum(body, cap)
    _paint(image, 0.5 * contrast * _inside(distance - 0.03, 0.05), FLUID)
    _paint(image, contrast * _inside(distance), PITUITARY_LEVEL)


TUMOURS = {GLIOMA: _glioma, MENINGIOMA: _meningioma, PITUITARY: _pituitary}


# From head coordinates to pixels


def _axis(count: int, reach: float = 1.0) -> Floats:
    """Pixel centres over [-reach, reach]."""
    return (((np.arange(count) + 0.5) / count * 2 - 1) * reach).astype(np.float32)


def _fit(outline_of: OutlineOf, shape: np.ndarray, area: Floats) -> tuple[Floats, Floats, Floats]:
    """The zoom at which a head covers `area` of the frame, and the centre (x, y) of its box."""
    axis = _axis(PROBE, PROBE_REACH)
    head = outline_of(axis[None, None, :], axis[None, :, None], Draws(shape)).head
    inside = _inside(head, 2 * PROBE_REACH / PROBE)
    share = inside.mean(axis=(1, 2), keepdims=True) * PROBE_REACH**2
    solid: np.ndarray = inside > 0.5
    centre = []
    for across in (1, 2):
        line: np.ndarray = np.asarray(solid.any(axis=across))
        low, high = line.argmax(axis=1), PROBE - 1 - line[:, ::-1].argmax(axis=1)
        centre.append(((axis[low] + axis[high]) / 2)[:, None, None])
    return np.sqrt(area / share), centre[0], centre[1]


def _match_histogram(image: Floats, head: Floats, skew: Floats) -> None:
    """Map the intensities inside each head onto LEVELS, in place and rank-preserving."""
    for one, mask, exponent in zip(image, head > 0.5, skew[:, 0, 0], strict=True):
        quantiles = np.quantile(one[mask], RANKS**exponent).astype(np.float32)
        one[...] = np.interp(one, quantiles, LEVELS)


def _draw_pose(
    labels: np.ndarray, pose: int, uniform: np.ndarray, noise: Floats, size: int
) -> np.ndarray:
    """Images of one pose: labels (n,), uniform (n, draws), noise (n, 2, s, s) → uint8 (n, s, s)."""
    cuts = np.cumsum([OUTLINE_DRAWS, INSIDE_DRAWS, FOLD_DRAWS, TUMOUR_DRAWS])
    shape, inner, waves, tumour, scan = np.split(uniform, cuts, axis=1)
    outline_of, inside_of = ANATOMY[pose]
    draws = Draws(scan)

    # Place the head: area, shift and tilt are independent of the pose
    zoom, mid_x, mid_y = _fit(outline_of, shape, draws.between(*AREA))
    axis = _axis(size)
    du, dv = (
        axis[None, None, :] - draws.symmetric(SHIFT),
        axis[None, :, None] - draws.symmetric(SHIFT),
    )
    tilt = draws.symmetric(TILT)
    cos, sin = np.cos(tilt) / zoom, np.sin(tilt) / zoom
    flip = 1 - 2 * draws.chance(MIRROR_CHANCE if pose == SAGITTAL else 0.0)
    u, v = flip * (cos * du + sin * dv) + mid_x, cos * dv - sin * du + mid_y

    # Draw it, shade it, and remove the pose from its histogram
    outline = outline_of(u, v, Draws(shape))
    image = np.full(u.shape, AIR, dtype=np.float32)
    inside_of(image, u, v, outline, _folds(u, v, Draws(waves), FOLD_LENGTH), Draws(inner))
    image *= 1 + draws.symmetric(BIAS) * du + draws.symmetric(BIAS) * dv
    head = _inside(outline.head)
    _match_histogram(image, head, draws.between(*DARK_SHARE))
    image *= head

    # Tumour, then the receiver's response and noise
    for label, paint in TUMOURS.items():
        rows = np.flatnonzero(labels == label)
        if len(rows):
            part = image[rows]
            x, y, a, b = (number[rows] for number in outline.ellipse)
            part_outline = Outline(
                outline.skin[rows], outline.head[rows], outline.skull[rows], (x, y, a, b)
            )
            paint(part, u[rows], v[rows], part_outline, pose, Draws(tumour[rows]))
            image[rows] = part
    signal = draws.between(*GAIN) * np.maximum(image, 0) ** draws.between(*GAMMA)
    sigma = draws.between(*NOISE)
    magnitude = np.hypot(signal + sigma * noise[:, 0], sigma * noise[:, 1])
    gray: np.ndarray = (np.clip(magnitude, 0, 1) * 255 + 0.5).astype(np.uint8)
    return gray


def draw_phantoms(
    labels: np.ndarray, poses: np.ndarray, *, size: int = 64, seed: int = 0, first: int = 0
) -> np.ndarray:
    """Gray images of these labels and poses: int (n,), int (n,) → uint8 (n, size, size).

    Image i depends only on (seed, first + i), its label, its pose and the size: another label shows
    the same head, another size the same anatomy.
    """
    labels, poses = np.asarray(labels), np.asarray(poses)
    if size < MIN_SIZE:
        raise ValueError(f"A phantom needs at least {MIN_SIZE} pixels per side, not {size}.")
    if labels.ndim != 1 or labels.shape != poses.shape:
        raise ValueError(
            f"labels and poses must have one shape (n,), not {labels.shape} and {poses.shape}."
        )
    for name, values, names in (("label", labels, CLASSES), ("pose", poses, POSES)):
        if len(values) and not set(np.unique(values)) <= set(range(len(names))):
            raise ValueError(f"A {name} must be a number from 0 to {len(names) - 1}.")

    images = np.empty((len(labels), size, size), dtype=np.uint8)
    draws = OUTLINE_DRAWS + INSIDE_DRAWS + FOLD_DRAWS + TUMOUR_DRAWS + SCAN_DRAWS
    step = max(1, CHUNK_PIXELS // size**2)
    for pose in range(len(POSES)):
        rows = np.flatnonzero(poses == pose)
        for start in range(0, len(rows), step):
            chunk = rows[start : start + step]
            streams = [np.random.default_rng((seed, first + int(row))) for row in chunk]
            uniform = np.stack([one.random(draws, dtype=np.float32) for one in streams])
            noise = np.stack(
                [one.standard_normal((2, size, size), dtype=np.float32) for one in streams]
            )
            images[chunk] = _draw_pose(labels[chunk], pose, uniform, noise, size)
    return images


def _shares(total: int, shares: dict[str, float]) -> dict[str, int]:
    """Integers in proportion to `shares` that sum to `total` (largest remainder method)."""
    exact = {name: total * share for name, share in shares.items()}
    counts = {name: int(number) for name, number in exact.items()}
    by_remainder = sorted(exact, key=lambda name: counts[name] - exact[name])
    for name in by_remainder[: total - sum(counts.values())]:
        counts[name] += 1
    return counts


def phantom_counts(count: int) -> tuple[dict[str, int], dict[str, int]]:
    """Images per class for (train, test): a skewed training split, a balanced test split."""
    if count < MIN_COUNT:
        raise ValueError(
            f"A phantom needs at least {MIN_COUNT} images to have every class in both splits "
            f"(got {count})."
        )
    test = round(count * TEST_SHARE)
    return _shares(count - test, TRAIN_SHARES), _shares(test, dict.fromkeys(CLASSES, 0.25))


def make_phantom(count: int = 1000, *, size: int = 64, seed: int = 0) -> PhantomBatch:
    """The built-in dataset: training images by class, then test images by class."""
    labels: list[int] = []
    poses: list[int] = []
    split: list[str] = []
    for part, counts in zip(("train", "test"), phantom_counts(count), strict=True):
        for label, name in enumerate(CLASSES):
            labels += [label] * counts[name]
            poses += [number % len(POSES) for number in range(counts[name])]
            split += [part] * counts[name]
    images = draw_phantoms(np.array(labels), np.array(poses), size=size, seed=seed)
    return PhantomBatch(images, np.array(labels), np.array(poses), np.array(split))
