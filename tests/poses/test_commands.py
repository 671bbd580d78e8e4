"""The commands `poses …`: stdout, stderr and exit codes."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
from commands import Command, command, process

from rebalance_core import cli
from rebalance_core.catalogue import JOBS
from rebalance_core.datasets.importing import import_dataset
from rebalance_core.datasets.source import ImportConfig
from rebalance_core.imaging.grid import png_bytes
from rebalance_core.runs.run import MemoryRun
from rebalance_core.workspace import Workspace

CLASSES = ("glioma", "meningioma", "notumor", "pituitary")


def run_json(home: Path, *arguments: object, by: Command = command) -> dict[str, Any]:
    done = by(home, "poses", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    value: dict[str, Any] = json.loads(done.stdout)
    return value


def refused(home: Path, *arguments: object) -> str:
    done = command(home, "poses", *arguments, "--json")
    sentence = done.stderr.strip()
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert "\n" not in sentence
    return sentence


def images_of(folder: Path, counts: dict[str, int]) -> Path:
    """A folder with noise images, the given number per class."""
    for label, count in counts.items():
        (folder / label).mkdir(parents=True)
        for number in range(count):
            image = np.random.default_rng(number).integers(0, 255, (16, 16), np.uint8)
            (folder / label / f"{number}.png").write_bytes(png_bytes(image))
    return folder


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a phantom of 200 images, and a dataset whose class `cat` has 2 images;
    of `few`, each class has 4."""
    workspace = Workspace(tmp_path_factory.mktemp("home"))
    config = ImportConfig(name="p", source="phantom", count=200, size=64)
    import_dataset(workspace, config, MemoryRun())
    for name, counts in (("tiny", {"cat": 2, "dog": 6}), ("few", {"cat": 4, "dog": 4})):
        source = images_of(tmp_path_factory.mktemp(name), counts)
        import_dataset(workspace, ImportConfig(name=name, source=str(source)), MemoryRun())
    return workspace.root


@pytest.fixture(scope="module")
def clustered(home: Path) -> dict[str, Any]:
    return run_json(home, "p", by=process)


def table(value: dict[str, Any]) -> list[dict[str, str]]:
    with Path(value["assignments"]).open(newline="") as file:
        return list(csv.DictReader(file))


def test_clustering_prints_the_result_and_the_path_of_assignments(
    home: Path, clustered: dict[str, Any]
) -> None:
    assert (clustered["dataset"], clustered["extractor"], clustered["k"]) == ("p", "hog", 3)
    assert clustered["elbows"] == dict.fromkeys(CLASSES, 3)
    assert clustered["agreement"]["all"] >= 0.95
    assert clustered["agreement"]["same_name"] >= 0.95
    rows = table(clustered)
    assert list(rows[0])[:4] == ["image", "class", "cluster", "pose"]
    assert len(rows) == 200
    assert all(row["image"].split("/")[1] == row["class"] for row in rows)
    assert rows[0]["image"].startswith("Training/glioma/")
    assert sum(clustered["counts"].values()) == 150


def test_renames_moves_and_undo_change_the_same_file(home: Path, clustered: dict[str, Any]) -> None:
    before = {row["image"]: row["pose"] for row in table(clustered)}
    run_json(home, "rename", "p", "pose 1", "axial")
    moved = run_json(home, "move", "p", "odd", "--image", next(iter(before)))
    moved_cluster = run_json(home, "move", "p", "odd", "--cluster", "notumor/2")
    assert moved["assignments"] == moved_cluster["assignments"] == clustered["assignments"]
    assert moved_cluster["corrections"] == [
        "pose 1 renamed to axial",
        "1 image(s) moved to odd",
        "cluster notumor/2 moved to odd",
    ]
    rows = table(clustered)
    odd = {row["image"] for row in rows if row["pose"] == "odd"}
    assert odd == {next(iter(before))} | {
        row["image"] for row in rows if (row["class"], row["cluster"]) == ("notumor", "2")
    }
    assert "3 manual correction(s)" in refused(home, "p", "--k", "2")
    for _ in range(3):
        run_json(home, "undo", "p")
    assert {row["image"]: row["pose"] for row in table(clustered)} == before
    assert run_json(home, "show", "p")["corrections"] == []


