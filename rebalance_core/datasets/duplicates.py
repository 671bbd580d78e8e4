"""Duplicate images: byte-identical ones by SHA-256, near-duplicates by their content.

An index finds candidate pairs; the *difference* of a pair is what remains after one image was
registered to the other, under the dataset's symmetries.
"""

import io
import os
import zipfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

import numpy as np

from rebalance_core.datasets.candidates import (
    PAIR,
    START,
    CandidateIndex,
    Thumbnails,
    row_blocks,
    unordered,
)
from rebalance_core.datasets.dataset import Dataset
from rebalance_core.datasets.inspecting import thumbnail
from rebalance_core.datasets.manifest import damaged, read_manifest
from rebalance_core.datasets.registration import Registration
from rebalance_core.imaging.symmetry import IDENTITY, INVERSE, KINDS, compose
from rebalance_core.system.files import write_bytes

MAX_DIFFERENCE = 0.16  # of stored pairs
DEFAULT_DIFFERENCE = 0.12
NEAR = np.dtype([("first", "i4"), ("second", "i4"), ("symmetry", "i1"), ("difference", "f4")])
_SCREENED, _REGISTERED = 4096, 512  # pairs at a time, to bound memory
Progress = Callable[[float], None]


def near_pairs(
    thumbnails: Thumbnails,
    count: int,
    symmetries: tuple[int, ...],
    progress: Progress = lambda share: None,
) -> np.ndarray:
    """Pairs of rows with a difference up to MAX_DIFFERENCE: NEAR records, sorted, `first` lower.

    One record per pair and symmetry. Reads thumbnails in blocks: about 1 kB of memory per image.
    """
    index = CandidateIndex(thumbnails, count, symmetries)
    blocks = [index.rows[block] for block in row_blocks(len(index.rows))]

    def search(rows: np.ndarray) -> np.ndarray:
        pairs = index.neighbours(thumbnails(rows), rows)
        pairs["first"] = rows[pairs["first"]]
        return pairs

    pairs = np.concatenate(
        [np.zeros(0, PAIR), *_map(search, blocks, lambda share: progress(0.3 * share))]
    )
    place = np.zeros(count, np.int64)  # in the order of the index: similar images close together
    place[index.rows] = np.arange(len(index.rows))
    pairs = unordered(pairs, index.ranks, place)
    starts = _screen(index, thumbnails, pairs, lambda share: progress(0.3 + 0.3 * share))
    near = _register(thumbnails, starts, lambda share: progress(0.6 + 0.4 * share))
    repeated = np.zeros(len(index.repeated), NEAR)
    repeated["first"], repeated["second"] = index.repeated.T
    return np.sort(np.concatenate([near, repeated]), order=["first", "second", "symmetry"])


def nearest_differences(
    thumbnails: np.ndarray, references: np.ndarray, symmetries: tuple[int, ...]
) -> np.ndarray:
    """The difference of each thumbnail to its nearest reference; infinity if none is near.

    uint8 (m, 64, 64) and (n, 64, 64) → float (m,). The candidates of a thumbnail are references
    only, so that similar thumbnails do not displace them.
    """
    both = np.concatenate([thumbnails, references])
    index = CandidateIndex(lambda rows: references[rows], len(references), symmetries)

    def search(rows: np.ndarray) -> np.ndarray:
        pairs = index.neighbours(thumbnails[rows])
        pairs["first"] = rows[pairs["first"]]
        return pairs

    pairs = np.concatenate([np.zeros(0, PAIR), *_map(search, list(row_blocks(len(thumbnails))))])
    starts = _screen(index, lambda rows: thumbnails[rows], pairs)
    starts["second"] += len(thumbnails)
    near = _register(lambda rows: both[rows], starts)
    nearest = np.full(len(thumbnails), np.inf)
    np.minimum.at(nearest, near["first"], near["difference"])
    return nearest


def _screen(
    index: CandidateIndex,
    thumbnails: Thumbnails,
    pairs: np.ndarray,
    progress: Progress = lambda share: None,
) -> np.ndarray:
    """START records of PAIR records that may be near."""

    def screen(block: np.ndarray) -> np.ndarray:
        rows, first = np.unique(block["first"], return_inverse=True)
        order = np.argsort(first, kind="stable")
        block = block[order]
        block["first"] = first[order]
        starts = index.screen(thumbnails(rows), block)
        starts["first"] = rows[starts["first"]]
        return starts

    return np.concatenate([np.zeros(0, START), *_map(screen, _split(pairs, _SCREENED), progress)])


