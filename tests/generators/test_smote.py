"""SMOTE against its definition, scikit-learn's neighbours and imbalanced-learn's own SMOTE."""

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from imblearn.over_sampling import SMOTE
from safetensors.numpy import load_file, save_file
from safetensors.torch import save_file as save_tensors
from sklearn.neighbors import NearestNeighbors

from rebalance_core.classifiers.config import ClassifierConfig
from rebalance_core.classifiers.features import train_scorer
from rebalance_core.config import Config
from rebalance_core.datasets.dataset import Dataset
from rebalance_core.errors import UserError
from rebalance_core.generators.base import TrainingData
from rebalance_core.generators.smote.config import SmoteConfig
from rebalance_core.generators.smote.model import (
    PREVIEWS,
    Neighbourhood,
    SmoteGenerator,
    blend,
    draw,
    nearest_neighbours,
)
from rebalance_core.generators.spec import GENERATOR_FILE
from rebalance_core.generators.training import (
    RECORD_FILE,
    TrainConfig,
    continuation,
    from_folder,
    load_generator,
)
from rebalance_core.runs.directory import RunDirectory, create_run
from rebalance_core.runs.executor import RunView, view_run
from rebalance_core.runs.metrics import read_metrics
from rebalance_core.runs.run import Cancelled, MemoryRun
from rebalance_core.runs.worker import execute
from rebalance_core.synthesis.sampling import SampleConfig, check_sample
from rebalance_core.synthesis.synthetic_set import open_synthetic
from rebalance_core.system.files import read_json
from rebalance_core.training_sets.config import SetConfig
from rebalance_core.training_sets.load import Images
from rebalance_core.training_sets.resolve import make_set
from rebalance_core.workspace import Workspace

SIZE = 16
TINY = {"size": SIZE, "epochs": 2}


def noise(n: int, *, channels: int = 1, seed: int = 0) -> np.ndarray:
    shape = (n, SIZE, SIZE, channels)
    return np.random.default_rng([n, seed]).integers(0, 256, shape, dtype=np.uint8)


def data_of(counts: dict[str, int], *, channels: int = 1, **given: np.ndarray) -> TrainingData:
    """Training images of noise, or those given; the largest class is the majority."""
    classes = tuple(counts)
    stacks = [
        given.get(label, noise(n, channels=channels, seed=k))
        for k, (label, n) in enumerate(counts.items())
    ]
    labels = np.repeat(np.arange(len(classes)), list(counts.values()))
    order = np.random.default_rng(1).permutation(len(labels))  # classes come mixed
    part = Images(np.concatenate(stacks)[order], labels[order], tuple(map(str, order)))
    minority = tuple(c for c in classes if counts[c] < max(counts.values()))
    return TrainingData(part, part, classes, minority or classes, channels)


def fitted(data: TrainingData, run: MemoryRun | None = None, **changes: Any) -> SmoteGenerator:
    config = SmoteConfig.from_preset("quick", **{**TINY, **changes})
    return SmoteGenerator.fit(config, data, run or MemoryRun())


def sampled(made: SmoteGenerator, label: str, count: int, **more: Any) -> np.ndarray:
    return np.concatenate(list(made.sample(label, count, 3, **more)))


def flat(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1).astype(np.float64)


def off_the_segments(points: np.ndarray, ends: np.ndarray, neighbours: np.ndarray) -> np.ndarray:
    """For each of the points (m, d): how far its worst value lies from the nearest of the segments
    between an end (n, d) and one of that end's neighbours (n, k)."""
    starts = np.repeat(ends, neighbours.shape[1], axis=0)
    ways = ends[neighbours.ravel()] - starts
    least = []
    for point in points:
        share = ((point - starts) * ways).sum(1) / (ways**2).sum(1)
        on = starts + share.clip(0, 1)[:, None] * ways
        least.append(np.abs(point - on).max(axis=1).min())
    return np.array(least)


def sklearn_neighbours(points: np.ndarray, neighbours: int) -> np.ndarray:
    """Of each point without copies, the nearest others."""
    search = NearestNeighbors(n_neighbors=neighbours + 1).fit(points)
    found: np.ndarray = search.kneighbors(points, return_distance=False)[:, 1:]
    return found


def test_every_image_is_exactly_what_its_draw_says() -> None:
    made = fitted(data_of({"rare": 9, "common": 20}))
    assert made.classes == ("rare",)
    images, neighbours = made.neighbourhoods["rare"].images, made.neighbourhoods["rare"].neighbours
    for k, image in enumerate(sampled(made, "rare", 100)):
        row, other, share = draw(neighbours, 3, 0, k)
        assert other in neighbours[row]
        assert 0 <= share < 1
        exact = images[row] + share * (images[other].astype(np.float64) - images[row])
        assert np.abs(image - exact).max() <= 0.5


