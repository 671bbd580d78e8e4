"""Training sets: exact counts, nested skews, disjoint parts."""

from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rebalance_core.datasets.dataset import Dataset, remove_dataset
from rebalance_core.datasets.importing import import_dataset
from rebalance_core.datasets.phantom import CLASSES, POSES, draw_phantoms, make_phantom
from rebalance_core.datasets.source import ImportConfig
from rebalance_core.errors import UserError
from rebalance_core.imaging.grid import png_bytes
from rebalance_core.poses.clustering import cluster_poses
from rebalance_core.poses.config import PosesConfig
from rebalance_core.runs.run import MemoryRun
from rebalance_core.training_sets.config import NO_SKEW, Part, SetConfig
from rebalance_core.training_sets.load import load_part
from rebalance_core.training_sets.resolve import (
    TrainingSet,
    list_sets,
    make_set,
    make_subset,
    open_set,
    resolve_set,
)
from rebalance_core.training_sets.skew import limited_counts, skewed_counts
from rebalance_core.workspace import Workspace

PARTS = ("train", "validation", "test")
TRAIN = {"cat": 200, "dog": 100, "owl": 40}
CUT = {"cat": 30, "dog": 15, "owl": 6}  # 15 % for validation
REMAINING = {"cat": 170, "dog": 85, "owl": 34}
TEST = {"cat": 10, "dog": 10, "owl": 10}


