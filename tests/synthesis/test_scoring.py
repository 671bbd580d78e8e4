"""Scores and filters: metrics with their floor, exactly the right images removed."""

import json
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from commands import command
from sets import synthetic_set

from rebalance_core.catalogue import JOBS
from rebalance_core.classifiers.config import ClassifierConfig
from rebalance_core.comparison.job import added_images
from rebalance_core.comparison.rebalanced import rebalanced_files
from rebalance_core.config import Config
from rebalance_core.datasets.dataset import Dataset, open_dataset
from rebalance_core.errors import UserError
from rebalance_core.imaging.grid import png_bytes
from rebalance_core.removal import dataset_dependents
from rebalance_core.runs.directory import RunDirectory, create_run
from rebalance_core.runs.executor import RunView, view_run
from rebalance_core.runs.leftovers import remove_all_leftovers
from rebalance_core.runs.metrics import read_metrics
from rebalance_core.runs.run import Cancelled, MemoryRun
from rebalance_core.runs.worker import execute
from rebalance_core.synthesis.filtering import (
    FilterConfig,
    check_filter,
    is_too_far,
    parse_image_names,
    removed_images,
)
from rebalance_core.synthesis.pictures import sample_rows
from rebalance_core.synthesis.records import METRICS, read_scores
from rebalance_core.synthesis.scoring import (
    Features,
    ScoreConfig,
    compare_to_floor,
    few_images_warnings,
    find_scoring,
    load_or_train_scorer,
    titles,
)
from rebalance_core.synthesis.synthetic_set import list_synthetic, open_synthetic, remove_synthetic
from rebalance_core.system.files import read_json, write_bytes, write_json
from rebalance_core.training_sets.config import SetConfig
from rebalance_core.training_sets.load import Images, load_part
from rebalance_core.training_sets.resolve import make_set, open_set
from rebalance_core.workspace import Workspace

SHORT = {"epochs": 2}


def do(workspace: Workspace, kind: str, config: Config) -> RunView:
    path = create_run(workspace, kind, config.model_dump(mode="json"), name=kind)
    execute(workspace, RunDirectory(path))
    return view_run(path)


def put(workspace: Workspace, name: str, image: str, pixels: np.ndarray) -> None:
    write_bytes(workspace.synthetic / name / image, png_bytes(pixels))


@pytest.fixture
def generated(workspace: Workspace, phantom: Dataset) -> str:
    """Noise, except for a copy of a training image (glioma 3) and near-copies (glioma 5 to 7)."""
    name = synthetic_set(workspace, "ddpm", "phantom")
    real = load_part(phantom, open_set(workspace, "phantom"), "train", 32)
    put(workspace, name, "glioma/000003.png", real.images[real.labels == 0][2])
    twin = open_synthetic(workspace, name).images("glioma")[5]
    put(workspace, name, "glioma/000006.png", twin)
    put(workspace, name, "glioma/000007.png", twin)
    return name


def test_scores_find_near_copies_and_have_a_floor(workspace: Workspace, generated: str) -> None:
    view = do(workspace, "score", ScoreConfig(synthetic=generated, **SHORT))
    scores = read_scores(view)
    assert scores.network == "a ResNet-18 trained on the real images of phantom"
    glioma = scores.classes["glioma"]
    # nine real images: too few to halve into more than five neighbours
    assert (glioma.images, glioma.real, glioma.compared) == (10, 9, 4)
    assert glioma.metrics["near_copy_rate"].generated == 0.1
    assert set(glioma.metrics) == {"near_copy_rate", "label_accuracy"}
    assert glioma.warnings == [
        "glioma: too few images to split in halves (4 per side); only near-copies and the "
        "classification are reported."
    ]


