"""Features are computed once per image content, cached and shared by datasets."""

from pathlib import Path

import numpy as np
import pytest

from rebalance_core.datasets.dataset import Dataset
from rebalance_core.datasets.importing import import_dataset
from rebalance_core.datasets.source import ImportConfig
from rebalance_core.imaging.grid import png_bytes
from rebalance_core.poses import hog
from rebalance_core.poses.features import CHUNK, dataset_features, resolve_extractor
from rebalance_core.runs.run import Cancelled, MemoryRun
from rebalance_core.workspace import Workspace


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of images of each call of HOG."""
    calls: list[int] = []
    original = hog.hog_features

    def counted(images: np.ndarray) -> np.ndarray:
        calls.append(len(images))
        return original(images)

    monkeypatch.setattr(hog, "hog_features", counted)
    return calls


def folder_of(path: Path, images: dict[str, np.ndarray]) -> Path:
    for name, image in images.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(png_bytes(image))
    return path


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (32, 32), dtype=np.uint8)


def added(workspace: Workspace, name: str, source: Path) -> Dataset:
    return import_dataset(workspace, ImportConfig(name=name, source=str(source)), MemoryRun())


def features(dataset: Dataset, run: MemoryRun | None = None) -> np.ndarray:
    vectors = dataset_features(dataset, "hog", "auto", run or MemoryRun())
    return vectors[np.arange(vectors.shape[0])]


def test_a_second_call_computes_nothing(phantom: Dataset, computed: list[int]) -> None:
    first = features(phantom)
    assert sum(computed) == 120
    computed.clear()
    assert np.array_equal(features(phantom), first)
    assert computed == []
    assert first.shape == (120, 648)
    straight = hog.hog_features(np.asarray(phantom.array(128)))
    assert np.array_equal(first, straight), "row by row as in the catalogue"


def test_a_changed_image_recomputes_only_itself(
    workspace: Workspace, tmp_path: Path, computed: list[int]
) -> None:
    images = {f"{c}/{n}.png": noise(10 * n + len(c)) for c in ("cat", "mouse") for n in range(6)}
    before = features(added(workspace, "before", folder_of(tmp_path / "before", images)))
    computed.clear()
    images["cat/3.png"] = noise(99)
    after = features(added(workspace, "after", folder_of(tmp_path / "after", images)))
    assert computed == [1]
    differ = np.flatnonzero((before != after).any(axis=1))
    assert differ.tolist() == [3]


def test_identical_images_are_computed_once(
    workspace: Workspace, tmp_path: Path, computed: list[int]
) -> None:
    images = {f"{c}/{n}.png": noise(7) for c in ("cat", "mouse") for n in range(4)}
    vectors = features(added(workspace, "same", folder_of(tmp_path / "same", images)))
    assert computed == [1]
    assert (vectors == vectors[0]).all()


def test_what_was_computed_before_a_stop_is_kept(phantom: Dataset, computed: list[int]) -> None:
    with pytest.raises(Cancelled):
        features(phantom, MemoryRun(stop_after=0))
    assert computed == [CHUNK]
    features(phantom)
    assert sum(computed) == 120


def test_processes_give_the_same_features(workspace: Workspace) -> None:
    config = ImportConfig(name="many", source="phantom", count=2 * CHUNK + 40, size=32)
    dataset = import_dataset(workspace, config, MemoryRun())
    vectors = features(dataset)
    assert np.array_equal(vectors, hog.hog_features(np.asarray(dataset.array(128))))


def test_without_weights_hog_is_the_default(workspace: Workspace) -> None:
    assert resolve_extractor(workspace, "auto") == "hog"
    assert resolve_extractor(workspace, "vgg16") == "vgg16"
