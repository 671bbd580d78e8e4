"""Manifests and training sets with hostile content: read as they are, or refused in a sentence."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hostile import BYTES, corruptions, replace_file

from rebalance_core.datasets.dataset import list_datasets, open_dataset
from rebalance_core.datasets.importing import import_dataset
from rebalance_core.datasets.manifest import Manifest, UnreadableFile, read_manifest
from rebalance_core.datasets.source import ImportConfig
from rebalance_core.errors import UserError
from rebalance_core.runs.run import MemoryRun
from rebalance_core.system.files import read_json, write_json
from rebalance_core.training_sets.config import SetConfig
from rebalance_core.training_sets.resolve import TrainingSet, make_set, open_sets, read_set
from rebalance_core.workspace import Workspace

Change = Callable[[dict[str, Any]], object]

# The names of the hostile values that a field may hold; every other is refused.
SCALARS = "null, 5, -1, 1.5, x, true, 1e300, large integer, missing"
MANIFEST = {
    "format": "",
    "classes": "",
    "classes.0": "x, missing",
    "channels": "true",
    "fingerprint": "",
    "catalogue": "",
    "source": "object",
    "source.name": SCALARS,
    "unreadable": "list",
    "unreadable.0": "missing",
    "unreadable.0.image": "x",
    "unreadable.0.reason": "x",
    "created": "5, 1.5",
}
TRAINING_SET = {
    "name": "x",
    "config": "",
    "config.dataset": "x",
    "config.split": "missing",
    "config.difference": "missing",
    "config.skew": "x, missing",
    "config.poses": "list, missing",
    "config.limit": "null, 5, large integer, missing",
    "config.validation": "missing",
    "config.fit": "missing",
    "config.seed": "5, true, missing",
    "fingerprint": "x",
    "classes": "",
    "classes.0": "",
    "counts": "",
    "counts.glioma": "",
    "train": "",
    "train.0": "x",
    "validation": "list",
    "validation.0": "x, missing",
    "test": "list",
    "test.0": "x, missing",
    "dropped": "object, missing",
    "dropped.train": "5, missing",
    "another": "missing",
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace with the dataset `p`, the healthy set `s` and the set `a` to be damaged."""
    workspace = Workspace(tmp_path_factory.mktemp("home"))
    config = ImportConfig(name="p", source="phantom", count=40, size=16)
    import_dataset(workspace, config, MemoryRun())
    for name in ("a", "s"):
        make_set(workspace, name, SetConfig(dataset="p"))
    return workspace


@pytest.fixture(scope="module")
def manifest(home: Workspace) -> dict[str, Any]:
    listed = [{"image": "a.png", "reason": "the file is empty"}]
    value: dict[str, Any] = read_json(home.datasets / "p" / "manifest.json")
    return value | {"unreadable": listed}


@pytest.fixture(scope="module")
def training_set(home: Workspace) -> dict[str, Any]:
    value: dict[str, Any] = read_json(home.sets / "a.json")
    return value | {"dropped": {"train": 3}}


def refusal(read: Callable[[Path], object], path: Path) -> str | None:
    """The sentence with which a record is refused, or None."""
    try:
        read(path)
    except UserError as error:
        sentence = str(error)
        assert sentence.endswith(".") and "\n" not in sentence and len(sentence) < 1000
        return sentence
    return None


@pytest.mark.parametrize("field", MANIFEST)
def test_a_manifest_with_a_hostile_value_is_refused(
    manifest: dict[str, Any], tmp_path: Path, field: str
) -> None:
    accepted = set()
    for name, content in corruptions(manifest, field):
        replace_file(tmp_path / "manifest.json", content)
        sentence = refusal(read_manifest, tmp_path)
        if sentence is None:
            accepted.add(name)
        elif field != "format":
            assert sentence.startswith(f"Dataset {tmp_path.name} is damaged (manifest.json"), name
            assert sentence.endswith("); remove it and import it again."), name
    assert accepted == set(filter(None, MANIFEST[field].split(", ")))


@pytest.mark.parametrize("field", TRAINING_SET)
def test_a_training_set_with_a_hostile_value_is_refused(
    training_set: dict[str, Any], tmp_path: Path, field: str
) -> None:
    path = tmp_path / "a.json"
    accepted = set()
    for name, content in corruptions(training_set, field):
        replace_file(path, content)
        sentence = refusal(read_set, path)
        if sentence is None:
            accepted.add(name)
        else:
            assert sentence.startswith(f"{path} is damaged ("), name
            assert sentence.endswith("); make it again, or remove it."), name
    assert accepted == set(filter(None, TRAINING_SET[field].split(", ")))


@pytest.mark.parametrize("content", BYTES.values(), ids=BYTES)
def test_a_record_that_is_not_an_object_is_refused_and_hides_no_other(
    home: Workspace, tmp_path: Path, content: bytes
) -> None:
    replace_file(tmp_path / "manifest.json", content)
    sentence = refusal(read_manifest, tmp_path)
    assert sentence is not None
    assert sentence.startswith(f"Dataset {tmp_path.name} is damaged (manifest.json")
    replace_file(home.sets / "a.json", content)
    found, damaged = open_sets(home)
    assert ([each.name for each in found], list(damaged)) == (["s"], ["a"])
    assert damaged["a"].startswith(f"{home.sets / 'a.json'} is damaged (")
    assert list_datasets(home) == ["p"]
    assert open_dataset(home, "p").channels == 1


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda v: v["classes"].append("glioma"), "a class is listed twice"),
        (lambda v: v["classes"].append("owl"), "counts are not those of the classes"),
        (lambda v: v["counts"].update(owl=1), "counts are not those of the classes"),
        (lambda v: v["train"].pop(), "counts do not add up to the number of training images"),
        (
            lambda v: v["counts"].update(glioma=2**52),
            "counts do not add up to the number of training images",
        ),
        (lambda v: v["test"].append(v["train"][0]), "an image is listed twice"),
        (lambda v: v["validation"].append(v["validation"][0]), "an image is listed twice"),
        (
            lambda v: v["counts"].update(glioma=10**400),
            "counts.glioma: input should be less than 9007199254740992",
        ),
        (
            lambda v: v["config"].update(validation=float("nan")),
            "config.validation: input should be less than 0.9",
        ),
        (lambda v: v.pop("test"), "test: field required"),
    ],
)
def test_a_training_set_that_contradicts_itself_is_refused(
    training_set: dict[str, Any], tmp_path: Path, change: Change, problem: str
) -> None:
    path = tmp_path / "a.json"
    write_json(path, training_set)
    value = read_json(path)
    change(value)
    write_json(path, value)
    assert refusal(read_set, path) == (
        f"{path} is damaged ({problem}); make it again, or remove it."
    )


def test_healthy_records_are_read_as_they_were_written(
    home: Workspace, manifest: dict[str, Any], training_set: dict[str, Any]
) -> None:
    record = Manifest.model_validate(manifest)
    assert record.unreadable == [UnreadableFile(image="a.png", reason="the file is empty")]
    assert record.source["source"] == "phantom"
    assert record.model_dump(mode="json") == manifest
    assert TrainingSet.from_json(training_set).to_json() == training_set