def test_scores_of_the_real_images_themselves_are_their_floor(
    workspace: Workspace, phantom: Dataset
) -> None:
    """Generated images that are the training images: all metrics are at their floor but copies."""
    training_set = open_set(workspace, "phantom")
    real = load_part(phantom, training_set, "train", 32)
    images = real.images[real.labels == training_set.classes.index("notumor")]
    for k, pixels in enumerate(images):
        put(workspace, "same", f"notumor/{k:06d}.png", pixels)
    write_json(
        workspace.synthetic / "same" / "provenance.json",
        {
            "generator": "ddpm",
            "run": "none",
            "seed": 0,
            "size": 32,
            "sampler": {},
            "filters": [],
            "training_set": training_set.to_json(),
            "counts": {"notumor": len(images)},
        },
    )
    scores = read_scores(do(workspace, "score", ScoreConfig(synthetic="same", **SHORT)))
    notumor = scores.classes["notumor"]
    assert notumor.compared == len(images) // 2
    metrics = notumor.metrics
    assert metrics["near_copy_rate"].generated == 1.0
    assert set(metrics) == set(METRICS)
    assert metrics["frechet"].generated < 2 * metrics["frechet"].real
    assert metrics["coverage"].generated > 0.9
    assert "are few" in notumor.warnings[0]


def test_metrics_of_distant_features_are_far_from_their_floor() -> None:
    random = np.random.default_rng(0)
    real, far = random.normal(size=(120, 8)), random.normal(10.0, size=(90, 8))
    metrics = compare_to_floor(real, far, 60, seed=0)
    assert metrics["frechet"].real is not None and metrics["frechet"].real < 5
    # the means lie 10 apart in each of 8 dimensions: about 800
    assert metrics["frechet"].generated == pytest.approx(800, rel=0.1)
    assert [metrics[n].generated for n in ("precision", "recall", "density", "coverage")] == [0] * 4
    same = compare_to_floor(real, real, 60, seed=0)
    assert same["kernel"].real == pytest.approx(0.0, abs=120)
    assert same["coverage"].generated == pytest.approx(1.0, abs=0.1)


