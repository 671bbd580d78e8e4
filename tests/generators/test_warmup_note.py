"""A training that is mostly warm-up is told before it starts."""

import pytest

from rebalance_core.datasets.dataset import Dataset
from rebalance_core.generators.bagan_gp.config import BaganConfig
from rebalance_core.generators.diffusion.config import DdpmConfig, DiffusionConfig
from rebalance_core.generators.diffusion.cost import warmup_notes
from rebalance_core.generators.estimate import estimate_in_workspace
from rebalance_core.training_sets.config import SetConfig
from rebalance_core.training_sets.resolve import make_set
from rebalance_core.workspace import Workspace


@pytest.mark.parametrize(
    ("lengths", "effect"),
    [
        ([250, 4000], "has 250: the learning rate never exceeds 50% of 0.001."),
        ([1000], "has 1,000: 50% of the training is warm-up."),
        ([1499], "has 1,499: 33% of the training is warm-up."),
        ([1500], None),
        ([], None),
    ],
)
def test_the_numbers_of_the_note(lengths: list[int], effect: str | None) -> None:
    """The paper's warm-up: 500 updates."""
    notes = warmup_notes(DiffusionConfig(), lengths)
    if effect is None:
        assert notes == ()
    else:
        start = "The warm-up takes 500 updates, and a model "
        end = f" Train longer, or set warmup_steps to {min(lengths) // 10}."
        assert notes == (start + effect + end,)


def test_the_papers_ddpm_on_a_skewed_set_is_noted(workspace: Workspace, phantom: Dataset) -> None:
    training_set = make_set(workspace, "rare", SetConfig(dataset="phantom", skew="step:10"))
    paper = DdpmConfig.from_preset("paper", size=32)
    estimate = estimate_in_workspace(workspace, "ddpm", paper, training_set)
    assert estimate is not None
    assert estimate.notes[0].startswith("The warm-up takes 500 updates, and a model has 50: ")
    for preset in ("quick", "small"):
        config = DdpmConfig.from_preset(preset)
        other = estimate_in_workspace(workspace, "ddpm", config, training_set)
        assert other is not None
        assert other.notes == ()


def test_the_papers_settings_are_those_of_the_original_frameworks() -> None:
    bagan, ddpm = BaganConfig.from_preset("paper"), DdpmConfig.from_preset("paper")
    assert (bagan.batch_norm, bagan.adam_eps, bagan.precision) == ("keras", 1e-7, "fp32")
    assert ddpm.precision == "fp32"
    strong = BaganConfig.from_preset("strong")
    assert (strong.batch_norm, strong.adam_eps, strong.precision) == ("torch", 1e-8, "auto")
