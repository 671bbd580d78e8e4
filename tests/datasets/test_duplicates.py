"""Copies are in the group of their original, and distinct images are never joined."""

import io
import itertools
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sources import import_source, unpack

from rebalance_core.datasets.dataset import Dataset
from rebalance_core.datasets.duplicates import (
    DEFAULT_DIFFERENCE,
    MAX_DIFFERENCE,
    RADIUS,
    ThumbnailRegistration,
    equal_pairs,
    group_rows,
    identical_groups,
    near_groups,
    near_pairs,
    signatures,
)
from rebalance_core.datasets.health import duplicate_statistics, examine
from rebalance_core.datasets.inspecting import thumbnail
from rebalance_core.datasets.phantom import draw_phantoms
from rebalance_core.imaging.grid import png_bytes
from rebalance_core.workspace import Workspace

DISTINCT = 1000
COPIED = 150  # of them, each in every way


def phantoms(count: int, size: int, seed: int = 0) -> np.ndarray:
    """Distinct heads, all classes and poses."""
    number = np.arange(count)
    return draw_phantoms(number % 4, number // 4 % 3, size=size, seed=seed)


def brighter(pixels: np.ndarray) -> np.ndarray:
    return np.clip(pixels.astype(int) + 25, 0, 255).astype(np.uint8)


def encoded(pixels: np.ndarray, quality: int = 70) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def reencoded(pixels: np.ndarray) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(encoded(pixels))))


def cropped(pixels: np.ndarray) -> np.ndarray:
    """Cropped by one pixel per side."""
    return pixels[1:-1, 1:-1]


WAYS = {"brighter": brighter, "re-encoded": reencoded, "cropped": cropped}


def small(pictures: list[np.ndarray]) -> np.ndarray:
    return np.stack([thumbnail(Image.fromarray(pixels)) for pixels in pictures])


