"""Official and clean splits: groups across parts, removed images, seeded sampling."""

import io
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sources import import_source, unpack

from rebalance_core.datasets.dataset import Dataset, open_dataset
from rebalance_core.datasets.duplicates import near_groups
from rebalance_core.datasets.phantom import draw_phantoms
from rebalance_core.errors import UserError
from rebalance_core.imaging.grid import png_bytes
from rebalance_core.poses.clustering import cluster_poses, open_clustering
from rebalance_core.poses.config import PosesConfig
from rebalance_core.runs.run import MemoryRun
from rebalance_core.training_sets.config import SetConfig
from rebalance_core.training_sets.load import leak_note, leaked_images, set_notes
from rebalance_core.training_sets.resolve import TrainingSet, resolve_set
from rebalance_core.training_sets.splits import SplitName
from rebalance_core.workspace import Workspace

PARTS = ("train", "validation", "test")
CLASSES = ("glioma", "meningioma", "notumor", "pituitary")
ORIGINALS = 240
FOLDERS = ("Training", "Testing")


def copy(pixels: np.ndarray, way: int) -> bytes:
    """A copy that is brighter, re-encoded as JPEG, cropped by one pixel per side, or identical."""
    if way == 0:
        return png_bytes(np.clip(pixels.astype(int) + 25, 0, 255).astype(np.uint8))
    if way == 1:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG", quality=70)
        return buffer.getvalue()
    return png_bytes(pixels[1:-1, 1:-1] if way == 2 else pixels)