def test_a_scorer_is_trained_once_and_resumes_exactly(
    workspace: Workspace, generated: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calm = do(workspace, "score", ScoreConfig(synthetic=generated, epochs=3))
    expected = read_scores(calm)
    (stored,) = (open_dataset(workspace, "phantom").path / "scorers").iterdir()
    assert {p.name for p in stored.iterdir()} >= {"config.json", "model.safetensors", "scorer.json"}
    again = do(workspace, "score", ScoreConfig(synthetic=generated, epochs=3))
    assert read_scores(again) == expected
    assert read_metrics(again.path) == [], "nothing was trained"
    # stopped after its first epoch, without the kept one
    for file in stored.iterdir():
        file.unlink()
    stored.rmdir()
    path = create_run(
        workspace, "score", ScoreConfig(synthetic=generated, epochs=3).model_dump(), name="s"
    )
    run = RunDirectory(path)
    log = run.log

    def stop_then(step: int, **numbers: Any) -> None:
        log(step, **numbers)
        if step == 1:
            run.stop()

    monkeypatch.setattr(run, "log", stop_then)
    with pytest.raises(Cancelled):
        execute(workspace, run)
    execute(workspace, RunDirectory(path))
    assert read_scores(view_run(path)) == expected

    def losses(view: RunView) -> list[float]:
        return [m["loss scorer"] for m in read_metrics(view.path) if "loss scorer" in m]

    assert losses(view_run(path)) == losses(calm)
    starts = [m["step"] for m in read_metrics(path) if m.get("event") == "start"]
    assert starts == [0, 1]


def test_filters_remove_exactly_their_images_and_do_not_change_the_source(
    workspace: Workspace, generated: str
) -> None:
    before = {p: p.read_bytes() for p in (workspace.synthetic / generated).rglob("*.png")}
    config = FilterConfig(
        synthetic=generated,
        name="clean",
        copies=True,
        twins=True,
        without=("glioma/000000.png", "glioma/000003.png"),
    )
    view = do(workspace, "filter", config)
    assert view.result["kept"] == {"glioma": 6, "meningioma": 10, "pituitary": 10}
    synthetic = open_synthetic(workspace, "clean")
    assert [f.name for f in synthetic.files("glioma")] == [
        f"00000{k}.png" for k in (1, 2, 4, 5, 8, 9)
    ]
    assert synthetic.counts == {"glioma": 6, "meningioma": 10, "pituitary": 10}
    assert synthetic.images("glioma").shape == (6, 32, 32, 1)
    removed_by = {step.name: step.removed["glioma"] for step in synthetic.provenance.filters}
    assert removed_by == {
        "by hand": ["glioma/000000.png", "glioma/000003.png"],
        "copies": [],  # removed by hand already
        "twins": ["glioma/000006.png", "glioma/000007.png"],
    }
    assert {p: p.read_bytes() for p in before} == before, "the source is not changed"
    removed = removed_images(workspace, synthetic, "glioma")
    assert [(each.image, each.reason) for each in removed] == [
        ("glioma/000000.png", "removed by hand"),
        ("glioma/000003.png", "removed by hand"),
        ("glioma/000006.png", "near-copy of an earlier generated image"),
        ("glioma/000007.png", "near-copy of an earlier generated image"),
    ]
    assert removed[0].file == workspace.synthetic / generated / "glioma/000000.png"
    about = synthetic.summary["filters"]
    assert [(f["name"], f["value"], f["from"], f["set"]) for f in about] == [
        ("by hand", 2, generated, None),
        ("copies", True, generated, "phantom"),
        ("twins", True, generated, None),
    ]
    assert about[0]["removed"] == {"glioma": 2, "meningioma": 0, "pituitary": 0}
    assert synthetic.origin.endswith(", filtered: by hand, copies, twins")


def test_a_filter_by_the_scorer_records_its_exposure_which_a_comparison_checks(
    workspace: Workspace, generated: str
) -> None:
    config = FilterConfig(synthetic=generated, name="sure", distance=1.0, **SHORT)
    try:
        do(workspace, "filter", config)
    except UserError as error:  # noise may be too far as a whole
        assert "would remove all images of" in str(error)
        assert "sure" not in list_synthetic(workspace)
        config = FilterConfig(synthetic=generated, name="sure", confidence=0.0001, **SHORT)
        do(workspace, "filter", config)
    synthetic = open_synthetic(workspace, "sure")
    (step,) = synthetic.provenance.filters
    assert step.training_set.name == "phantom"
    synthetic.check_fits(open_set(workspace, "phantom"))
    few = make_set(workspace, "few", SetConfig(dataset="phantom", skew="notumor=20"))
    # a generator that saw few, and a filter that saw more
    path = synthetic.path / "provenance.json"
    write_json(path, {**read_json(path), "training_set": few.to_json()})
    with pytest.raises(
        UserError, match=r"The filter \w+ of sure was exposed to 28 images outside .* few"
    ):
        open_synthetic(workspace, "sure").check_fits(few)


def test_an_image_is_too_far_by_the_quantile_of_real_distances() -> None:
    real = np.array([[0.0], [1.0], [3.0]])  # nearest others: 1, 1, 2
    features = np.array([[-0.9], [4.5], [5.5]])  # 0.9, 1.5 and 2.5 from the nearest
    assert is_too_far(features, real, 1.0).tolist() == [False, False, True]
    assert is_too_far(features, real, 0.5).tolist() == [False, True, True]
    assert not is_too_far(features, real[:1], 0.5).any()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("score", "nothing"), "There is no synthetic set 'nothing'"),
        (("score", "../phantom-ddpm"), "There is no synthetic set '../phantom-ddpm'"),
        (("score", "phantom-ddpm", "--features", "fid"), "features='fid' does not fit"),
        (("score", "phantom-ddpm", "--features", "vgg16"), "weights of vgg16 are not available"),
        (("filter", "phantom-ddpm", "x"), "No filter is set"),
        (("filter", "phantom-ddpm", "phantom-ddpm", "--twins"), "already exists"),
        (("filter", "phantom-ddpm", "../x", "--twins"), "cannot be used as a synthetic set name"),
        (("filter", "nothing", "x", "--twins"), "There is no synthetic set 'nothing'"),
        (("filter", "phantom-ddpm", "x", "--confidence", 0), "confidence=0.0 does not fit"),
        (("filter", "phantom-ddpm", "x", "--distance", 2), "distance=2.0 does not fit"),
        (
            ("filter", "phantom-ddpm", "x", "--without", "../../runs/a.png"),
            "has no image '../../runs/a.png'",
        ),
    ],
)
def test_invalid_commands_are_refused_in_one_sentence(
    arguments: tuple[object, ...], sentence: str, workspace: Workspace, phantom: Dataset
) -> None:
    synthetic_set(workspace, "ddpm", "phantom", count=2)
    done = command(workspace.root, *arguments)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not workspace.runs.exists() or not list(workspace.runs.iterdir())