def pets(
    workspace: Workspace, folder: Path, splits: dict[str, dict[str, int]], first: int = 0
) -> Dataset:
    """A dataset `pets` whose images encode their running number, from `first`."""
    number = first
    for split, counts in splits.items():
        for label, count in counts.items():
            place = folder / split / label
            place.mkdir(parents=True)
            for k in range(count):
                pixels = np.full((4, 4), number % 256, np.uint8)
                pixels[0, 0] = number // 256
                (place / f"{k:03d}.png").write_bytes(png_bytes(pixels))
                number += 1
    return import_dataset(workspace, ImportConfig(name="pets", source=str(folder)), MemoryRun())


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A read-only workspace with the dataset `pets`."""
    workspace = Workspace(tmp_path_factory.mktemp("home"))
    pets(workspace, tmp_path_factory.mktemp("pets"), {"Training": TRAIN, "Testing": TEST})
    return workspace


def resolve(home: Workspace, skew: str = NO_SKEW, seed: int = 0, **options: Any) -> TrainingSet:
    return resolve_set(home, "set", SetConfig(dataset="pets", skew=skew, seed=seed, **options))


def per_class(ids: tuple[str, ...]) -> dict[str, int]:
    return dict(Counter(i.split("/")[-2] for i in ids))


@pytest.mark.parametrize(
    ("skew", "counts"),
    [
        (NO_SKEW, {"a": 1000, "b": 400, "c": 30}),
        ("as-it-is", {"a": 1000, "b": 400, "c": 30}),
        ("as-is", {"a": 1000, "b": 400, "c": 30}),
        ("none", {"a": 1000, "b": 400, "c": 30}),
        ("step:1", {"a": 1000, "b": 400, "c": 30}),
        ("step:5", {"a": 1000, "b": 200, "c": 30}),
        ("step:20", {"a": 1000, "b": 50, "c": 30}),
        ("step:2.5", {"a": 1000, "b": 400, "c": 30}),
        ("step:5000", {"a": 1000, "b": 1, "c": 1}),
        ("long:4", {"a": 1000, "b": 400, "c": 30}),
        ("long:100", {"a": 1000, "b": 100, "c": 10}),
        ("b=7", {"a": 1000, "b": 7, "c": 30}),
        ("step:5@b", {"a": 80, "b": 400, "c": 30}),
        ("long:4@c", {"a": 15, "b": 8, "c": 30}),
        ("step:20@a", {"a": 1000, "b": 50, "c": 30}),
        (" c = 1 , a=999", {"a": 999, "b": 400, "c": 1}),
    ],
)
def test_a_skew_resolves_to_exact_counts(skew: str, counts: dict[str, int]) -> None:
    assert skewed_counts(skew, {"a": 1000, "b": 400, "c": 30}) == counts


def test_ties_are_broken_by_class_order() -> None:
    tied = {"a": 100, "b": 100, "c": 100}
    assert skewed_counts("step:10", tied) == {"a": 100, "b": 10, "c": 10}
    assert skewed_counts("long:100", tied) == {"a": 100, "b": 10, "c": 1}


@pytest.mark.parametrize(
    ("skew", "sentence"),
    [
        ("step", "Skew 'step' is not understood; write 'none', 'step:20', 'step:20@class', "),
        ("step:", "Skew 'step:' is not understood"),
        ("step:-2", "Skew 'step:-2' is not understood"),
        ("long:x", "Skew 'long:x' is not understood"),
        ("", "Skew '' is not understood"),
        ("b=1.5", "Skew 'b=1.5' is not understood"),
        ("b=²", "Skew 'b=²' is not understood"),
        ("b=3,", "Skew 'b=3,' is not understood"),
        ("step:5@d", "Skew 'step:5@d': there is no class 'd', only a, b, c."),
        ("step:0.5", "Skew 'step:0.5': the ratio must be at least 1."),
        ("d=3", "Skew 'd=3': there is no class 'd', only a, b, c."),
        ("b=0", "Skew 'b=0': 0 images of b is out of range; choose 1 to 400."),
        ("b=401", "Skew 'b=401': 401 images of b is out of range; choose 1 to 400."),
    ],
)
def test_a_bad_skew_is_one_sentence(skew: str, sentence: str) -> None:
    with pytest.raises(UserError) as excinfo:
        skewed_counts(skew, {"a": 1000, "b": 400, "c": 30})
    assert str(excinfo.value).startswith(sentence)


@pytest.mark.parametrize(
    ("counts", "limit", "expected"),
    [
        ({"a": 60, "b": 40}, None, {"a": 60, "b": 40}),
        ({"a": 60, "b": 40}, 100, {"a": 60, "b": 40}),
        ({"a": 60, "b": 40}, 50, {"a": 30, "b": 20}),
        ({"a": 61, "b": 40}, 50, {"a": 30, "b": 19}),
        ({"a": 90, "b": 1}, 10, {"a": 9, "b": 1}),
    ],
)
def test_a_limit_scales_all_classes_in_proportion(
    counts: dict[str, int], limit: int | None, expected: dict[str, int]
) -> None:
    assert limited_counts(counts, limit) == expected


def test_a_limit_holds_with_classes_of_one_image() -> None:
    limited = limited_counts({"a": 1000, "b": 1, "c": 1}, 10)
    assert limited == {"a": 8, "b": 1, "c": 1}


@pytest.mark.parametrize(
    ("skew", "counts"),
    [
        (NO_SKEW, REMAINING),
        ("step:10", {"cat": 170, "dog": 17, "owl": 17}),
        ("step:20", {"cat": 170, "dog": 8, "owl": 8}),
        ("long:100", {"cat": 170, "dog": 17, "owl": 2}),
        ("dog=5", {"cat": 170, "dog": 5, "owl": 34}),
    ],
)
def test_a_set_has_the_counts_of_its_skew(
    home: Workspace, skew: str, counts: dict[str, int]
) -> None:
    training_set = resolve(home, skew)
    assert training_set.classes == ("cat", "dog", "owl")
    assert training_set.counts == per_class(training_set.train) == counts
    in_proportion = {c: max(1, round(CUT[c] * n / REMAINING[c])) for c, n in counts.items()}
    assert per_class(training_set.validation) == in_proportion
    whole = resolve(home, skew, validation_skew="whole")
    assert per_class(whole.validation) == CUT
    assert set(training_set.validation) <= set(whole.validation)
    assert whole.train == training_set.train
    assert per_class(training_set.test) == TEST


def test_minority_majority_and_ratio_are_those_of_training(home: Workspace) -> None:
    training_set = resolve(home, "step:10")
    assert (training_set.majority, training_set.minority, training_set.ratio) == (
        ["cat"],
        ["dog", "owl"],
        10.0,
    )
    tied = resolve(home, "cat=85")
    assert (tied.majority, tied.minority, tied.ratio) == (["cat", "dog"], ["owl"], 2.5)


def test_the_parts_are_disjoint_and_whole(home: Workspace) -> None:
    training_set = resolve(home)
    ids = [*training_set.train, *training_set.validation, *training_set.test]
    assert len(ids) == len(set(ids)) == sum(TRAIN.values()) + sum(TEST.values())
    assert all(i.startswith("Testing/") for i in training_set.test)


def test_a_stronger_skew_keeps_a_subset_of_a_weaker_ones_images(home: Workspace) -> None:
    chain = ["dog=3,owl=2", "step:20", "step:10", "step:4", NO_SKEW]
    train_sets = [set(resolve(home, skew).train) for skew in chain]
    for stronger, weaker in pairwise(train_sets):
        assert stronger < weaker


def test_a_smaller_limit_keeps_a_subset(home: Workspace) -> None:
    limited = resolve(home, limit=100)
    assert limited.counts == per_class(limited.train) == {"cat": 58, "dog": 29, "owl": 11}
    assert set(limited.train) < set(resolve(home, limit=200).train) < set(resolve(home).train)


def test_a_stronger_skew_keeps_a_subset_of_validation_and_the_same_test(home: Workspace) -> None:
    chain = [resolve(home, skew) for skew in ("step:20", "step:8", "step:3", NO_SKEW)]
    for stronger, weaker in pairwise(chain):
        assert set(stronger.validation) < set(weaker.validation)
        assert stronger.test == weaker.test
    for other in (resolve(home, "step:10", validation_skew="whole"), resolve(home, limit=50)):
        assert other.validation == chain[-1].validation


def test_another_seed_keeps_the_test_images_of_a_dataset_without_a_test_split(
    workspace: Workspace, tmp_path: Path
) -> None:
    pets(workspace, tmp_path / "pets", {"": {"cat": 60, "dog": 30}})
    sets = [resolve(workspace, seed=seed) for seed in range(3)]
    assert len({each.test for each in sets}) == 1
    assert len({each.train for each in sets}) == len({each.validation for each in sets}) == 3
    assert resolve(workspace, test_seed=1).test != sets[0].test


def test_a_set_of_an_earlier_version_says_how_its_validation_was_cut(home: Workspace) -> None:
    """Up to version 0.1 validation stayed whole, and the seed drew the test images too."""
    value = resolve(home, "step:10", seed=4, validation_skew="whole").to_json()
    for field in ("validation_skew", "test_seed", "distinct"):
        value["config"].pop(field)
    value["config"]["difference"] = 0.25
    config = TrainingSet.from_json(value).config
    assert (config.validation_skew, config.test_seed, config.distinct) == ("whole", 4, False)
    assert config.difference == 0.16


def test_sets_of_poses_skews_and_limits_nest(workspace: Workspace) -> None:
    """A set of one pose is a subset of the set with all poses, under every skew and limit."""
    source = ImportConfig(name="many", source="phantom", count=400, size=32)
    dataset = import_dataset(workspace, source, MemoryRun())
    cluster_poses(dataset, PosesConfig(dataset="many", k=2), MemoryRun())
    for skew in (NO_SKEW, "step:3", "long:4", "notumor=40", "step:2@glioma"):
        for seed in (0, 1):
            config = SetConfig(dataset="many", skew=skew, seed=seed)
            full = resolve_set(workspace, "full", config)
            posed = resolve_set(
                workspace, "posed", config.model_copy(update={"poses": ("pose 1",)})
            )
            limited = resolve_set(
                workspace, "less", config.model_copy(update={"poses": ("pose 1",), "limit": 40})
            )
            assert set(limited.train) < set(posed.train) < set(full.train)
            assert set(posed.validation) < set(full.validation)
            assert limited.test == posed.test == full.test


def test_a_subset_has_the_images_of_its_parent_that_have_the_pose(workspace: Workspace) -> None:
    source = ImportConfig(name="many", source="phantom", count=400, size=32)
    dataset = import_dataset(workspace, source, MemoryRun())
    cluster_poses(dataset, PosesConfig(dataset="many", k=2), MemoryRun())
    parent = make_set(workspace, "full", SetConfig(dataset="many", skew="step:2", limit=200))
    child = make_subset(workspace, "posed", parent, ("pose 2",))
    assert child == open_set(workspace, "posed")
    assert set(child.train) < set(parent.train)
    assert set(child.validation) < set(parent.validation)
    assert child.test == parent.test
    assert child.config == parent.config.model_copy(update={"poses": ("pose 2",)})
    assert sum(child.counts.values()) == len(child.train)
    with pytest.raises(UserError) as excinfo:
        make_subset(workspace, "other", child, ("pose 1",))
    assert str(excinfo.value) == "Training set posed has no pose pose 1; it has pose 2."
    with pytest.raises(UserError, match="Dataset many has no pose pose 9"):
        make_subset(workspace, "other", parent, ("pose 9",))
    with pytest.raises(UserError, match="Name at least one pose"):
        make_subset(workspace, "other", parent, ())


def test_distinct_training_images_are_one_of_each_group(
    workspace: Workspace, tmp_path: Path
) -> None:
    """Twelve pictures, of which the first four are there mirrored and brighter as well."""
    pictures = draw_phantoms(np.arange(12) % 2, np.zeros(12, int), size=64, seed=0)
    for k, pixels in enumerate(pictures):
        copies = [pixels, pixels[:, ::-1], np.clip(pixels.astype(int) + 20, 0, 255)]
        for number, copy in enumerate(copies if k < 4 else copies[:1]):
            target = tmp_path / "pets" / "Training" / "ab"[k % 2] / f"{k:02d}-{number}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(png_bytes(np.ascontiguousarray(copy, dtype=np.uint8)))
    import_dataset(workspace, ImportConfig(name="pets", source=str(tmp_path / "pets")), MemoryRun())
    for seed in range(3):
        every, distinct = (
            resolve(workspace, split="clean", seed=seed, distinct=value) for value in (False, True)
        )
        names = [image.rpartition("/")[2].partition("-")[0] for image in every.train]
        first = dict(reversed([*zip(names, every.train, strict=True)]))
        assert len(first) < len(names)
        assert set(distinct.train) == set(first.values())
        assert distinct.counts == per_class(distinct.train)
        assert distinct.dropped["train"] == every.dropped.get("train", 0) + len(names) - len(first)
        assert (distinct.validation, distinct.test) == (every.validation, every.test)


def test_the_same_config_draws_the_same_ids_and_another_seed_others(home: Workspace) -> None:
    first, again, other = (resolve(home, "step:10", seed) for seed in (0, 0, 1))
    assert first == again
    assert first.counts == other.counts
    assert first.test == other.test
    assert set(first.validation) != set(other.validation)
    assert set(first.train) != set(other.train)


def test_without_official_splits_test_and_validation_are_sampled(
    workspace: Workspace, tmp_path: Path
) -> None:
    """A fifth for test, then 15 % of the rest; of a class of two, one image is in test."""
    pets(workspace, tmp_path / "pets", {"": {"cat": 200, "dog": 3, "owl": 2}})
    training_set = open_set(workspace, "pets")
    assert per_class(training_set.test) == {"cat": 40, "dog": 1, "owl": 1}
    assert per_class(training_set.validation) == {"cat": 24, "dog": 1}
    assert per_class(training_set.train) == training_set.counts == {"cat": 136, "dog": 1, "owl": 1}
    assert len({*training_set.train, *training_set.validation, *training_set.test}) == 205


def test_an_official_validation_split_is_unchanged(workspace: Workspace, tmp_path: Path) -> None:
    splits = {"train": {"cat": 9, "dog": 5}, "val": {"cat": 3, "dog": 2}, "test": {"dog": 4}}
    pets(workspace, tmp_path / "pets", splits)
    training_set = open_set(workspace, "pets")
    assert tuple(per_class(getattr(training_set, part)) for part in PARTS) == tuple(splits.values())
    assert all(i.startswith("val/") for i in training_set.validation)


def test_a_class_without_training_images_is_refused(workspace: Workspace, tmp_path: Path) -> None:
    """By the import if it is not in training; by the set if a shared patient removes it."""
    folder = tmp_path / "pets"
    for split, place in (("test", "test split"), ("val", "validation split")):
        with pytest.raises(UserError) as excinfo:
            pets(workspace, folder / split, {"train": {"cat": 9}, split: {"cat": 2, "dog": 4}})
        assert str(excinfo.value) == (
            f"{folder / split}: class 'dog' has images only in the {place}; add training images, "
            "or remove it."
        )
    lines = [f"train/cat/00{k}.png,cat,train," for k in range(9)]
    lines += [f"test/{c}/00{k}.png,{c},test,dogs" for c in ("cat", "dog") for k in range(2)]
    lines += ["test/dog/002.png,dog,train,dogs", "test/dog/003.png,dog,train,dogs"]
    table = folder / "test" / "pets.csv"
    table.write_text("\n".join(["path,label,split,group", *lines]))
    import_dataset(workspace, ImportConfig(name="pets", source=str(table)), MemoryRun())
    with pytest.raises(UserError) as excinfo:
        open_set(workspace, "pets")
    assert str(excinfo.value) == (
        "Training set pets would have no image of dog; choose another split, more poses or another "
        "dataset."
    )


def test_a_saved_set_opens_as_it_was_made(phantom: Dataset, workspace: Workspace) -> None:
    config = SetConfig(dataset="phantom", skew="notumor=20", limit=40, seed=3)
    training_set = make_set(workspace, "small", config)
    assert open_set(workspace, "small") == training_set
    assert (training_set.name, training_set.config, training_set.fingerprint) == (
        "small",
        config,
        phantom.fingerprint,
    )
    assert list_sets(workspace) == ["small"]


def test_the_name_of_a_dataset_is_its_set_without_a_skew(
    phantom: Dataset, workspace: Workspace
) -> None:
    training_set = open_set(workspace, "phantom")
    assert training_set.config == SetConfig(dataset="phantom")
    assert training_set.counts == {"glioma": 9, "meningioma": 9, "notumor": 48, "pituitary": 9}
    assert len(training_set.validation) == 15
    assert list_sets(workspace) == []


def test_an_existing_or_invalid_name_is_refused(phantom: Dataset, workspace: Workspace) -> None:
    config = SetConfig(dataset="phantom")
    first = make_set(workspace, "mine", config)
    for name in ("mine", "phantom"):
        with pytest.raises(UserError) as excinfo:
            make_set(workspace, name, SetConfig(dataset="phantom", seed=1))
        assert str(excinfo.value) == (
            f"{name!r} is taken by another training set or dataset; choose another."
        )
    with pytest.raises(UserError, match="cannot be used as a training set name"):
        make_set(workspace, "../mine", config)
    assert open_set(workspace, "mine") == first
    assert [p.name for p in workspace.sets.iterdir()] == ["mine.json"]


def test_an_unknown_name_is_refused_with_the_existing_ones(
    phantom: Dataset, workspace: Workspace
) -> None:
    make_set(workspace, "mine", SetConfig(dataset="phantom"))
    with pytest.raises(UserError) as excinfo:
        open_set(workspace, "yours")
    assert str(excinfo.value) == (
        "There is no training set or dataset 'yours' (there is: mine, phantom)."
    )
    with pytest.raises(UserError, match=r"^There is no dataset 'yours' \(there is: phantom\)"):
        make_set(workspace, "new", SetConfig(dataset="yours"))


def test_poses_before_clustering_are_refused(phantom: Dataset, workspace: Workspace) -> None:
    with pytest.raises(UserError) as excinfo:
        make_set(workspace, "axial", SetConfig(dataset="phantom", poses=("pose 1",)))
    assert str(excinfo.value) == "Dataset phantom has no poses yet; run `poses cluster phantom`."


@pytest.mark.parametrize("part", PARTS)
def test_a_part_is_loaded_in_the_order_of_its_ids(
    phantom: Dataset, workspace: Workspace, part: Part
) -> None:
    training_set = make_set(workspace, "mine", SetConfig(dataset="phantom", skew="step:10"))
    loaded = load_part(phantom, training_set, part, size=16)
    assert loaded.ids == getattr(training_set, part)
    assert (loaded.images.dtype, loaded.labels.dtype) == (np.uint8, np.int64)
    assert [training_set.classes[k] for k in loaded.labels] == [
        i.split("/")[-2] for i in loaded.ids
    ]
    whole = phantom.array(16)
    for image, name in zip(loaded.images, loaded.ids, strict=True):
        assert np.array_equal(image, whole[phantom.rows[name]])


def test_another_version_of_the_dataset_is_refused(workspace: Workspace, tmp_path: Path) -> None:
    counts = {"Training": {"cat": 8, "dog": 4}}
    pets(workspace, tmp_path / "first", counts)
    training_set = make_set(workspace, "mine", SetConfig(dataset="pets"))
    remove_dataset(workspace, "pets")
    other = pets(workspace, tmp_path / "second", counts, first=500)
    with pytest.raises(UserError) as excinfo:
        load_part(other, training_set, "train", size=4)
    assert str(excinfo.value) == (
        "Training set mine was made from another version of dataset pets; make the set again with "
        "`sets make`."
    )


def test_counts_accept_classes_with_commas_and_equals_signs() -> None:
    there = {"tench, Tinca": 9, "a=b": 5, "dog": 4}
    assert skewed_counts("tench, Tinca=3,a=b=2", there) == {"tench, Tinca": 3, "a=b": 2, "dog": 4}


def test_the_sampled_test_split_does_not_depend_on_poses(workspace: Workspace) -> None:
    batch = make_phantom(120, size=32, seed=0)
    source = workspace.root / "source"
    for k, image in enumerate(batch.images):
        target = source / CLASSES[batch.labels[k]] / f"{POSES[batch.poses[k]]}-{k:03d}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(png_bytes(image))
    config = ImportConfig(name="bare", source=str(source))
    dataset = import_dataset(workspace, config, MemoryRun())
    clustering = cluster_poses(dataset, PosesConfig(dataset="bare", k=3), MemoryRun())
    whole = resolve_set(workspace, "whole", SetConfig(dataset="bare"))
    for pose in clustering.poses:
        posed = resolve_set(workspace, "posed", SetConfig(dataset="bare", poses=(pose,)))
        assert posed.test == whole.test
        assert set(posed.train) < set(whole.train)
        assert set(posed.validation) < set(whole.validation)
