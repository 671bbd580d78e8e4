"""The feature cache contains complete rows only, whenever it is killed."""

import multiprocessing
from pathlib import Path

import numpy as np
import pytest

from rebalance_core.errors import UserError
from rebalance_core.poses.cache import FeatureCache

WIDTH = 5


def digests(*numbers: int) -> list[bytes]:
    return [bytes([n]) * 32 for n in numbers]


def vectors(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.float32)[:, None] + np.arange(WIDTH, dtype=np.float32) / 10


def test_appended_rows_are_read_back(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path / "c", WIDTH)
    assert cache.rows() == {}
    cache.append(digests(1, 2), vectors(1, 2))
    cache.append(digests(3), vectors(3))
    again = FeatureCache(tmp_path / "c", WIDTH)
    assert again.rows() == dict(zip(digests(1, 2, 3), range(3), strict=True))
    assert np.array_equal(again.read([2, 0, 2]), vectors(3, 1, 3))
    assert again.read([]).shape == (0, WIDTH)


def test_appending_does_not_rewrite_earlier_rows(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, WIDTH)
    cache.append(digests(1), vectors(1))
    before = (tmp_path / "vectors").stat().st_ino
    cache.append(digests(2), vectors(2))
    assert (tmp_path / "vectors").stat().st_ino == before
    assert (tmp_path / "vectors").stat().st_size == 2 * WIDTH * 4


def test_incomplete_rows_are_ignored_and_overwritten(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, WIDTH)
    cache.append(digests(1, 2), vectors(1, 2))
    for name, torn in (("vectors", b"x" * 27), ("digests", b"y" * 11)):
        with (tmp_path / name).open("ab") as file:
            file.write(torn)  # what a kill in the middle of a batch leaves
    assert list(cache.rows().values()) == [0, 1]
    cache.append(digests(9), vectors(9))
    assert np.array_equal(cache.read([0, 1, 2]), vectors(1, 2, 9))
    assert list(cache.rows()) == digests(1, 2, 9)


def test_vectors_without_digests_are_ignored(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, WIDTH)
    cache.append(digests(1), vectors(1))
    with (tmp_path / "vectors").open("ab") as file:
        file.write(vectors(7, 8).tobytes())  # killed between the two files
    assert list(cache.rows()) == digests(1)
    cache.append(digests(2), vectors(2))
    assert np.array_equal(cache.read([0, 1]), vectors(1, 2))


def _append(folder: Path, first: int) -> None:
    cache = FeatureCache(folder, WIDTH)
    for number in range(first, first + 20):
        cache.append(digests(number), vectors(number))


def test_two_processes_append_without_mixing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_append, args=(tmp_path, n)) for n in (0, 100)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    cache = FeatureCache(tmp_path, WIDTH)
    rows = cache.rows()
    assert len(rows) == 40
    for number in (*range(20), *range(100, 120)):
        assert np.array_equal(cache.read([rows[digests(number)[0]]]), vectors(number))


def test_vectors_that_are_nan_or_infinite_are_one_sentence(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, WIDTH)
    cache.append(digests(1, 2), np.stack([np.ones(WIDTH), np.full(WIDTH, np.nan)]))
    assert cache.read([0]).tolist() == [[1.0] * WIDTH]
    with pytest.raises(UserError, match=r"vectors is damaged .*; remove its folder"):
        cache.read([0, 1])