def planted(splits: tuple[str, ...]) -> dict[str, bytes]:
    """Phantoms `<split>/<class>/<picture>-<copy>.png`, a third of them with copies anywhere."""
    rng = np.random.default_rng(5)
    number = np.arange(ORIGINALS)
    pictures = draw_phantoms(number % 4, number // 4 % 3, size=64, seed=2)
    files = {}
    for k, pixels in enumerate(pictures):
        label = CLASSES[k % 4]
        split = splits[rng.choice(len(splits), p=SHARES[len(splits)])]
        files[f"{split}{label}/{k:03d}-0.png"] = png_bytes(pixels)
        for number_of_copy in range(1, 1 + (rng.integers(1, 4) if k % 3 == 0 else 0)):
            split = splits[rng.choice(len(splits), p=SHARES[len(splits)])]
            data = copy(pixels, int(rng.integers(4)))
            files[f"{split}{label}/{k:03d}-{number_of_copy}.png"] = data
    return files


SHARES = {1: [1.0], 2: [0.75, 0.25], 3: [0.6, 0.2, 0.2]}
LAYOUTS = {
    "no split": ("",),
    "test": ("Training/", "Testing/"),
    "test and validation": ("train/", "val/", "test/"),
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A read-only workspace with one dataset per layout."""
    workspace = Workspace(tmp_path_factory.mktemp("home"))
    for name, splits in LAYOUTS.items():
        import_source(workspace, unpack(tmp_path_factory.mktemp("source"), planted(splits)), name)
    return workspace


def resolve(home: Workspace, dataset: str, split: SplitName, **options: object) -> TrainingSet:
    return resolve_set(home, "set", SetConfig.build(dataset=dataset, split=split, **options))


def picture(image: str) -> str:
    return image.rsplit("/", 1)[-1].partition("-")[0]


def label(image: str) -> str:
    return image.split("/")[-2]


def parts(training_set: TrainingSet) -> dict[str, tuple[str, ...]]:
    return {part: getattr(training_set, part) for part in PARTS}


def groups_across_parts(groups: dict[str, object], training_set: TrainingSet) -> list[object]:
    """The groups with images in more than one part."""
    contents = [{groups[image] for image in ids} for ids in parts(training_set).values()]
    return sorted(
        group
        for group, n in Counter(g for each in contents for g in each).items()
        if n > 1 and group != ""
    )


def near(dataset: Dataset) -> dict[str, object]:
    return dict(zip(dataset.catalogue["image"], near_groups(dataset).tolist(), strict=True))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_planted_copies_are_the_groups(home: Workspace, layout: str) -> None:
    """The tests below count by picture number, which must equal the detected groups."""
    dataset = open_dataset(home, layout)
    images = dataset.catalogue["image"]
    assert len(images) > ORIGINALS + 100
    joined = {(picture(image), group) for image, group in near(dataset).items()}
    assert len(joined) == ORIGINALS == len(set(map(picture, images)))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("layout", LAYOUTS)
def test_no_group_straddles_the_clean_split(home: Workspace, layout: str, seed: int) -> None:
    training_set = resolve(home, layout, "clean", seed=seed)
    assert (
        groups_across_parts(
            {i: picture(i) for p in parts(training_set).values() for i in p}, training_set
        )
        == []
    )
    assert len(set(map(picture, training_set.test))) == len(training_set.test)
    assert min(map(len, parts(training_set).values())) > 20


@pytest.mark.parametrize("layout", ["test", "test and validation"])
def test_groups_do_straddle_the_official_split(home: Workspace, layout: str) -> None:
    """Otherwise the test above would be vacuous."""
    training_set = resolve(home, layout, "official")
    assert (
        len(
            groups_across_parts(
                {i: picture(i) for p in parts(training_set).values() for i in p}, training_set
            )
        )
        > 20
    )


@pytest.mark.parametrize("layout", ["test", "test and validation"])
def test_test_images_with_a_copy_in_training_or_validation_are_counted(
    home: Workspace, layout: str
) -> None:
    dataset = open_dataset(home, layout)
    official = resolve(home, layout, "official")
    seen = set(map(picture, (*official.train, *official.validation)))
    copies = sum(picture(image) in seen for image in official.test)
    assert copies > 20
    how = "(a difference of at most 0.12, symmetries all)"
    note = (
        f"{copies} of {len(official.test)} test images are copies of a training or validation "
        f"image {how}: scores are too high. The split clean leaves such copies out."
    )
    assert leak_note(dataset, official, leaked_images(dataset, official)) == note
    assert note in set_notes(dataset, official)
    clean = resolve(home, layout, "clean")
    none = f"No test image is a copy of a training or validation image {how}."
    assert leak_note(dataset, clean, leaked_images(dataset, clean)) == none
    assert none not in set_notes(dataset, clean)


@pytest.mark.parametrize("layout", ["test", "test and validation"])
def test_the_official_test_split_is_unchanged(home: Workspace, layout: str) -> None:
    dataset = open_dataset(home, layout)
    training_set = resolve(home, layout, "official")
    official = {part: tuple(group["image"]) for part, group in dataset.catalogue.groupby("split")}
    assert training_set.test == official["test"]
    assert training_set.dropped == {}
    if layout == "test":
        assert sorted(training_set.train + training_set.validation) == sorted(official["train"])
    else:
        assert (training_set.validation, training_set.train) == (
            official["validation"],
            official["train"],
        )


@pytest.mark.parametrize("layout", ["test", "test and validation"])
def test_the_clean_test_split_keeps_the_first_image_of_each_group(
    home: Workspace, layout: str
) -> None:
    dataset = open_dataset(home, layout)
    tests = dataset.catalogue.loc[dataset.catalogue["split"] == "test", "image"]
    first = {picture(image): image for image in reversed(list(tests))}
    training_set = resolve(home, layout, "clean")
    assert sorted(training_set.test) == sorted(first.values())
    assert training_set.test == resolve(home, layout, "clean", seed=9).test


@pytest.mark.parametrize("layout", ["test", "test and validation"])
def test_removed_images_are_counted(home: Workspace, layout: str) -> None:
    """By brute force: copies within test, of test in validation, and of both in training."""
    catalogue = open_dataset(home, layout).catalogue
    official = {part: list(group["image"]) for part, group in catalogue.groupby("split")}
    tested = set(map(picture, official["test"]))
    valid = [i for i in official.get("validation", []) if picture(i) not in tested]
    validated = set(map(picture, valid))
    train = [i for i in official["train"] if picture(i) not in tested | validated]
    training_set = resolve(home, layout, "clean")
    removed = {
        "test": len(official["test"]) - len(tested),
        "validation": len(official.get("validation", [])) - len(valid),
        "train": len(official["train"]) - len(train),
    }
    assert removed["train"] > 20
    assert training_set.dropped == {part: n for part, n in removed.items() if n}
    if layout == "test":
        assert sorted(training_set.train + training_set.validation) == sorted(train)
    else:
        assert (list(training_set.train), list(training_set.validation)) == (train, valid)


def test_without_an_official_test_split_a_fifth_of_every_class_is_sampled(home: Workspace) -> None:
    total = Counter(map(label, open_dataset(home, "no split").catalogue["image"]))
    training_set = resolve(home, "no split", "official")
    assert Counter(map(label, training_set.test)) == {c: round(n * 0.2) for c, n in total.items()}
    left = {c: n - round(n * 0.2) for c, n in total.items()}
    assert Counter(map(label, training_set.validation)) == {
        c: round(n * 0.15) for c, n in left.items()
    }
    assert training_set.dropped == {}
    assert sum(map(len, parts(training_set).values())) == sum(total.values())


def test_a_clean_sample_is_stratified_up_to_whole_groups(home: Workspace) -> None:
    """Groups have up to four images, so the share of a class is exact within three."""
    total = Counter(map(label, open_dataset(home, "no split").catalogue["image"]))
    training_set = resolve(home, "no split", "clean")
    images = open_dataset(home, "no split").catalogue["image"]
    tested = set(map(picture, training_set.test))
    cut = Counter(label(i) for i in images if picture(i) in tested)
    for name, count in total.items():
        assert 0 <= round(count * 0.2) - cut[name] <= 3
    assert training_set.dropped == {"test": sum(cut.values()) - len(training_set.test)}


@pytest.mark.parametrize("split", ["official", "clean"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_split_is_determined_by_its_seed(home: Workspace, layout: str, split: SplitName) -> None:
    first, again, other = (resolve(home, layout, split, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert (first.train == other.train) is (layout == "test and validation")
    for training_set in (first, other):
        ids = [i for each in parts(training_set).values() for i in each]
        assert len(ids) == len(set(ids))
        for each in parts(training_set).values():
            assert set(map(label, each)) == set(CLASSES)


@pytest.mark.parametrize("split", ["official", "clean"])
def test_a_stronger_skew_keeps_a_subset(home: Workspace, split: SplitName) -> None:
    chain = [
        resolve(home, "test", split, skew=s) for s in ("step:20", "step:6", "step:2", "as it is")
    ]
    for stronger, weaker in pairwise(chain):
        assert set(stronger.train) < set(weaker.train)
        assert set(stronger.validation) < set(weaker.validation)
        assert stronger.test == weaker.test
        assert stronger.dropped == weaker.dropped


def test_a_higher_difference_removes_more(home: Workspace) -> None:
    removed = [
        sum(resolve(home, "test", "clean", difference=d).dropped.values()) for d in (0, 0.02, 0.12)
    ]
    assert removed == sorted(set(removed))
    assert removed[0] > 0


# Patients, from a CSV


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """`bare`, `tested` and `split`: 300 images of 60 patients, and 20 without a patient."""
    workspace = Workspace(tmp_path_factory.mktemp("clinic"))
    folder = tmp_path_factory.mktemp("scans")
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (320, 16, 16), dtype=np.uint8)
    lines = []
    for k, pixels in enumerate(noise):
        (folder / f"{k:03d}.png").write_bytes(png_bytes(pixels))
        patient = f"P{rng.integers(60):02d}" if k < 300 else ""
        lines.append((f"{k:03d}.png", "abc"[int(rng.integers(7)) // 3], patient))
    columns = {
        "bare": [""],
        "tested": ["train"] * 4 + ["test"],
        "split": ["train"] * 3 + ["val", "test"],
    }
    for name, choices in columns.items():
        rows = [f"{path},{c},{p},{rng.choice(choices)}" for path, c, p in lines]
        text = "\n".join(["path,label,patient,split", *rows])
        (folder / f"{name}.csv").write_text(text)
        import_source(workspace, folder / f"{name}.csv", name)
    yield workspace


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("split", ["official", "clean"])
@pytest.mark.parametrize("name", ["bare", "tested", "split"])
def test_no_split_separates_a_patient(
    clinic: Workspace, name: str, split: SplitName, seed: int
) -> None:
    catalogue = open_dataset(clinic, name).catalogue
    patients = dict(zip(catalogue["image"], catalogue["group"], strict=True))
    training_set = resolve(clinic, name, split, seed=seed)
    assert groups_across_parts(patients, training_set) == []
    assert all(len({patients[i] for i in ids} - {""}) > 1 for ids in parts(training_set).values())


@pytest.mark.parametrize("split", ["official", "clean"])
def test_shared_patients_are_removed_from_all_but_the_test_split(
    clinic: Workspace, split: SplitName
) -> None:
    catalogue = open_dataset(clinic, "split").catalogue
    official = dict(list(catalogue.groupby("split")))
    tested = set(official["test"]["group"]) - {""}
    valid = official["validation"].loc[~official["validation"]["group"].isin(tested)]
    others = tested | set(valid["group"]) - {""}
    train = official["train"].loc[~official["train"]["group"].isin(others)]
    training_set = resolve(clinic, "split", split)
    assert training_set.test == tuple(official["test"]["image"])
    assert training_set.validation == tuple(valid["image"])
    assert training_set.train == tuple(train["image"])
    assert training_set.dropped == {
        "train": len(official["train"]) - len(train),
        "validation": len(official["validation"]) - len(valid),
    }


def test_images_without_a_patient_are_not_grouped(clinic: Workspace) -> None:
    catalogue = open_dataset(clinic, "tested").catalogue
    unknown = set(catalogue.loc[catalogue["group"] == "", "image"])
    training_set = resolve(clinic, "tested", "official")
    assert unknown <= {i for each in parts(training_set).values() for i in each}


def test_each_class_is_in_each_part_where_that_is_possible(
    workspace: Workspace, tmp_path: Path
) -> None:
    """A class of three patients has one in each part; that of a single patient is not split."""
    lines = ["path,label,patient"]
    groups = {
        "many": [f"m{k // 4}" for k in range(80)],
        "three": ["t0"] * 5 + ["t1"] * 2 + ["t2"],
        "single": ["s"] * 6,
        "loose": ["", "", ""],
    }
    rng = np.random.default_rng(0)
    for name, patients in groups.items():
        for k, patient in enumerate(patients):
            pixels = rng.integers(0, 256, (16, 16), dtype=np.uint8)
            (tmp_path / f"{name}{k}.png").write_bytes(png_bytes(pixels))
            lines.append(f"{name}{k}.png,{name},{patient}")
    (tmp_path / "a.csv").write_text("\n".join(lines))
    dataset = import_source(workspace, tmp_path / "a.csv")
    labels = dict(zip(dataset.catalogue["image"], dataset.catalogue["class"], strict=True))
    for split in ("official", "clean"):
        for seed in range(10):
            training_set = resolve(workspace, "taken", split, seed=seed)
            contents = {
                part: Counter(labels[i] for i in ids) for part, ids in parts(training_set).items()
            }
            assert {c for c in groups if all(contents[part][c] for part in PARTS)} == {
                "many",
                "three",
                "loose",
            }
            assert contents["train"]["single"] == 6


@pytest.mark.parametrize("split", ["official", "clean"])
def test_chosen_poses_keep_their_training_images_and_the_whole_test(
    workspace: Workspace, phantom: Dataset, split: SplitName
) -> None:
    cluster_poses(phantom, PosesConfig(dataset="phantom", k=3), MemoryRun())
    assigned = open_clustering(phantom).assignments
    pose = sorted(set(assigned["pose"]))[0]
    chosen = set(assigned.loc[assigned["pose"] == pose, "image"])
    whole = resolve(workspace, "phantom", split)
    training_set = resolve(workspace, "phantom", split, poses=(pose,))
    assert training_set.test == whole.test
    assert training_set.train
    assert training_set.validation
    assert set(training_set.train + training_set.validation) <= chosen
    official = phantom.catalogue.loc[phantom.catalogue["split"] == "train", "image"]
    if split == "official":
        assert set(training_set.train + training_set.validation) == chosen & set(official)


def test_one_patient_a_class_cannot_be_split(workspace: Workspace, tmp_path: Path) -> None:
    pictures = draw_phantoms(np.zeros(12, int), np.zeros(12, int), size=32, seed=0)
    files = {f"{k}.png": png_bytes(image) for k, image in enumerate(pictures)}
    folder = unpack(tmp_path / "source", files)
    lines = [f"{k}.png,{'ab'[k % 2]},{'uv'[k % 2]}" for k in range(12)]
    (folder / "t.csv").write_text("\n".join(["path,label,group", *lines]))
    import_source(workspace, folder / "t.csv")
    with pytest.raises(UserError, match=r"^Training set x would have no image to validate on: "):
        resolve_set(workspace, "x", SetConfig(dataset="taken"))
