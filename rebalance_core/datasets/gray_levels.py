"""How the gray values of a dataset's images become 8 bits, decided once all files were read."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Literal

from pydantic import BaseModel

from rebalance_core.config import STRICT
from rebalance_core.datasets.inspecting import Inspection
from rebalance_core.imaging.gray import choose_limits
from rebalance_core.imaging.picture import Ground

RELATIVE = ("series", "file")  # scales that have limits of their own


class GrayLevels(BaseModel):
    """Limits that images share: `low` is shown as 0, `high` as 255."""

    model_config = STRICT
    scale: Literal["window", "range", "absolute", "CT", "series", "file"]
    rule: str  # how the limits were chosen, such as "12 bits"
    shares: str  # what the images have in common, such as "floats"
    images: int
    low: float | None = None  # None where several limits, or windows, are used
    high: float | None = None
    count: int = 1  # series or files with limits of their own


def decide_levels(images: Sequence[Inspection]) -> tuple[list[Inspection], list[GrayLevels]]:
    """Choose the limits that depend on all images; the images with them, and what was done.

    The images whose limits are chosen here keep no statistics and remain to be measured.
    """
    groups: defaultdict[tuple[str, str], list[Inspection]] = defaultdict(list)
    for image in images:
        if image.statistics is not None:
            groups[image.scale, image.shares].append(image)
    limits = {
        (scale, shares): choose_limits(
            [image.statistics for image in group if image.statistics is not None],
            is_ct=scale == "CT",
            is_relative=scale in RELATIVE,
        )
        for (scale, shares), group in groups.items()
    }
    decided = []
    for image in images:
        if image.statistics is not None:
            chosen = limits[image.scale, image.shares]
            display = replace(image.display, low=chosen.low, high=chosen.high)
            image = replace(image, display=display, rule=chosen.rule, statistics=None)
        decided.append(image)
    return decided, _summarise(decided)


def _summarise(images: Iterable[Inspection]) -> list[GrayLevels]:
    """One entry per pair of limits; one in all for series, for files and for windows."""
    kinds: defaultdict[tuple[str, str], list[Inspection]] = defaultdict(list)
    for image in images:
        if image.scale:
            shares = "" if image.scale in RELATIVE else image.shares
            kinds[image.scale, shares].append(image)
    levels = []
    for (_, shares), group in sorted(kinds.items()):
        first, limits = group[0], {image.display.limits for image in group}
        low, high = next(iter(limits)) or (None, None) if len(limits) == 1 else (None, None)
        is_file = first.scale == "file"
        own = {image.columns["sha256"] if is_file else image.shares for image in group}
        levels.append(
            GrayLevels(
                scale=first.scale or "window",
                rule=first.rule,
                shares=shares,
                images=len(group),
                low=low,
                high=high,
                count=len(own) if first.scale in RELATIVE else 1,
            )
        )
    return levels


def choose_ground(images: Sequence[Inspection]) -> Ground:
    """White if the ink of most images with a transparent ground is dark, else black."""
    ink = Counter(image.ink for image in images if image.ink)
    return "white" if ink["dark"] > ink["light"] else "black"


def describe_levels(levels: Sequence[GrayLevels], total: int) -> str:
    """What was done with the gray values of a dataset of `total` images; '' if nothing."""
    if not levels:
        return ""
    return f"Gray levels: {'; '.join(_describe(entry, total) for entry in levels)}."


def _describe(entry: GrayLevels, total: int) -> str:
    images = "all images" if entry.images == total else f"{entry.images:,} of {total:,} images"
    if entry.scale == "window":
        return f"as the window of each file prescribes → 0 to 255, for {images}"
    if entry.low is None or entry.high is None or entry.scale in RELATIVE:
        unit = "series" if entry.scale == "series" else "file"
        plural = unit if entry.count == 1 or unit == "series" else "files"
        return f"robust limits of each {unit} ({entry.count:,} {plural}) → 0 to 255, for {images}"
    rule = entry.rule or "as set"
    limits = f"{format_level(entry.low)} to {format_level(entry.high)}"
    return f"{rule}, {limits} → 0 to 255, the same for {images}"


def format_level(value: float) -> str:
    """A gray value without needless digits."""
    return str(int(value)) if value == int(value) and abs(value) < 1e12 else f"{value:.6g}"