def test_images_lie_where_those_of_imbalanced_learn_lie() -> None:
    """Both on segments between an image and one of its five nearest, and theirs on ours."""
    data = data_of({"rare": 12, "common": 60})
    made = fitted(data)
    ours = made.neighbourhoods["rare"]
    ends = flat(ours.images)
    theirs, labels = SMOTE(random_state=0, k_neighbors=5).fit_resample(
        flat(data.train.images), data.train.labels
    )
    new = theirs[len(data.train.labels) :]
    assert len(new) == 48
    assert set(labels[len(data.train.labels) :]) == {0}
    assert off_the_segments(new, ends, ours.neighbours).max() < 1e-6
    own = flat(sampled(made, "rare", 48))
    assert off_the_segments(own, ends, sklearn_neighbours(ends, 5)).max() < 1  # rounded
    # what lies on no segment is told apart: with one neighbour each there are fewer
    assert off_the_segments(new, ends, ours.neighbours[:, :1]).max() > 50


@pytest.mark.parametrize("count", [6, 256, 257, 600])
@pytest.mark.parametrize("channels", [1, 3])
def test_neighbours_are_those_of_scikit_learn(count: int, channels: int) -> None:
    made = fitted(data_of({"rare": count, "common": 601}, channels=channels))
    found = made.neighbourhoods["rare"]
    assert np.array_equal(found.neighbours, sklearn_neighbours(flat(found.images), 5))


def test_neighbours_and_distances_are_exact() -> None:
    points = np.array([0, 1, 1, 9, 30], np.uint8)[:, None]
    rows, squared = nearest_neighbours(points, np.arange(5), 2)
    assert rows.tolist() == [[1, 2], [2, 0], [1, 0], [1, 2], [3, 1]]  # a copy is a neighbour
    assert squared.tolist() == [[1, 1], [0, 1], [0, 1], [64, 64], [441, 841]]


def test_blending_rounds_and_never_leaves_the_two() -> None:
    low, high = np.array([[[0, 255, 10]]], np.uint8), np.array([[[255, 0, 11]]], np.uint8)
    assert blend(low, high, 0.0).tolist() == low.tolist()
    assert blend(low, high, 0.25).tolist() == [[[64, 191, 10]]]
    assert blend(low, high, 0.999999).tolist() == high.tolist()


def test_draws_are_of_all_images_all_neighbours_and_any_share() -> None:
    neighbours = np.array([[1, 2], [0, 2], [0, 1]])
    draws = [draw(neighbours, 0, 1, k) for k in range(600)]
    assert {(row, other) for row, other, _ in draws} == {
        (0, 1),
        (0, 2),
        (1, 0),
        (1, 2),
        (2, 0),
        (2, 1),
    }
    shares = np.array([share for _, _, share in draws])
    assert np.histogram(shares, 4, (0, 1))[0].min() > 120
    assert draws[7] == draw(neighbours, 0, 1, 7)
    others = (draw(neighbours, 1, 1, 7), draw(neighbours, 0, 0, 7), draw(neighbours, 0, 1, 8))
    assert draws[7] not in others


def test_an_image_is_the_same_whatever_the_batches() -> None:
    made = fitted(data_of({"a": 9, "b": 7, "common": 20}))
    whole = sampled(made, "b", 130)
    assert np.array_equal(whole[70:], sampled(made, "b", 60, first=70))
    assert np.array_equal(whole[129], made.neighbourhoods["b"].generate(3, 1, 129))


def test_few_images_have_as_many_neighbours_as_there_are() -> None:
    made = fitted(data_of({"two": 2, "three": 3, "six": 6, "seven": 7, "common": 9}))
    shapes = {label: each.neighbours.shape for label, each in made.neighbourhoods.items()}
    assert shapes == {"two": (2, 1), "three": (3, 2), "six": (6, 5), "seven": (7, 5)}
    assert made.neighbourhoods["two"].neighbours.tolist() == [[1], [0]]
    assert fitted(data_of({"rare": 9, "common": 20}), neighbours=2).neighbourhoods[
        "rare"
    ].neighbours.shape == (9, 2)