def detect(thumbnails: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return near_pairs(lambda rows: thumbnails[rows], len(thumbnails))


def groups_at(thumbnails: np.ndarray, difference: float = DEFAULT_DIFFERENCE) -> np.ndarray:
    pairs, differences = detect(thumbnails)
    return group_rows(len(thumbnails), pairs[differences <= difference])


@pytest.mark.parametrize("size", [128, 64])
def test_every_planted_copy_is_found_and_no_two_phantoms_are_joined(size: int) -> None:
    originals = list(phantoms(DISTINCT, size))
    copies = [way(pixels) for way in WAYS.values() for pixels in originals[:COPIED]]
    groups = groups_at(small(originals + copies))
    assert len(set(groups[:DISTINCT])) == DISTINCT
    expected = np.tile(groups[:COPIED], len(WAYS))
    missed = np.flatnonzero(groups[DISTINCT:] != expected)
    assert [(list(WAYS)[k // COPIED], k % COPIED) for k in missed] == []


def test_another_thousand_phantoms_have_no_false_group() -> None:
    groups = groups_at(small(list(phantoms(DISTINCT, 64, seed=7))))
    assert len(set(groups)) == DISTINCT


def test_a_higher_threshold_only_joins(tmp_path: Path) -> None:
    originals = list(phantoms(200, 64))
    thumbnails = small(
        originals + [cropped(p) for p in originals] + [brighter(p) for p in originals]
    )
    pairs, differences = detect(thumbnails)
    assert differences.max() <= MAX_DIFFERENCE
    thresholds = [0.0, 0.02, 0.05, 0.1, DEFAULT_DIFFERENCE, 0.2, MAX_DIFFERENCE]
    partitions = [group_rows(len(thumbnails), pairs[differences <= t]) for t in thresholds]
    numbers = [len(set(partition)) for partition in partitions]
    assert numbers == sorted(numbers, reverse=True)
    assert numbers[0] > numbers[4] == 200
    for fine, coarse in itertools.pairwise(partitions):
        assert len(set(zip(fine, coarse, strict=True))) == len(set(fine))


def test_the_index_finds_the_pairs_of_brute_force() -> None:
    originals = list(phantoms(120, 64))
    thumbnails = small(originals + [way(p) for way in WAYS.values() for p in originals[::2]])
    thumbnails = thumbnails[np.random.default_rng(0).permutation(len(thumbnails))]
    points = signatures(thumbnails)
    every = np.array(list(itertools.combinations(range(len(thumbnails)), 2)))
    distances = np.linalg.norm(points[every[:, 0]] - points[every[:, 1]], axis=1)
    close = every[distances <= RADIUS]
    differences = ThumbnailRegistration(thumbnails).differences(*close.T)
    pairs, difference = detect(thumbnails)
    is_near = differences <= MAX_DIFFERENCE
    assert 200 < is_near.sum() < 1000
    assert {tuple(p) for p in pairs.tolist()} == {tuple(p) for p in close[is_near].tolist()}
    expected = dict(zip(map(tuple, close.tolist()), differences, strict=True))
    assert difference == pytest.approx([expected[tuple(p)] for p in pairs.tolist()], abs=1e-4)


def test_constant_images_have_no_near_duplicates() -> None:
    tones = [np.full((64, 64), value, np.uint8) for value in (0, 0, 7, 128, 128, 255)]
    pictures = tones + list(phantoms(3, 64))
    assert len(set(groups_at(small(pictures)))) == len(pictures)
    assert detect(small(tones))[0].shape == (0, 2)


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_images_have_no_pairs(count: int) -> None:
    pairs, differences = detect(small(list(phantoms(1, 64)))[:count])
    assert (pairs.shape, differences.shape) == ((0, 2), (0,))


@pytest.mark.parametrize("same", [True, False])
def test_many_copies_of_one_image_are_one_group(same: bool) -> None:
    """More than the maximum number of candidates."""
    (one, *others) = phantoms(80, 64)
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0 if same else 4, (150, 64, 64))
    copies = [np.clip(one + n, 0, 255).astype(np.uint8) for n in noise]
    groups = groups_at(small(copies + others))
    assert len(set(groups[:150])) == 1
    assert len(set(groups)) == 80


def test_rows_are_grouped_by_chains_and_by_equal_values() -> None:
    groups = group_rows(6, np.array([[0, 3], [3, 5], [1, 2]]))
    assert [groups[0] == g for g in groups] == [True, False, False, True, False, True]
    assert groups[1] == groups[2] != groups[4]
    pairs = equal_pairs(np.array(["b", "", "a", "b", "", "b"]))
    assert sorted(map(tuple, pairs.tolist())) == [(0, 3), (3, 5)]


# Counted against counts by brute force

Row = tuple[str, str, str, bytes]  # split, class, number of the picture, content


def planted() -> list[Row]:
    """80 images with copies of all kinds, across splits and labels."""
    rng = np.random.default_rng(3)
    rows: list[Row] = []
    for number, pixels in enumerate(phantoms(80, 64, seed=1)):
        split, label = ("train", "val", "test")[rng.integers(3)], "ab"[rng.integers(2)]
        rows.append((split, label, str(number), png_bytes(pixels)))
        for _ in range(rng.integers(4) if number < 50 else 0):
            way = rng.integers(4)
            data = [
                png_bytes(pixels),
                png_bytes(brighter(pixels)),
                encoded(pixels),
                png_bytes(cropped(pixels)),
            ][way]
            split = ("train", "val", "test")[rng.integers(3)]
            other = "ab"[rng.integers(2)] if rng.random() < 0.3 else label
            rows.append((split, other, str(number), data))
    return rows


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return planted()


@pytest.fixture
def dataset(workspace: Workspace, tmp_path: Path, rows: list[Row]) -> Dataset:
    files = {
        f"{split}/{label}/{k:03d}-{number}.png": data
        for k, (split, label, number, data) in enumerate(rows)
    }
    return import_source(workspace, unpack(tmp_path / "source", files))


def by_hand(rows: list[Row], kind: int) -> dict[str, int]:
    """The counts over groups of equal content (3) or of equal pictures (2)."""
    groups: dict[object, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row[kind]].append(row)
    several = [group for group in groups.values() if len(group) > 1]
    leaked = 0
    for one in rows:
        leaked += one[0] == "test" and any(
            other[kind] == one[kind] and other[0] == "train" for other in rows
        )
    return {
        "groups": len(several),
        "images": sum(map(len, several)),
        "redundant": len(rows) - len(groups),
        "largest": max(map(len, several)),
        "leaked": leaked,
        "conflicts": sum(len({row[1] for row in group}) > 1 for group in several),
        "across": sum(len({row[0] for row in group}) > 1 for group in several),
    }


def test_the_statistics_are_those_of_brute_force(dataset: Dataset, rows: list[Row]) -> None:
    same, near = by_hand(rows, 3), by_hand(rows, 2)
    assert min(*same.values(), *near.values()) > 0
    assert same != near
    assert duplicate_statistics(dataset) == {
        "identical_groups": same["groups"],
        "identical_files": same["images"],
        "redundant_files": same["redundant"],
        "test_images_identical_to_training": same["leaked"],
        "label_conflicts": same["conflicts"],
        "near_duplicate_threshold": DEFAULT_DIFFERENCE,
        "near_duplicate_groups": near["groups"],
        "near_duplicate_images": near["images"],
        "largest_near_duplicate_group": near["largest"],
        "test_images_near_training": near["leaked"],
        "near_label_conflicts": near["conflicts"],
    }
    findings = {finding.name: finding for finding in examine(dataset)}
    assert list(findings) == [
        "identical",
        "identical-across",
        "identical-labels",
        "near",
        "near-across",
        "near-labels",
    ]
    assert len(findings["identical-across"].groups) == same["across"]
    assert len(findings["near-across"].groups) == near["across"]


def test_a_group_has_the_images_of_one_picture_largest_first(
    dataset: Dataset, rows: list[Row]
) -> None:
    images = dataset.catalogue["image"]
    number = [name.split("-")[1] for name in images]
    (near,) = (f for f in examine(dataset) if f.name == "near")
    for group in near.groups:
        (picture,) = {number[row] for row in group}
        assert len(group) == number.count(picture)
    sizes = [len(group) for group in near.groups]
    assert sizes == sorted(sizes, reverse=True)


def test_at_threshold_0_near_groups_contain_the_identical_ones(dataset: Dataset) -> None:
    identical, near = identical_groups(dataset), near_groups(dataset, 0.0)
    assert len(set(zip(identical, near, strict=True))) == len(set(identical))
    assert duplicate_statistics(dataset, 0.0)["near_duplicate_threshold"] == 0.0


def test_byte_identical_constant_images_are_one_group(workspace: Workspace, tmp_path: Path) -> None:
    """They have no content, but are the same file."""
    tone, other = (png_bytes(np.full((8, 8), value, np.uint8)) for value in (9, 10))
    files = {"a/0.png": tone, "a/1.png": other, "b/0.png": tone, "b/1.png": tone}
    facts = duplicate_statistics(import_source(workspace, unpack(tmp_path / "source", files)))
    assert (facts["near_duplicate_groups"], facts["near_duplicate_images"]) == (1, 3)
    assert (facts["identical_groups"], facts["redundant_files"], facts["label_conflicts"]) == (
        1,
        2,
        1,
    )