def test_filters_that_would_remove_a_whole_class_are_refused(
    workspace: Workspace, phantom: Dataset
) -> None:
    name = synthetic_set(workspace, "ddpm", "phantom", count=2)
    everything = ("glioma/000000.png", "glioma/000001.png")
    config = FilterConfig(synthetic=name, name="none", without=everything)
    check_filter(workspace, config)
    with pytest.raises(UserError, match="would remove all images of glioma; relax them"):
        do(workspace, "filter", config)
    assert list_synthetic(workspace) == [name]


def test_commands_score_and_filter(workspace: Workspace, generated: str) -> None:
    scored = command(workspace.root, "score", generated, "--epochs", 1, "--json")
    assert scored.returncode == 0, scored.stderr
    scores = json.loads(scored.stdout)["scores"]
    assert scores["classes"]["glioma"]["figures"]["near_copy_rate"]["generated"] == 0.1
    filtered = command(workspace.root, "filter", generated, "clean", "--copies", "--json")
    assert filtered.returncode == 0, filtered.stderr
    assert open_synthetic(workspace, "clean").counts["glioma"] == 9


def test_a_killed_filter_resumes(workspace: Workspace, generated: str, tmp_path: Path) -> None:
    config = FilterConfig(synthetic=generated, name="clean", twins=True)
    path = create_run(workspace, "filter", config.model_dump(mode="json"), name="f")
    aside = workspace.partial_samples(path.name)
    stored = (workspace.synthetic / generated / "glioma" / "000001.png").read_bytes()
    write_bytes(aside / "glioma" / "000001.png", stored)  # as a kill leaves it
    execute(workspace, RunDirectory(path))
    assert open_synthetic(workspace, "clean").counts["glioma"] == 8
    execute(workspace, RunDirectory(path))  # killed after the rename
    assert view_run(path).result["synthetic"] == "clean"


def without(workspace: Workspace, source: str, name: str, *images: str, **more: Any) -> None:
    thrown = tuple(f"glioma/{image}.png" for image in images)
    config = FilterConfig(synthetic=source, name=name, without=thrown, **more)
    do(workspace, "filter", config)


def test_a_near_copy_of_a_removed_image_stays(workspace: Workspace, generated: str) -> None:
    without(workspace, generated, "clean", "000005", twins=True)
    remaining = [f.stem[-1] for f in open_synthetic(workspace, "clean").files("glioma")]
    assert remaining == ["0", "1", "2", "3", "4", "6", "8", "9"], "7 is 6's twin, and 6 nobody's"


def test_removed_images_are_deleted_with_their_set_and_never_another_sets(
    workspace: Workspace, generated: str
) -> None:
    without(workspace, generated, "clean", "000001")
    synthetic = open_synthetic(workspace, "clean")
    assert removed_images(workspace, synthetic, "glioma")[0].file is not None
    assert removed_images(workspace, synthetic, "pituitary") == []
    remove_synthetic(workspace, generated)
    removed = removed_images(workspace, synthetic, "glioma")
    assert [(each.image, each.file) for each in removed] == [("glioma/000001.png", None)]
    assert synthetic_set(workspace, "ddpm", "phantom", count=3) == generated  # another of its name
    assert removed_images(workspace, synthetic, "glioma") == removed