def test_a_class_of_one_image_is_left_out_and_said(tmp_path: Path) -> None:
    made = fitted(data_of({"one": 1, "two": 2, "none": 0, "common": 9}))
    made.save(tmp_path)
    for generator in (made, SmoteGenerator.load(tmp_path)):
        assert generator.classes == ("two",)
        assert generator.single_image_classes == ("one",)
        assert generator.classes_without_images == ("none",)
        for label, why in (
            ("one", "was trained on a single image of class 'one' and needs at least two"),
            ("none", "was trained without images of class 'none'"),
            ("common", "cannot generate class 'common'"),
        ):
            with pytest.raises(UserError) as excinfo:
                generator.sample(label, 1, 0)
            assert str(excinfo.value) == f"This generator {why}; it generates two."


def test_without_two_images_of_a_minority_class_nothing_is_made() -> None:
    run = MemoryRun()
    with pytest.raises(UserError) as excinfo:
        fitted(data_of({"one": 1, "other": 1, "common": 9}), run)
    assert str(excinfo.value) == (
        "No minority class of this training set has two images to interpolate between; add "
        "images, or choose a weaker skew."
    )
    assert run.metrics == []


def test_in_a_balanced_set_every_class_counts_as_a_minority() -> None:
    assert fitted(data_of({"a": 5, "b": 5})).classes == ("a", "b")


def test_no_sampler_can_be_asked_for() -> None:
    made = fitted(data_of({"rare": 5, "common": 9}))
    with pytest.raises(UserError, match="SMOTE does not have the option truncation"):
        sampled(made, "rare", 1, truncation=1.0)


def test_what_happens_is_said() -> None:
    stack = np.zeros((3, SIZE, SIZE, 1), np.uint8)
    stack[1], stack[2] = 30, 90
    run = MemoryRun()
    made = fitted(data_of({"rare": 3, "common": 9}, rare=stack), run, neighbours=1)
    assert run.metrics == [
        {"step": 0, "event": "start"},
        {"step": 3, "distance rare": pytest.approx((30 + 30 + 60) / 3)},
    ]
    ((step, name, picture),) = run.previews
    assert (step, name) == (3, "rare")
    assert picture.shape == (3 * SIZE + 4, PREVIEWS * (SIZE + 2) - 2, 1)
    first = made.neighbourhoods["rare"].generate(0, 0, 0)  # the first image at the config's seed
    assert np.array_equal(picture[SIZE + 2 : 2 * SIZE + 2, :SIZE], first)


DATA = {"a": 9, "b": 70, "common": 80}


@pytest.fixture(scope="module")
def undisturbed() -> tuple[SmoteGenerator, MemoryRun]:
    run = MemoryRun()
    return fitted(data_of(DATA), run, space="features"), run


def test_features_are_those_of_a_classifier_of_the_training_images(
    undisturbed: tuple[SmoteGenerator, MemoryRun],
) -> None:
    data, made = data_of(DATA), undisturbed[0]
    scorer = train_scorer(
        ClassifierConfig(size=SIZE, epochs=2, lr=0.01, precision="fp32"),
        data.train,
        data.classes,
        0,
    )
    for found in made.neighbourhoods.values():
        features = scorer(found.images)[1]
        assert features.shape[1] == 512
        expected = sklearn_neighbours(features.astype(np.float64), 5)
        assert np.array_equal(found.neighbours, expected)
    pixels = fitted(data)
    assert not np.array_equal(
        made.neighbourhoods["b"].neighbours, pixels.neighbourhoods["b"].neighbours
    )


@pytest.mark.parametrize("after", [0, 1, 2, 4])
def test_features_go_on_as_if_nothing_had_stopped_them(
    after: int, undisturbed: tuple[SmoteGenerator, MemoryRun]
) -> None:
    """Two epochs, then the neighbours and the pictures of two classes."""
    expected, whole = undisturbed
    data, run = data_of(DATA), MemoryRun(stop_after=after)
    with pytest.raises(Cancelled):
        fitted(data, run, space="features")
    run.stop_after = None
    made = fitted(data, run, space="features")
    for label, found in expected.neighbourhoods.items():
        assert np.array_equal(made.neighbourhoods[label].neighbours, found.neighbours)
    assert [m for m in run.metrics if "event" not in m] == [
        m for m in whole.metrics if "event" not in m
    ]
    assert [m["step"] for m in whole.metrics] == [0, 1, 2, 11, 81]


def do(workspace: Workspace, kind: str, config: Config) -> RunView:
    path = create_run(workspace, kind, config.model_dump(mode="json"), name=kind)
    execute(workspace, RunDirectory(path))
    return view_run(path)


