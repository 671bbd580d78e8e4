"""Test images reserved for later: cut by group, untouched until a comparison names the part."""

import shutil
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from commands import command
from sets import synthetic_set
from test_grid import config_of, finished

from rebalance_core.comparison.cells import check_compare
from rebalance_core.comparison.results import read_results
from rebalance_core.datasets.dataset import Dataset
from rebalance_core.datasets.importing import import_dataset
from rebalance_core.datasets.phantom import draw_phantoms
from rebalance_core.datasets.source import ImportConfig
from rebalance_core.errors import UserError
from rebalance_core.imaging.grid import png_bytes
from rebalance_core.poses.clustering import cluster_poses
from rebalance_core.poses.config import PosesConfig
from rebalance_core.runs.run import MemoryRun
from rebalance_core.runs.start import start_run
from rebalance_core.synthesis.synthetic_set import SyntheticSet, open_synthetic
from rebalance_core.system.files import read_json, write_json
from rebalance_core.training_sets.config import SetConfig
from rebalance_core.training_sets.evaluations import describe_parts, record_evaluation
from rebalance_core.training_sets.resolve import (
    TrainingSet,
    make_set,
    make_subset,
    open_set,
    resolve_set,
)
from rebalance_core.workspace import Workspace


def labels_of(dataset: Dataset, ids: tuple[str, ...]) -> Counter[str]:
    table = dataset.catalogue["class"].to_numpy()
    return Counter(table[dataset.rows[i]] for i in ids)


def test_reserved_parts_are_equal_disjoint_and_the_same_for_every_seed_and_skew(
    workspace: Workspace,
) -> None:
    source = ImportConfig(name="many", source="phantom", count=480, size=32)
    dataset = import_dataset(workspace, source, MemoryRun())
    whole = resolve_set(workspace, "whole", SetConfig(dataset="many"))
    assert len(whole.test) == 120
    assert whole.reserved == {}
    made = resolve_set(workspace, "r", SetConfig(dataset="many", reserve=2))
    assert {part: len(ids) for part, ids in made.test_parts.items()} == {
        "open": 40,
        "A": 40,
        "B": 40,
    }
    assert sorted(i for ids in made.test_parts.values() for i in ids) == sorted(whole.test)
    shares = [labels_of(dataset, ids) for ids in made.test_parts.values()]
    assert all(max(s[c] for s in shares) - min(s[c] for s in shares) <= 1 for c in dataset.classes)
    assert (made.train, made.validation) == (whole.train, whole.validation)
    for changes in ({"seed": 3}, {"skew": "step:4"}, {"limit": 50}):
        other = resolve_set(workspace, "r", SetConfig(dataset="many", reserve=2, **changes))
        assert other.test_parts == made.test_parts
    assert make_subset_parts(workspace, dataset, made) == made.test_parts
    config = SetConfig(dataset="many", reserve=2, test_seed=1)
    assert resolve_set(workspace, "r", config).test_parts != made.test_parts


def make_subset_parts(
    workspace: Workspace, dataset: Dataset, parent: TrainingSet
) -> dict[str, tuple[str, ...]]:
    cluster_poses(dataset, PosesConfig(dataset="many", k=2), MemoryRun())
    return make_subset(workspace, "posed", parent, ("pose 1",)).test_parts


def test_copies_and_patients_are_in_one_part(workspace: Workspace, tmp_path: Path) -> None:
    """Mirrored copies of test images, and images of one patient."""
    count = 60
    pictures = draw_phantoms(np.zeros(count, int), np.arange(count) % 3, size=64, seed=0)
    lines = ["path,label,split,group"]
    for k, picture in enumerate(pictures):
        label, split = "ab"[k % 2], "test" if k < 40 else "train"
        patient = f"p{k // 4}" if k < 20 else ""
        (tmp_path / f"{k}.png").write_bytes(png_bytes(picture))
        lines.append(f"{k}.png,{label},{split},{patient}")
        if 20 <= k < 40:
            (tmp_path / f"{k}m.png").write_bytes(png_bytes(picture[:, ::-1]))
            lines.append(f"{k}m.png,{label},{split},")
    (tmp_path / "t.csv").write_text("\n".join(lines))
    source = ImportConfig(name="made", source=str(tmp_path / "t.csv"))
    import_dataset(workspace, source, MemoryRun())
    made = resolve_set(workspace, "r", SetConfig(dataset="made", reserve=2))
    part_of = {i: part for part, ids in made.test_parts.items() for i in ids}
    assert len(part_of) == 60
    stems = {Path(i).stem: part for i, part in part_of.items()}
    assert all(stems[f"{k}"] == stems[f"{k}m"] for k in range(20, 40))
    for patient in range(5):
        assert len({stems[str(k)] for k in range(4 * patient, 4 * patient + 4)}) == 1
    assert all(12 <= len(ids) <= 28 for ids in made.test_parts.values())


