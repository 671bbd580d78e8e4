"""Feature vectors of a dataset's images, cached by content and extractor."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rebalance_core.config import Precision
from rebalance_core.datasets.dataset import Dataset
from rebalance_core.poses import hog
from rebalance_core.poses.cache import FeatureCache
from rebalance_core.poses.extractors import EXTRACTORS, ExtractorChoice, ExtractorName
from rebalance_core.poses.weights import has_weights, weights_facts, weights_path
from rebalance_core.runs.run import Cancelled, Run
from rebalance_core.system.processes import parallel_map
from rebalance_core.workspace import Workspace

CHUNK = 64  # images computed, and kept, at a time
DECODING = 0.3  # share of the progress bar


@dataclass(frozen=True)
class Features:
    """The vectors of a dataset's images, in the catalogue's order, read from disk as needed."""

    cache: FeatureCache
    rows: np.ndarray  # of the cache, one an image

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.rows), self.cache.width

    def __getitem__(self, images: np.ndarray | slice) -> np.ndarray:
        """float32 (len(images), width)."""
        return self.cache.read(self.rows[images])


def resolve_extractor(workspace: Workspace, choice: ExtractorChoice) -> ExtractorName:
    """`auto` is the paper's VGG-16 where its weights are at hand, else HOG, which needs none."""
    if choice != "auto":
        return choice
    return "vgg16" if has_weights(workspace, "vgg16") else "hog"


def dataset_features(
    dataset: Dataset, extractor: ExtractorName, precision: Precision, run: Run
) -> Features:
    """Features of all images; computes only what no dataset of the workspace has cached yet.

    Raises UserError where weights are missing, Cancelled where the run was asked to stop; what
    was computed by then is kept.
    """
    known = EXTRACTORS[extractor]
    key = _key(dataset, extractor, precision)
    cache = FeatureCache(dataset.path / "features" / key, known.width)
    digests = [bytes.fromhex(d) for d in dataset.catalogue["sha256"]]
    missing = _missing(digests, cache)
    for other in sorted(dataset.path.parent.glob(f"[!.]*/features/{key}")):
        if missing and other != cache.folder:
            _take_over(FeatureCache(other, known.width), cache, missing)
            missing = _missing(digests, cache)
    if missing:
        _compute(dataset, extractor, precision, missing, cache, run)
    where = cache.rows()
    return Features(cache, np.array([where[d] for d in digests], dtype=np.int64))


def _key(dataset: Dataset, extractor: ExtractorName, precision: Precision) -> str:
    """The cache's folder: extractor, what its numbers depend on, and how images are read."""
    read = "gray" if dataset.channels == 1 else "colour"
    if extractor == "hog":
        return f"hog-{hog.VERSION}-{read}"
    from rebalance_core.poses.networks import resolved_precision

    digest = weights_facts(_workspace(dataset), extractor)["sha256"]
    return f"{extractor}-{digest[:16]}-{resolved_precision(precision)}-{read}"


def _missing(digests: list[bytes], cache: FeatureCache) -> dict[bytes, int]:
    """Digest → row of the catalogue, of each content that has no features yet."""
    known = cache.rows()
    return {digest: row for row, digest in enumerate(digests) if digest not in known}


def _take_over(other: FeatureCache, cache: FeatureCache, missing: dict[bytes, int]) -> None:
    """Copy what another dataset has of the same content."""
    theirs = other.rows()
    shared = [digest for digest in missing if digest in theirs]
    for start in range(0, len(shared), 4096):
        part = shared[start : start + 4096]
        cache.append(part, other.read([theirs[digest] for digest in part]))


def _compute(
    dataset: Dataset,
    extractor: ExtractorName,
    precision: Precision,
    missing: dict[bytes, int],
    cache: FeatureCache,
    run: Run,
) -> None:
    size = EXTRACTORS[extractor].size
    images = dataset.array(size, lambda done, stage: run.progress(DECODING * done, stage))
    wanted = list(missing.items())
    chunks = [wanted[start : start + CHUNK] for start in range(0, len(wanted), CHUNK)]
    stacks = (np.asarray(images[[row for _, row in chunk]]) for chunk in chunks)
    began = f"{EXTRACTORS[extractor].title}: loading"
    run.progress(DECODING, began)
    with _extracting(dataset, extractor, precision, len(wanted)) as extract:
        done = 0
        for chunk, vectors in zip(chunks, extract(stacks), strict=True):
            cache.append([digest for digest, _ in chunk], vectors)
            done += len(chunk)
            told = f"{EXTRACTORS[extractor].title}: {done} of {len(wanted)} images"
            run.progress(DECODING + (0.9 - DECODING) * done / len(wanted), told)
            if run.should_stop():
                raise Cancelled


@contextmanager
def _extracting(
    dataset: Dataset, extractor: ExtractorName, precision: Precision, count: int
) -> Iterator[Callable[[Iterator[np.ndarray]], Iterator[np.ndarray]]]:
    """A lazy map over stacks of images; processes where many go through HOG, since skimage holds
    the interpreter's lock."""
    if extractor != "hog":
        from rebalance_core.poses.networks import load_extractor, resolved_precision

        path: Path = weights_path(_workspace(dataset), extractor)
        network = load_extractor(extractor, path, resolved_precision(precision))
        yield lambda stacks: map(network, stacks)
    elif count <= 2 * CHUNK:  # starting processes would take longer
        yield lambda stacks: map(hog.hog_features, stacks)
    else:
        yield lambda stacks: (found for _, found in parallel_map(hog.hog_features, stacks))


def _workspace(dataset: Dataset) -> Workspace:
    return Workspace(dataset.path.parent.parent)