def test_the_way_from_a_training_to_a_synthetic_set(
    workspace: Workspace, phantom: Dataset, tmp_path: Path
) -> None:
    make_set(workspace, "rare", SetConfig(dataset="phantom", skew="glioma=1,pituitary=4"))
    trained = do(workspace, "train", TrainConfig.make("smote", "rare", "quick"))
    assert trained.result["classes"] == ["meningioma", "pituitary"]
    named = {name for line in read_metrics(trained.path) for name in line}
    assert named == {"step", "event", "time", "distance meningioma", "distance pituitary"}
    # one of it alone, a class of one image, and options that it hasn't
    ask = SampleConfig(run=trained.id, name="s", count=5)
    for changes, sentence in (
        (
            {"classes": ("glioma",)},
            "This generator was trained on a single image of class 'glioma' and needs at least "
            "two; it generates meningioma, pituitary.",
        ),
        (
            {"classes": ("notumor",)},
            "This generator cannot generate class 'notumor'; it generates meningioma, pituitary.",
        ),
        ({"options": {"steps": 3}}, "smote does not have the option steps; its options are none."),
    ):
        with pytest.raises(UserError) as excinfo:
            check_sample(workspace, ask.model_copy(update=changes))
        assert str(excinfo.value) == sentence
    do(workspace, "sample", ask)
    found = open_synthetic(workspace, "s")
    assert (found.generator, found.counts) == ("smote", {"meningioma": 5, "pituitary": 5})
    expected = np.concatenate(list(load_generator(trained).sample("pituitary", 5, 0)))
    assert np.array_equal(found.images("pituitary"), expected)
    with pytest.raises(
        UserError, match=r"A smote cannot be continued: it has nothing more to learn\."
    ):
        continuation(workspace, trained.id, epochs=9)
    # from a folder, with and without the record
    folder = tmp_path / "brought"
    shutil.copytree(trained.path / "result" / "generator", folder)
    assert not from_folder(workspace, str(folder), "rare").believed
    (folder / RECORD_FILE).unlink()
    taken = from_folder(workspace, str(folder), "rare")
    assert (taken.generator, taken.believed) == ("smote", True)
    assert read_json(folder / GENERATOR_FILE) == {"generator": "smote", "version": 1}
    (folder / GENERATOR_FILE).unlink()  # as an earlier version left it
    assert from_folder(workspace, str(folder), "rare").generator == "smote"
    again = load_generator(do(workspace, "train", taken))
    assert np.array_equal(np.concatenate(list(again.sample("pituitary", 5, 0))), expected)
    about = read_json(folder / "config.json")
    (folder / "config.json").write_text(json.dumps(about | {"lone": ["cat"]}))
    with pytest.raises(UserError, match="generates cat, which training set rare does not have"):
        do(workspace, "train", taken)


def _spoil(folder: Path, how: str) -> None:
    """Damage a folder in one of the ways that an import must refuse."""
    file, config = folder / "images.safetensors", folder / "config.json"
    about, arrays = read_json(config), load_file(file)
    images, neighbours = arrays["images 0"], arrays["neighbours 0"]
    if how in CONFIGS:
        config.write_text(json.dumps(CONFIGS[how](about)))
    elif how in ARRAYS:
        save_file(arrays | ARRAYS[how](images, neighbours), file)
    elif how == "an array less":
        save_file({"images 0": images}, file)
    elif how == "bfloat16":
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        save_tensors(tensors | {"images 0": tensors["images 0"].bfloat16()}, file)
    elif how == "pickle":
        file.write_bytes(pickle.dumps({"a": 1}))
    elif how == "torn":
        file.write_bytes(file.read_bytes()[:500])
    elif how == "no JSON":
        config.write_text("{")