def test_a_set_with_gaps_is_read_like_any_other(workspace: Workspace, generated: str) -> None:
    """Filtered twice: sets are read by the files that exist."""
    without(workspace, generated, "once", "000000")
    without(workspace, "once", "twice", "000004")
    synthetic = open_synthetic(workspace, "twice")
    dataset, training_set = open_dataset(workspace, "phantom"), open_set(workspace, "phantom")
    synthetic.check_images(dataset.channels)
    first = [f.name for f in synthetic.files("glioma")[:4]]
    assert first == ["000001.png", "000002.png", "000003.png", "000005.png"]
    real = load_part(dataset, training_set, "train", 32)
    added = added_images(synthetic, {"glioma": 4}, training_set.classes, real)
    assert np.array_equal(added.images, synthetic.images_of(synthetic.files("glioma")[:4]))
    lines = rebalanced_files(dataset, training_set, synthetic, {"glioma": 4})
    names = [name for name, _, line in lines if line["kind"] != "real"]
    assert names == [f"glioma/ddpm_{name}" for name in first]
    assert len(sample_rows(dataset, synthetic, "glioma", 4).generated) == 4
    removed = [(each.image, each.file) for each in removed_images(workspace, synthetic, "glioma")]
    assert removed == [
        ("glioma/000000.png", workspace.synthetic / generated / "glioma/000000.png"),
        ("glioma/000004.png", workspace.synthetic / "once" / "glioma/000004.png"),
    ]
    once = open_synthetic(workspace, "once").provenance
    assert synthetic.provenance.earlier_runs == ["none", once.sample_run]


def test_every_filter_exposed_to_other_images_is_found(
    workspace: Workspace, generated: str
) -> None:
    few = make_set(workspace, "few", SetConfig(dataset="phantom", skew="notumor=20"))
    path = workspace.synthetic / generated / "provenance.json"
    step = {"name": "copies", "value": True, "removed": {}, "from": {"name": "x", "provenance": ""}}
    full = open_set(workspace, "phantom").to_json()
    steps = [{**step, "training_set": seen} for seen in (full, few.to_json())]
    write_json(path, {**read_json(path), "training_set": few.to_json(), "filters": steps})
    with pytest.raises(
        UserError, match="The filter copies of phantom-ddpm was exposed to 28 images outside"
    ):
        open_synthetic(workspace, generated).check_fits(few)
    write_json(path, {**read_json(path), "filters": steps[1:]})
    open_synthetic(workspace, generated).check_fits(few)
    other = {**few.to_json(), "fingerprint": "another"}
    write_json(path, {**read_json(path), "filters": [{**step, "training_set": other}]})
    with pytest.raises(
        UserError, match="The filter copies of phantom-ddpm was exposed to dataset phantom, "
    ):
        open_synthetic(workspace, generated).check_fits(few)


def test_scores_of_an_earlier_set_of_the_same_name_are_ignored(
    workspace: Workspace, phantom: Dataset
) -> None:
    synthetic = open_synthetic(workspace, synthetic_set(workspace, "ddpm", "phantom", count=2))
    config = ScoreConfig(synthetic=synthetic.name).model_dump(mode="json")
    path = create_run(workspace, "score", config, name="score")
    assert find_scoring(workspace, synthetic) is not None, "a queued run scores this set"
    score = {"images": 2, "real": 9, "compared": 2, "figures": {"frechet": {"generated": 1.0}}}
    write_json(
        path / "result" / "scores.json",
        {"provenance": synthetic.provenance.digest, "network": "x", "classes": {"glioma": score}},
    )
    RunDirectory(path).end("done")
    view = find_scoring(workspace, synthetic)
    assert view is not None and view.id == path.name
    remove_synthetic(workspace, synthetic.name)
    again = open_synthetic(workspace, synthetic_set(workspace, "ddpm", "phantom", count=3))
    assert find_scoring(workspace, again) is None