def test_options_may_stand_before_the_dataset(home: Path) -> None:
    value = run_json(home, "--k", "2", "--variance", "0.5", "--extractor", "hog", "p")
    assert value["ks"] == dict.fromkeys(CLASSES, 2)
    assert run_json(home, "cluster", "p", "--k", "per-class")["ks"] == dict.fromkeys(CLASSES, 3)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["faces"],
            "There is no dataset 'faces' (there is: few, p, tiny); add it with `datasets add`.",
        ),
        (
            ["p", "--k", "many"],
            "k='many' does not fit PosesConfig: Value error, use auto, "
            "per-class or a number from 1.",
        ),
        (
            ["p", "--extractor", "resnet18"],
            "ResNet-18 needs pretrained weights, which are not available yet; download "
            "them (45 MB) with `poses weights resnet18`, or pass a file with --file.",
        ),
        (
            ["rename", "tiny", "pose 1", "x"],
            "Dataset tiny has no poses yet; run `poses cluster tiny`.",
        ),
        (["move", "p", "x"], "Name either one --cluster CLASS/NUMBER or --image ID (repeat)."),
        (
            ["move", "p", "x", "--cluster", "glioma"],
            "--cluster takes CLASS/NUMBER such as glioma/2, not 'glioma'.",
        ),
    ],
)
def test_what_does_not_fit_is_one_sentence(home: Path, arguments: list[str], sentence: str) -> None:
    assert refused(home, *arguments) == sentence


@pytest.mark.parametrize("name", typer.main.get_command(cli.poses.app).commands)
def test_a_command_of_poses_is_also_a_datasets_name(home: Path, name: str) -> None:
    """What follows `poses cluster` is a dataset, whatever it is called."""
    missing = f"There is no dataset {name!r} (there is: few, p, tiny); add it with `datasets add`."
    assert refused(home, "cluster", name) == missing
    assert refused(home, "cluster", "--k", "2", name) == missing


def test_a_dataset_called_rename_is_clustered_and_renamed(tmp_path: Path) -> None:
    new, images = tmp_path / "home", images_of(tmp_path / "images", {"cat": 4, "dog": 4})
    config = ImportConfig(name="rename", source=str(images))
    import_dataset(Workspace(new), config, MemoryRun())
    advice = "Dataset rename has no poses yet; run `poses cluster rename`."
    assert refused(new, "show", "rename") == advice
    words = advice.partition("`poses ")[2].partition("`")[0].split()
    assert run_json(new, *words, "--k", "2")["dataset"] == "rename"
    assert run_json(new, "rename", "rename", "pose 1", "axial")["corrections"] == [
        "pose 1 renamed to axial"
    ]


def test_weights_from_a_file_are_used_from_then_on(home: Path, tmp_path: Path) -> None:
    from torchvision import models

    torch.manual_seed(0)
    file = tmp_path / "resnet18.pth"
    torch.save(models.resnet18().state_dict(), file)
    assert "gives" not in run_json(home, "weights", "resnet18", "--file", file)
    value = run_json(home, "few", "--extractor", "resnet18", "--k", "2")
    assert (value["extractor"], value["k"]) == ("resnet18", 2)
    (features,) = (home / "datasets" / "few" / "features").iterdir()
    assert features.name.startswith("resnet18")


def test_a_wrong_weights_file_is_one_sentence(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "vgg16.pth"
    file.write_bytes(b"no weights at all")
    done = process(home, "poses", "weights", "vgg16", "--file", file, "--json")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{file} " in done.stderr
    assert done.stderr.strip().endswith("or download them with `poses weights vgg16`.")


@pytest.mark.parametrize(("extractor", "waits"), [("hog", False), ("vgg16", True)])
def test_only_networks_wait_for_the_device(extractor: str, waits: bool) -> None:
    assert JOBS["poses"].needs_device({"extractor": extractor}) is waits
    assert JOBS["train"].needs_device({})
