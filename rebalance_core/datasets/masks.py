"""Segmentation masks that lie beside the images of a source, or in folders of their own."""

import re
from collections.abc import Collection
from pathlib import PurePosixPath

_WORDS = "mask|masks|seg|segm|segmentation|annotation|annotations|gt|groundtruth|superpixels"
_SUFFIX = re.compile(rf"(.+?)[ _.-]+(?:{_WORDS}|ground_truth)(?:[ _.-]*\d+)?", re.IGNORECASE)
MASK_FOLDERS = {
    *("mask", "masks", "seg", "segmentation", "segmentations", "annotation", "annotations"),
    *("gt", "groundtruth", "ground_truth", "ground truth"),
}
Stems = Collection[tuple[tuple[str, ...], str]]  # (folders, stem in lower case) of all images
IMAGE_FOLDERS = {"image", "images", "img", "imgs", "original", "originals", "scans"}


def find_masks(names: Collection[str]) -> set[str]:
    """The images that are masks of another image.

    `x_mask.png` is one beside `x.png`. So is `masks/x.png`, where the folder that contains `masks`
    has `x.png` or `images/x.png`.
    """
    paths = {name: PurePosixPath(name) for name in names}
    stems = {(path.parent.parts, path.stem.lower()) for path in paths.values()}
    return {
        name
        for name, path in paths.items()
        if _beside_image(path, stems) or _in_mask_folder(path, stems)
    }


def _base_stem(stem: str) -> str:
    """The stem of the image that a mask belongs to, by its own stem; '' if it is not a mask's."""
    match = _SUFFIX.fullmatch(stem)
    return match[1].lower() if match else ""


def _beside_image(path: PurePosixPath, stems: Stems) -> bool:
    base = _base_stem(path.stem)
    return bool(base) and (path.parent.parts, base) in stems


def _in_mask_folder(path: PurePosixPath, stems: Stems) -> bool:
    parts, own = path.parent.parts, path.stem.lower()
    for index, folder in enumerate(parts):
        if folder.lower() not in MASK_FOLDERS:
            continue
        places = [parts[:index] + parts[index + 1 :]] if index else []
        places += [(*parts[:index], name, *parts[index + 1 :]) for name in _image_folders(folder)]
        candidates = {own, _base_stem(path.stem) or own}
        if any((place, stem) in stems for place in places for stem in candidates):
            return True
    return False


def _image_folders(folder: str) -> list[str]:
    """Names that a folder of images beside `folder` may have, in the same case."""
    style = str.upper if folder.isupper() else str.title if folder[:1].isupper() else str.lower
    return [style(name) for name in sorted(IMAGE_FOLDERS)]
