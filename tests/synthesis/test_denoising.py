"""Frames of the denoising process: their number, the last one, and refusals."""

from typing import Any

import numpy as np
import pytest
from commands import command
from PIL import Image

from rebalance_core.config import Config
from rebalance_core.datasets.dataset import Dataset
from rebalance_core.errors import UserError
from rebalance_core.generators.training import TrainConfig, load_generator
from rebalance_core.imaging.grid import make_grid
from rebalance_core.runs.directory import RunDirectory, create_run
from rebalance_core.runs.executor import RunView, list_runs, view_run
from rebalance_core.runs.worker import execute
from rebalance_core.synthesis.denoising import DenoiseConfig, check_denoise
from rebalance_core.synthesis.interpolation import list_frames
from rebalance_core.workspace import Workspace

TINY: dict[str, Any] = {"size": 16, "widths": (32,), "attention": (), "batch_size": 4, "steps": 1}


def do(workspace: Workspace, kind: str, config: Config) -> RunView:
    path = create_run(workspace, kind, config.model_dump(mode="json"), name=kind)
    execute(workspace, RunDirectory(path))
    return view_run(path)


def trained(workspace: Workspace, kind: str) -> RunView:
    return do(workspace, "train", TrainConfig.make(kind, "phantom", "quick", **TINY))


def test_the_last_frame_is_the_sample(workspace: Workspace, phantom: Dataset) -> None:
    training_run = trained(workspace, "conditional-ddpm")
    config = DenoiseConfig(
        run=training_run.id, label="glioma", count=3, frames=5, steps=9, guidance=2.0
    )
    view = do(workspace, "denoise", config)
    pictures = [np.asarray(Image.open(p)) for p in list_frames(view)]
    assert view.result == {"frames": 5}
    assert [p.shape for p in pictures] == [(16, 3 * 16 + 2 * 2)] * 5
    (sampled,) = load_generator(training_run).sample("glioma", 3, 0, steps=9, guidance=2.0)
    assert np.array_equal(pictures[-1], make_grid(sampled, 3)[..., 0])
    assert len({p.tobytes() for p in pictures}) == 5
    # never more pictures than there are steps, and the noise before them
    few = config.model_copy(update={"frames": 21, "options": {**config.options, "steps": 2}})
    assert do(workspace, "denoise", few).result == {"frames": 3}


@pytest.mark.usefixtures("smote")
def test_invalid_configs_are_refused_before_any_work(
    workspace: Workspace, phantom: Dataset
) -> None:
    ddpm, smote = (
        trained(workspace, "ddpm"),
        do(workspace, "train", TrainConfig.make("smote", "phantom", "quick", size=16)),
    )
    with pytest.raises(
        UserError, match=r"trained smote; choose one of ddpm, conditional-ddpm, which denoise"
    ):
        check_denoise(workspace, DenoiseConfig(run=smote.id, label="glioma"))
    with pytest.raises(UserError, match="ddpm does not have the option guidance"):
        check_denoise(workspace, DenoiseConfig(run=ddpm.id, label="glioma", guidance=2.0))
    for words, sentence in (
        ((ddpm.id, "cat"), "cannot generate class 'cat'"),
        ((ddpm.id, "glioma", "--frames", 1), "frames=1 does not fit"),
        ((ddpm.id, "glioma", "--steps", 0), "steps=0 does not fit"),
        (("nothing", "glioma"), "nothing"),
    ):
        done = command(workspace.root, "denoise", *words)
        assert (done.returncode, sentence in done.stderr) == (2, True), done.stderr
    assert {v.kind for v in list_runs(workspace)} == {"train"}