def test_a_comparison_evaluates_on_the_part_it_names_and_it_is_remembered(
    workspace: Workspace, phantom: Dataset
) -> None:
    made = make_set(workspace, "held", SetConfig(dataset="phantom", reserve=1))
    nobody = "no comparison of this workspace has evaluated on them"
    assert describe_parts(workspace, made) == [
        f"Test part open: 14 images, {nobody}.",
        f"Test part A: 16 images, {nobody}.",
    ]
    run = finished(workspace, set="held")
    assert read_json(run / "set.json")["test"] == list(made.test)
    opened = f"Test part open: 14 images, run {run.name} on set held has evaluated on 14 of them."
    assert describe_parts(workspace, made) == [opened, f"Test part A: 16 images, {nobody}."]
    second = finished(workspace, set="held", test_part="A")
    assert read_json(second / "set.json")["test"] == list(made.reserved["A"])
    note = "Evaluated on part A of the test images, not on open."
    assert note in read_results(workspace, second).notes
    expected = f"Test part A: 16 images, run {second.name} on set held has evaluated on 16 of them."
    assert describe_parts(workspace, made)[1] == expected
    shutil.rmtree(second)
    assert describe_parts(workspace, made)[1] == expected
    # the same images in the test of another set count as well
    third = finished(workspace, set="phantom")
    assert describe_parts(workspace, made)[0].endswith("and 1 more on other selections.")
    assert third.exists()
    shown = command(workspace.root, "sets", "show", "held", "--json")
    assert '"evaluations"' in shown.stdout


def test_a_part_that_a_set_does_not_have_is_refused(workspace: Workspace, phantom: Dataset) -> None:
    make_set(workspace, "held", SetConfig(dataset="phantom", reserve=1))
    for name, parts in (("held", "open, A"), ("phantom", "open")):
        with pytest.raises(UserError) as excinfo:
            start_run(workspace, config_of(set=name, test_part="B"))
        assert str(excinfo.value) == (
            f"Training set {name} has no reserved part B (its test parts: {parts}); make one with "
            "`sets make --reserve`."
        )


def test_a_damaged_record_of_an_evaluation_is_one_sentence(
    workspace: Workspace, phantom: Dataset
) -> None:
    made = make_set(workspace, "held", SetConfig(dataset="phantom", reserve=1))
    record_evaluation(workspace, made, "some-run")
    path = next(workspace.evaluations.glob("*.json"))
    write_json(path, {**read_json(path), "images": 3})
    sentences = describe_parts(workspace, made)
    assert len(sentences) == 3
    assert sentences[2].startswith(f"{path} is damaged (")


@pytest.mark.parametrize("reserved", [{}, {"A": []}, {"C": []}, {"open": []}, {"Z": []}])
def test_reserved_parts_edited_by_hand_are_refused(
    workspace: Workspace, phantom: Dataset, reserved: dict[str, list[str]]
) -> None:
    made = make_set(workspace, "held", SetConfig(dataset="phantom", reserve=2))
    path = workspace.sets / "held.json"
    value = made.to_json()
    value["reserved"] = {**reserved, "A": [made.train[0]]} if reserved == {"A": []} else reserved
    write_json(path, value)
    with pytest.raises(UserError, match="is damaged"):
        open_set(workspace, "held")