def test_image_names_are_parsed_with_commas_or_one_by_one() -> None:
    assert parse_image_names(["a/1.png,a/2.png", " b/3.png , a/1.png"]) == (
        "a/1.png",
        "a/2.png",
        "b/3.png",
    )
    assert parse_image_names(["one, two/1.png,one, two/2.png"]) == (
        "one, two/1.png",
        "one, two/2.png",
    )
    assert parse_image_names([]) == parse_image_names([""]) == ()


def test_no_distance_is_called_fid() -> None:
    every: tuple[Features, ...] = get_args(Features)
    titles_by_features = {
        f: titles(ScoreConfig(synthetic="x", features=f))["frechet"] for f in every
    }
    assert titles_by_features.pop("inception") == "Fréchet distance (Inception, torchvision)"
    assert set(titles_by_features.values()) == {"Fréchet distance"}


@pytest.mark.parametrize(
    ("half", "dimensions", "sentence"),
    [
        (5, 0, "too few images to split in halves"),
        (20, 32, "20 images per side, fewer than the 32 dimensions of the Fréchet distance, are"),
        (40, 32, "40 images per side are few"),
        (60, 2048, "60 images per side are fewer than the 2048 dimensions of the Fréchet distance"),
        (60, 32, None),
    ],
)
def test_few_images_give_one_warning(half: int, dimensions: int, sentence: str | None) -> None:
    warnings = few_images_warnings("glioma", half, dimensions)
    assert len(warnings) == (sentence is not None)
    for line in warnings:
        assert line.startswith("glioma: ") and str(sentence) in line
        assert line.count(". ") == 0


def test_a_filter_needs_the_device_only_with_the_scorer() -> None:
    needs = JOBS["filter"].needs_device
    hand = FilterConfig(synthetic="a", name="b", twins=True, without=("x/0.png",)).model_dump()
    assert not needs(hand)
    assert needs({**hand, "confidence": 0.8})
    assert needs({**hand, "distance": 0.9})


def test_runs_on_a_synthetic_set_depend_on_its_dataset(
    workspace: Workspace, phantom: Dataset
) -> None:
    name = synthetic_set(workspace, "ddpm", "phantom", count=2)
    for kind in ("score", "filter"):
        create_run(workspace, kind, {"synthetic": name, "name": "clean"}, name=kind)
    create_run(workspace, "score", {"synthetic": "of another dataset"}, name="score")
    kinds = sorted(view.kind for view in dataset_dependents(workspace, "phantom").runs)
    assert kinds == ["filter", "score"]


def test_partial_samples_of_a_filter_are_removed_with_its_run(
    workspace: Workspace, phantom: Dataset
) -> None:
    path = create_run(workspace, "filter", {}, name="f")
    removed = f"{path.name}0"
    for run in (path.name, removed):
        write_bytes(workspace.partial_samples(run) / "glioma" / "000000.png", b"x")
    write_bytes(workspace.synthetic / ".by somebody-filter-1" / "x", b"x")
    remove_all_leftovers(workspace)
    remaining = {p.name for p in workspace.synthetic.iterdir()}
    assert remaining == {f".{path.name}", ".by somebody-filter-1"}


@pytest.mark.parametrize(("side", "read"), [(8, 32), (600, 512)])
def test_a_scorer_resizes_images_to_a_size_it_supports(
    side: int, read: int, workspace: Workspace, phantom: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """External sets have 4 to 1,024 px; a classifier's config allows 16 to 512."""
    trained_on: list[Any] = []

    def stop(config: ClassifierConfig, real: Images, *rest: Any, **more: Any) -> None:
        trained_on.extend((config.size, real.images.shape))
        raise Cancelled

    monkeypatch.setattr("rebalance_core.classifiers.features.train_scorer", stop)
    real = Images(np.zeros((2, side, side, 1), np.uint8), np.zeros(2, int), ("a", "b"))
    with pytest.raises(Cancelled):
        load_or_train_scorer(phantom, open_set(workspace, "phantom"), real, 1, 0, MemoryRun())
    assert trained_on == [read, (2, read, read, 1)]
