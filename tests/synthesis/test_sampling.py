"""Sampling from the command line: refusals before any work, and the grid of a set."""

import json
from pathlib import Path

import numpy as np
import pytest
from commands import command
from PIL import Image
from sets import synthetic_set

from rebalance_core.datasets.dataset import Dataset
from rebalance_core.generators.training import TrainConfig
from rebalance_core.imaging.grid import png_bytes
from rebalance_core.runs.directory import RunDirectory, create_run
from rebalance_core.runs.executor import RunView, list_runs, view_run
from rebalance_core.runs.worker import execute
from rebalance_core.synthesis.sampling import SampleConfig
from rebalance_core.system.files import write_bytes
from rebalance_core.training_sets.load import load_part
from rebalance_core.training_sets.resolve import open_set
from rebalance_core.workspace import Workspace

TINY = {"size": 16, "widths": (32,), "attention": (), "batch_size": 4, "steps": 1}


def trained(workspace: Workspace, kind: str) -> RunView:
    config = TrainConfig.make(kind, "phantom", "quick", **TINY).model_dump(mode="json")
    path = create_run(workspace, "train", config, name=kind)
    execute(workspace, RunDirectory(path))
    return view_run(path)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            ("--guidance", 2),
            "ddpm does not have the option guidance; its options are sampler, steps.",
        ),
        (("--class", "cat"), "This generator cannot generate class 'cat'"),
        (("--class", "notumor"), "This generator cannot generate class 'notumor'"),
        (("--count", 0), "count=0 does not fit"),
        (("--count", 10_000_000), "count=10000000 does not fit"),
        (("--steps", 1001), "steps=1001 does not fit"),
        (("--sampler", "euler"), "sampler='euler' does not fit"),
    ],
)
def test_options_that_a_ddpm_does_not_have_are_refused_before_any_work(
    options: tuple[object, ...], sentence: str, workspace: Workspace, phantom: Dataset
) -> None:
    view = trained(workspace, "ddpm")
    done = command(workspace.root, "sample", view.id, "x", *options)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert [v.kind for v in list_runs(workspace)] == ["train"]
    assert not workspace.synthetic.exists() or not list(workspace.synthetic.iterdir())


def test_provenance_records_guidance_and_sampler(workspace: Workspace, phantom: Dataset) -> None:
    view = trained(workspace, "conditional-ddpm")
    done = command(
        workspace.root,
        "sample",
        view.id,
        "x",
        "--count",
        2,
        "--guidance",
        1.5,
        "--sampler",
        "unipc",
        "--steps",
        3,
        "--class",
        "glioma",
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads(command(workspace.root, "synthetic", "show", "x", "--json").stdout)
    assert summary["sampler"] == {"sampler": "unipc", "steps": 3, "guidance": 1.5}
    assert summary["counts"] == {"glioma": 2}
    refused = command(workspace.root, "sample", view.id, "y", "--guidance", 21)
    assert "guidance=21.0 does not fit" in refused.stderr


def test_picture_has_each_image_above_its_nearest_training_image(
    workspace: Workspace, phantom: Dataset, tmp_path: Path
) -> None:
    name = synthetic_set(workspace, "ddpm", "phantom", count=5)
    training_set = open_set(workspace, "phantom")
    part = load_part(phantom, training_set, "train", 32)
    label = training_set.minority[0]
    copy = part.images[part.labels == training_set.classes.index(label)][3]
    write_bytes(workspace.synthetic / name / label / "000001.png", png_bytes(copy))
    file = tmp_path / "grid.png"
    done = command(workspace.root, "synthetic", "grid", name, file, "--count", 4)
    assert done.returncode == 0, done.stderr
    pixels = np.asarray(Image.open(file))
    # four images of 64 px across with gaps of 2; two rows a class, 12 px between classes
    assert pixels.shape == (3 * (2 * 64 + 2) + 2 * 12, 4 * 64 + 3 * 2)
    above, below = pixels[:64, 66:130], pixels[66:130, 66:130]
    assert np.array_equal(above, below), "the copy stands above the image it copies"
    assert not np.array_equal(pixels[:64, :64], pixels[66:130, :64])
    for bad in (file, tmp_path / "grid.jpg", tmp_path / "nowhere" / "grid.png"):
        refused = command(workspace.root, "synthetic", "grid", name, bad)
        assert (refused.returncode, "must be a new .png file" in refused.stderr) == (2, True)


def test_a_config_with_options_as_fields_is_read() -> None:
    """As written by version 0.1.0."""
    earlier = {
        "run": "r",
        "name": "s",
        "count": 5,
        "classes": [],
        "seed": 3,
        "sampler": None,
        "steps": 9,
        "truncation": None,
        "guidance": 2.0,
    }
    config = SampleConfig.build(**earlier)
    assert config.options == {"steps": 9, "guidance": 2.0}
    assert SampleConfig.build(**config.model_dump(mode="json")) == config