CONFIGS: dict[str, Any] = {
    "a list": lambda about: [1],
    "no class": lambda about: about | {"classes": []},
    "numbers as classes": lambda about: about | {"classes": [1]},
    "a class twice": lambda about: about | {"classes": ["rare", "rare"]},
    "made and lone": lambda about: about | {"lone": ["rare"]},
    "more classes": lambda about: about | {"classes": ["rare", "other"]},
    "two channels": lambda about: about | {"channels": 2},
    "three channels": lambda about: about | {"channels": 3},
    "another size": lambda about: about | {"config": about["config"] | {"size": 32}},
    "a huge size": lambda about: about | {"config": about["config"] | {"size": 10**9}},
    "a lr without end": lambda about: about | {"config": about["config"] | {"lr": float("inf")}},
    "fewer neighbours": lambda about: about | {"config": about["config"] | {"neighbours": 2}},
    "an unknown field": lambda about: about | {"config": {"code": "x"}},
}
ARRAYS: dict[str, Any] = {
    "one image": lambda images, near: {"images 0": images[:1], "neighbours 0": near[:1]},
    "floats": lambda images, near: {"images 0": images.astype(np.float32)},
    "not finite": lambda images, near: {"neighbours 0": np.full(near.shape, np.nan)},
    "a number": lambda images, near: {"images 0": np.array(3, np.uint8)},
    "32 bits": lambda images, near: {"neighbours 0": near.astype(np.int32)},
    "an index too high": lambda images, near: {"neighbours 0": near + 9},
    "an index below zero": lambda images, near: {"neighbours 0": near - 9},
    "itself": lambda images, near: {"neighbours 0": np.zeros_like(near)},
    "no neighbours": lambda images, near: {"neighbours 0": near[:, :0]},
    "neighbours of fewer": lambda images, near: {"neighbours 0": near[:5]},
    "an array more": lambda images, near: {"images 1": images},
}
SHAPE = "neighbours 0 are not int64 of shape (9, 5)"
BYTES = "images 0 are not two or more uint8 images of 16 px"
OTHERS = "neighbours 0 contain an image itself or a row out of range"
NAMES = "its arrays are not those of its classes"
ONCE = "its classes are empty, or one is listed twice"


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("a list", "config.json: Input should be a valid dictionary or instance of SmoteRecord"),
        ("no class", ONCE),
        ("numbers as classes", "classes.0: Input should be a valid string"),
        ("a class twice", ONCE),
        ("made and lone", ONCE),
        ("more classes", NAMES),
        ("two channels", "channels: Input should be 1 or 3"),
        ("three channels", BYTES),
        ("another size", "images 0 are not two or more uint8 images of 32 px"),
        ("a huge size", "config.size: Input should be less than or equal to 512"),
        ("a lr without end", "config.lr: Input should be a finite number"),
        ("fewer neighbours", "neighbours 0 are not int64 of shape (9, 2)"),
        ("an unknown field", "config.code: Extra inputs are not permitted"),
        ("one image", BYTES),
        ("floats", BYTES),
        ("a number", BYTES),
        ("not finite", SHAPE),
        ("32 bits", SHAPE),
        ("no neighbours", SHAPE),
        ("neighbours of fewer", SHAPE),
        ("an index too high", OTHERS),
        ("an index below zero", OTHERS),
        ("itself", OTHERS),
        ("an array more", NAMES),
        ("an array less", NAMES),
        ("bfloat16", ""),
        ("pickle", ""),
        ("torn", ""),
    ],
)
def test_a_bad_folder_is_refused_in_one_sentence(how: str, why: str, tmp_path: Path) -> None:
    fitted(data_of({"rare": 9, "common": 20})).save(tmp_path)
    assert isinstance(SmoteGenerator.load(tmp_path).neighbourhoods["rare"], Neighbourhood)
    _spoil(tmp_path, how)
    with pytest.raises(UserError) as excinfo:
        SmoteGenerator.load(tmp_path)
    sentence = str(excinfo.value)
    assert "\n" not in sentence
    if why:
        assert sentence == f"{tmp_path} does not contain a readable SMOTE ({why})."
    else:  # in the words of safetensors
        assert sentence.startswith(f"{tmp_path} does not contain a readable SMOTE (")


def test_a_folder_that_lacks_a_file_or_holds_no_json_is_refused(tmp_path: Path) -> None:
    fitted(data_of({"rare": 9, "common": 20})).save(tmp_path)
    _spoil(tmp_path, "no JSON")
    with pytest.raises(UserError, match=r"config\.json is not readable as JSON"):
        SmoteGenerator.load(tmp_path)
    for name in ("config.json", "images.safetensors"):
        (tmp_path / name).unlink()
        with pytest.raises(UserError) as excinfo:
            SmoteGenerator.load(tmp_path)
        assert str(excinfo.value) == (
            f"{tmp_path} does not contain a SMOTE; it needs config.json and images.safetensors."
        )


def test_presets_keep_the_five_neighbours_of_its_paper() -> None:
    sizes = {name: SmoteConfig.from_preset(name).size for name in SmoteConfig.presets}
    assert sizes == {"quick": 32, "small": 64, "paper": 128, "strong": 128}
    assert {SmoteConfig.from_preset(name).neighbours for name in sizes} == {5}
    assert {SmoteConfig.from_preset(name).space for name in sizes} == {"pixels"}
    paper = SmoteConfig.from_preset("paper")
    assert (paper.epochs, paper.lr) == (30, 0.001)
