"""A comparison that is also evaluated on another dataset, on which nothing is trained or chosen."""

from pathlib import Path

import numpy as np
import pytest
from sets import synthetic_set
from test_grid import config_of, finished

from rebalance_core.comparison.cells import check_compare
from rebalance_core.comparison.records import read_cells
from rebalance_core.comparison.results import read_results
from rebalance_core.datasets.dataset import Dataset
from rebalance_core.datasets.importing import import_dataset
from rebalance_core.datasets.source import ImportConfig
from rebalance_core.errors import UserError
from rebalance_core.imaging.grid import png_bytes
from rebalance_core.runs.run import MemoryRun
from rebalance_core.system.files import read_json
from rebalance_core.workspace import Workspace


@pytest.fixture
def other(workspace: Workspace) -> Dataset:
    """Another phantom, of 60 images."""
    source = ImportConfig(name="other", source="phantom", count=60, size=32, seed=9)
    return import_dataset(workspace, source, MemoryRun())


def test_every_classifier_is_evaluated_on_all_images_of_another_dataset(
    workspace: Workspace, phantom: Dataset, other: Dataset
) -> None:
    synthetic_set(workspace, "ddpm", "phantom")
    arms = ("none", "oversample", "ddpm")
    run = finished(workspace, arms=arms, seeds=(0, 1, 2), external="other")
    cells = read_cells(run)
    labels = other.catalogue["class"].map(phantom.classes.index).to_numpy()
    for cell in cells:
        assert cell.external is not None
        assert cell.external.fingerprint == other.fingerprint
        with np.load(run / "result" / "cells" / f"{cell.cell}-external.npz") as kept:
            predictions = kept["probabilities"].argmax(axis=1)
            assert kept["images"].tolist() == other.catalogue["image"].tolist()
        accuracy = float((predictions == labels).mean())
        assert cell.external.test.measures["accuracy"] == pytest.approx(accuracy)
    findings = read_results(workspace, run)
    assert findings is not None
    external = findings.external
    assert external is not None
    assert (external.dataset, external.images) == ("other", 60)
    mean = np.mean([c.external.test.primary for c in cells if c.external and c.arm == "none"])
    assert external.results[0].measures["macro_f1"] == pytest.approx(mean)
    assert external.claim is not None
    assert findings.claim is not None
    assert external.claim.primary == findings.claim.primary
    assert (
        "On other, 60 images on which nothing was trained or chosen"
        in (run / "result" / "report.html").read_text()
    )
    # a classifier that was not evaluated there is trained again, one that was is reused
    plain = finished(workspace, arms=("none",), seeds=(7,))
    assert read_cells(plain)[0].external is None
    again = finished(workspace, arms=("none",), seeds=(0, 7), external="other")
    taken = {cell.seed: cell.taken_from for cell in read_cells(again)}
    assert taken == {0: run.name, 7: None}
    assert read_json(again / "result" / "results.json")["external"]["images"] == 60


def test_an_external_dataset_has_the_same_classes_and_other_images(
    workspace: Workspace, phantom: Dataset, tmp_path: Path
) -> None:
    def refusal(name: str) -> str:
        with pytest.raises(UserError) as error:
            check_compare(workspace, config_of(external=name))
        return str(error.value)

    assert refusal("phantom") == "phantom is the dataset that is compared on; name another one."
    for label in ("cat", "dog"):
        (tmp_path / "s" / label).mkdir(parents=True)
        for k in range(4):
            pixels = np.random.default_rng(k).integers(0, 255, (32, 32), np.uint8)
            (tmp_path / "s" / label / f"{k}{label}.png").write_bytes(png_bytes(pixels + len(label)))
    import_dataset(workspace, ImportConfig(name="pets", source=str(tmp_path / "s")), MemoryRun())
    assert refusal("pets").startswith("Dataset pets has the classes cat, dog, not those of phantom")
    for image in phantom.catalogue["image"]:
        target = tmp_path / "part" / image
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(phantom.read_original(image))
        if len(list((tmp_path / "part").rglob("*.png"))) == 119:
            break
    source = ImportConfig(name="part", source=str(tmp_path / "part"))
    import_dataset(workspace, source, MemoryRun())
    assert refusal("part") == (
        "119 images of part are also in phantom, byte for byte; evaluate on a dataset of other "
        "images."
    )