def _register(
    thumbnails: Thumbnails, starts: np.ndarray, progress: Progress = lambda share: None
) -> np.ndarray:
    """NEAR records of START records, `first` lower."""

    def register(block: np.ndarray) -> np.ndarray:
        rows, inverse = np.unique(np.stack([block["first"], block["second"]]), return_inverse=True)
        first, second = inverse.reshape(2, -1)
        swapped = block["first"] > block["second"]
        near = np.zeros(len(block), NEAR)
        near["first"] = np.minimum(block["first"], block["second"])
        near["second"] = np.maximum(block["first"], block["second"])
        near["symmetry"] = np.where(
            swapped, np.array(INVERSE)[block["symmetry"]], block["symmetry"]
        )
        near["difference"] = Registration(thumbnails(rows)).differences(
            first, second, block["symmetry"], block["shift"], block["scale"]
        )
        return near[near["difference"] <= MAX_DIFFERENCE]

    return np.concatenate(
        [np.zeros(0, NEAR), *_map(register, _split(starts, _REGISTERED), progress)]
    )


def _split(records: np.ndarray, size: int) -> list[np.ndarray]:
    return [records[k : k + size] for k in range(0, len(records), size)]


def _map(
    function: Callable[[np.ndarray], np.ndarray],
    blocks: list[np.ndarray],
    progress: Progress = lambda share: None,
) -> list[np.ndarray]:
    """The results of blocks, in order, computed by threads."""
    from threadpoolctl import threadpool_limits

    results = []
    # one thread of linear algebra per thread of the pool
    with threadpool_limits(1), ThreadPoolExecutor(os.cpu_count()) as pool:
        try:
            for number, result in enumerate(pool.map(function, blocks), start=1):
                results.append(result)
                progress(number / len(blocks))
        finally:
            pool.shutdown(cancel_futures=True)  # if `progress` raises
    return results


def group_rows(count: int, pairs: np.ndarray) -> np.ndarray:
    """Connected components of rows joined by pairs (m, 2): the group id of each row, (count,)."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), (count, count))
    return np.asarray(connected_components(graph, directed=False)[1])


def equal_pairs(values: np.ndarray) -> np.ndarray:
    """Pairs (m, 2) that join all rows of equal value; '' is not equal to itself."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    is_equal = (ordered[1:] == ordered[:-1]) & (ordered[1:] != "")
    return np.stack([order[:-1][is_equal], order[1:][is_equal]], axis=1)


def identical_pairs(dataset: Dataset) -> np.ndarray:
    """Pairs of rows (m, 2) that join all byte-identical files."""
    return equal_pairs(np.array(dataset.digests))


def equal_groups(dataset: Dataset) -> np.ndarray:
    """The id of each row's group of equal images, (n,), of which the index compares the first."""
    near = load_near_pairs(dataset)
    equal = near[(near["difference"] == 0) & (near["symmetry"] == IDENTITY)]
    pairs = np.stack([equal["first"], equal["second"]], axis=1)
    both = np.concatenate([identical_pairs(dataset), pairs])
    return group_rows(len(dataset.catalogue), both)


def load_near_pairs(dataset: Dataset) -> np.ndarray:
    """NEAR records of a dataset; those of an earlier version are computed from the originals.

    Raises UserError if the file is damaged.
    """
    path = dataset.path / "near.npz"
    return _load_near_pairs(dataset.path, path.stat().st_mtime_ns if path.exists() else 0)