def test_poses_fitted_on_a_set_depend_on_nothing_else(
    workspace: Workspace, phantom: Dataset, tmp_path: Path
) -> None:
    """With noise instead of all images outside the set, its images have the same clusters."""
    made = make_set(workspace, "rare", SetConfig(dataset="phantom", skew="step:3"))
    random = np.random.default_rng(0)
    table = phantom.catalogue
    for image, label, split in table[["image", "class", "split"]].itertuples(index=False):
        data = phantom.read_original(image)
        if image not in made.train:
            data = png_bytes(random.integers(0, 255, (32, 32), np.uint8))
        folder = tmp_path / "other" / ("Training" if split == "train" else "Testing") / label
        folder.mkdir(parents=True, exist_ok=True)
        (folder / Path(image).name).write_bytes(data)
    source = ImportConfig(name="other", source=str(tmp_path / "other"))
    other = import_dataset(workspace, source, MemoryRun())
    clusters = []
    for dataset in (phantom, other):
        config = PosesConfig(dataset=dataset.name, set="rare", k=2)
        images = [i for i in dataset.catalogue["image"] if Path(i).name in names(made.train)]
        clustering = cluster_poses(dataset, config, MemoryRun(), images)
        assert clustering.fitted_on == images
        fitted = clustering.training
        clusters.append(dict(zip(map(name, fitted["image"]), fitted["pose"], strict=True)))
    assert clusters[0] == clusters[1]
    assert len(clusters[0]) == len(made.train)


def name(image: str) -> str:
    return Path(image).name


def names(images: Iterable[str]) -> set[str]:
    return set(map(name, images))


def test_a_set_clustered_by_itself_has_poses_that_saw_nothing_else(
    workspace: Workspace, phantom: Dataset
) -> None:
    made = make_set(workspace, "rare", SetConfig(dataset="phantom", skew="step:3"))
    config = PosesConfig(dataset="phantom", set="rare", k=1)
    cluster_poses(phantom, config, MemoryRun(), made.train)
    subset = make_subset(workspace, "posed", made, ("pose 1",))
    assert set(subset.clustered) == set(made.train)
    assert open_set_images(workspace, "posed").check_poses(made) is None


def open_set_images(workspace: Workspace, set_name: str) -> SyntheticSet:
    return open_synthetic(workspace, synthetic_set(workspace, "ddpm", set_name))


def test_images_that_only_the_poses_saw_are_counted_and_test_images_are_refused(
    workspace: Workspace, phantom: Dataset
) -> None:
    cluster_poses(phantom, PosesConfig(dataset="phantom", k=1), MemoryRun())
    made = make_set(workspace, "rare", SetConfig(dataset="phantom", skew="step:5"))
    make_subset(workspace, "posed", made, ("pose 1",))
    synthetic = open_set_images(workspace, "posed")
    official = int((phantom.catalogue["split"] == "train").sum())
    outside = official - len(made.train)
    held_out = int(phantom.catalogue["image"].isin(made.validation).sum())
    assert synthetic.check_poses(made) == (
        f"The poses behind posed-ddpm were fitted on {outside} images outside the training images, "
        f"{held_out} of them for validation, none for test."
    )
    path = workspace.synthetic / "posed-ddpm" / "provenance.json"
    value = read_json(path)
    value["training_set"]["clustered"] += list(made.test[:2])
    write_json(path, value)
    config = config_of(set="rare", arms=("none", "ddpm"), synthetic={"ddpm": "posed-ddpm"})
    with pytest.raises(UserError) as excinfo:
        check_compare(workspace, config)
    assert str(excinfo.value) == (
        "The poses behind posed-ddpm were fitted on 2 test images of training set rare; cluster on "
        "its training images (`poses cluster phantom --fit-on rare`) and train again."
    )


def test_poses_cannot_be_fitted_on_the_set_of_another_dataset(
    workspace: Workspace, phantom: Dataset
) -> None:
    source = ImportConfig(name="other", source="phantom", count=60, size=32)
    import_dataset(workspace, source, MemoryRun())
    with pytest.raises(UserError, match="Training set other is not of dataset phantom as it is"):
        start_run(workspace, PosesConfig(dataset="phantom", set="other"))
    done = command(workspace.root, "poses", "cluster", "phantom", "--fit-on", "phantom", "--json")
    assert '"fitted_on": {"set": "phantom", "images":' in done.stdout.replace("\n", "")
