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
from rebalance_core.poses.weights import has_weights, weights_metadata, weights_path
from rebalance_core.runs.run import Cancelled, Run
from rebalance_core.system.processes import parallel_map
from rebalance_core.workspace import Workspace

CHUNK = 64  # images computed, and written, at a time
DECODING = 0.3  # fraction of the progress bar


@dataclass(frozen=True)
class Features:
    """The feature vectors of a dataset's images in the order of the catalogue, read lazily."""

    cache: FeatureCache
    rows: np.ndarray  # of the cache, one per image

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.rows), self.cache.width

    def __getitem__(self, images: np.ndarray | slice) -> np.ndarray:
        """float32 (len(images), width)."""
        return self.cache.read(self.rows[images])


def resolve_extractor(workspace: Workspace, choice: ExtractorChoice) -> ExtractorName:
    """`auto` is the paper's VGG-16 if its weights are available, else HOG, which needs none."""
    if choice != "auto":
        return choice
    return "vgg16" if has_weights(workspace, "vgg16") else "hog"


def dataset_features(
    dataset: Dataset, extractor: ExtractorName, precision: Precision, run: Run
) -> Features:
    """Features of all images; computes only those that no dataset of the workspace has cached.

    Raises UserError where weights are missing and Cancelled where the run should stop; what was
    computed by then stays in the cache.
    """
    width = EXTRACTORS[extractor].width
    key = _key(dataset, extractor, precision)
    cache = FeatureCache(dataset.path / "features" / key, width)
    digests = [bytes.fromhex(digest) for digest in dataset.digests]
    missing = _missing(digests, cache)
    for other in sorted(dataset.path.parent.glob(f"[!.]*/features/{key}")):
        if missing and other != cache.folder:
            _copy_shared(FeatureCache(other, width), cache, missing)
            missing = _missing(digests, cache)
    if missing:
        _compute(dataset, extractor, precision, missing, cache, run)
    rows = cache.rows()
    return Features(cache, np.array([rows[d] for d in digests], dtype=np.int64))


def _key(dataset: Dataset, extractor: ExtractorName, precision: Precision) -> str:
    """Name of the cache's folder: the extractor and all that its output depends on."""
    mode = "gray" if dataset.channels == 1 else "colour"
    if extractor == "hog":
        return f"hog-{hog.VERSION}-{mode}"
    from rebalance_core.poses.networks import resolved_precision

    digest = weights_metadata(_workspace(dataset), extractor)["sha256"]
    return f"{extractor}-{digest[:16]}-{resolved_precision(precision)}-{mode}"


def _missing(digests: list[bytes], cache: FeatureCache) -> dict[bytes, int]:
    """{digest: row of the catalogue} of images without features."""
    cached = cache.rows()
    return {digest: row for row, digest in enumerate(digests) if digest not in cached}


def _copy_shared(other: FeatureCache, cache: FeatureCache, missing: dict[bytes, int]) -> None:
    """Copy the features of images that another dataset has, too."""
    rows = other.rows()
    shared = [digest for digest in missing if digest in rows]
    for start in range(0, len(shared), 4096):
        part = shared[start : start + 4096]
        cache.append(part, other.read([rows[digest] for digest in part]))


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
    items = list(missing.items())
    chunks = [items[start : start + CHUNK] for start in range(0, len(items), CHUNK)]
    stacks = (np.asarray(images[[row for _, row in chunk]]) for chunk in chunks)
    title = EXTRACTORS[extractor].title
    run.progress(DECODING, f"{title}: loading")
    with _open_extractor(dataset, extractor, precision, len(items)) as extract:
        done = 0
        for chunk, vectors in zip(chunks, extract(stacks), strict=True):
            cache.append([digest for digest, _ in chunk], vectors)
            done += len(chunk)
            fraction = DECODING + (0.9 - DECODING) * done / len(items)
            run.progress(fraction, f"{title}: {done} of {len(items)} images")
            if run.should_stop():
                raise Cancelled


@contextmanager
def _open_extractor(
    dataset: Dataset, extractor: ExtractorName, precision: Precision, count: int
) -> Iterator[Callable[[Iterator[np.ndarray]], Iterator[np.ndarray]]]:
    """A lazy map from stacks of images to features.

    HOG of many images runs in processes, since scikit-image holds the GIL.
    """
    if extractor != "hog":
        from rebalance_core.poses.networks import load_extractor, resolved_precision

        path: Path = weights_path(_workspace(dataset), extractor)
        network = load_extractor(extractor, path, resolved_precision(precision))
        yield lambda stacks: map(network, stacks)
    elif count <= 2 * CHUNK:  # starting processes would take longer
        yield lambda stacks: map(hog.hog_features, stacks)
    else:
        yield lambda stacks: (features for _, features in parallel_map(hog.hog_features, stacks))


def _workspace(dataset: Dataset) -> Workspace:
    return Workspace(dataset.path.parent.parent)