@lru_cache(maxsize=8)
def _load_near_pairs(folder: Path, changed: int) -> np.ndarray:
    dataset = Dataset(folder, read_manifest(folder))
    try:
        with np.load(folder / "near.npz") as arrays:
            is_earlier_format = "pairs" in arrays
            near = np.zeros(0, NEAR) if is_earlier_format else arrays["near"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise damaged(folder.name, "its near-duplicates cannot be read") from error
    if is_earlier_format:
        near = _find_near_pairs(dataset)
        with suppress(OSError):  # a workspace that cannot be written to
            save_near_pairs(folder, near)
    count, symmetries = len(dataset.catalogue), dataset.symmetries
    if near.dtype != NEAR or near.ndim != 1 or not _are_pairs(near, count, symmetries):
        raise damaged(folder.name, "its near-duplicates are those of another dataset")
    return near


def _are_pairs(near: np.ndarray, count: int, symmetries: tuple[int, ...]) -> bool:
    is_pair = (near["first"] >= 0) & (near["first"] < near["second"]) & (near["second"] < count)
    is_near = (near["difference"] >= 0) & (near["difference"] <= MAX_DIFFERENCE)
    return bool((is_pair & is_near & np.isin(near["symmetry"], symmetries)).all())


def _find_near_pairs(dataset: Dataset) -> np.ndarray:
    """The NEAR records of a dataset, from its originals."""
    images = dataset.catalogue["image"].tolist()

    def read(image: str) -> np.ndarray:
        with dataset.open(image) as original:
            return thumbnail(original)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        thumbnails = np.stack(list(pool.map(read, images)))
    return near_pairs(lambda rows: thumbnails[rows], len(images), dataset.symmetries)


def save_near_pairs(folder: Path, near: np.ndarray) -> None:
    """Write NEAR records to `near.npz` in the folder of a dataset, atomically."""
    buffer = io.BytesIO()
    np.savez(buffer, near=near)
    write_bytes(folder / "near.npz", buffer.getvalue())


def near_groups(dataset: Dataset, difference: float = DEFAULT_DIFFERENCE) -> np.ndarray:
    """The id of each row's near-duplicate group, (n,).

    Groups are the connected components of the pairs that differ by at most `difference`, under any
    of the dataset's symmetries, and of the byte-identical files.
    """
    near = load_near_pairs(dataset)
    near = near[near["difference"] <= difference]
    pairs = np.stack([near["first"], near["second"]], axis=1)
    both = np.concatenate([pairs, identical_pairs(dataset)])
    return group_rows(len(dataset.catalogue), both)


def has_similar(
    dataset: Dataset, rows: Sequence[int], others: Sequence[int], difference: float = MAX_DIFFERENCE
) -> np.ndarray:
    """Which images at `rows`, n, differ from one at `others` by at most `difference`: bool (n,).

    Under any of the dataset's symmetries; byte-identical files differ by nothing.
    """
    equal = equal_groups(dataset)
    near = load_near_pairs(dataset)
    near = near[near["difference"] <= difference]
    links = np.stack([equal[near["first"]], equal[near["second"]]], axis=1).reshape(-1, 2)
    links = np.concatenate([links, links[:, ::-1]])
    among = equal[list(others)]
    similar = np.concatenate([among, links[np.isin(links[:, 1], among), 0]])
    is_similar: np.ndarray = np.isin(equal[list(rows)], similar)
    return is_similar


def independent_units(dataset: Dataset, difference: float = DEFAULT_DIFFERENCE) -> np.ndarray:
    """The id of each row's unit (n,): images linked by a patient or by a group of copies."""
    patients = dataset.catalogue["group"].to_numpy().astype(str)
    copies = near_groups(dataset, difference).astype(str)
    links = np.concatenate([equal_pairs(patients), equal_pairs(copies)])
    return group_rows(len(dataset.catalogue), links)


def pair_kinds(dataset: Dataset, difference: float) -> tuple[np.ndarray, np.ndarray]:
    """Near-duplicate pairs of rows (m, 2), each once, and how they match: KINDS, str (m,).

    Where several symmetries match, the first in the order of SYMMETRIES counts.
    """
    near = load_near_pairs(dataset)
    near = near[near["difference"] <= difference]  # sorted by pair, then symmetry
    pairs = np.stack([near["first"], near["second"]], axis=1)
    is_first = np.ones(len(pairs), bool)
    is_first[1:] = (pairs[1:] != pairs[:-1]).any(axis=1)
    return pairs[is_first], np.array(KINDS)[near["symmetry"][is_first]]


def orientations(dataset: Dataset, rows: Sequence[int], difference: float) -> list[int]:
    """The symmetry under which each of `rows`, a group of copies, looks like the first one.

    Found along the pairs that differ by at most `difference`; the identity where there is none.
    """
    near = load_near_pairs(dataset)
    members = np.isin(near["first"], rows) & np.isin(near["second"], rows)
    links: dict[int, list[tuple[int, int]]] = {row: [] for row in rows}
    for first, second, symmetry, _ in near[members & (near["difference"] <= difference)].tolist():
        links[first].append((second, symmetry))
        links[second].append((first, INVERSE[symmetry]))
    found = {rows[0]: IDENTITY}
    queue = [rows[0]]
    for row in queue:
        for other, symmetry in links[row]:
            if other not in found:
                found[other] = compose(found[row], symmetry)
                queue.append(other)
    return [found.get(row, IDENTITY) for row in rows]
