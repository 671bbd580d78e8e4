"""Presets by name, and one sentence with the field for an invalid value."""

from typing import Any

import pytest
from pydantic import ValidationError

from rebalance_core.comparison.config import CompareConfig
from rebalance_core.config import PRESETS, Config, parse_overrides
from rebalance_core.datasets.source import ImportConfig
from rebalance_core.errors import UserError
from rebalance_core.generators.bagan_gp.config import BaganConfig
from rebalance_core.generators.diffusion.config import DdpmConfig
from rebalance_core.poses.config import PosesConfig
from rebalance_core.study import StudyConfig
from rebalance_core.training_sets.config import SetConfig

NEEDED: list[tuple[type[Config], dict[str, Any]]] = [
    (BaganConfig, {}),
    (DdpmConfig, {}),
    (CompareConfig, {"set": "digits"}),
]


@pytest.mark.parametrize(("kind", "needed"), NEEDED)
@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_builds_and_has_its_name(
    kind: type[Config], needed: dict[str, Any], preset: str
) -> None:
    assert kind.from_preset(preset, **needed).model_dump()["preset"] == preset


@pytest.mark.parametrize(("kind", "needed"), NEEDED)
def test_the_defaults_are_the_preset_paper(kind: type[Config], needed: dict[str, Any]) -> None:
    assert kind.from_preset("paper", **needed) == kind(**needed)


def test_overrides_take_precedence_over_the_preset_and_are_parsed() -> None:
    config = BaganConfig.from_preset("quick", **parse_overrides(["steps=7", "lr=1e-3"]))
    assert (config.size, config.steps, config.lr) == (32, 7, 0.001)


def test_an_unknown_preset_is_refused_with_the_existing_ones() -> None:
    with pytest.raises(UserError) as excinfo:
        BaganConfig.from_preset("huge")
    assert str(excinfo.value) == (
        "There is no preset 'huge'; choose one of quick, small, paper, strong."
    )


@pytest.mark.parametrize(
    ("kind", "values", "start"),
    [
        (BaganConfig, {"size": 48}, "size=48 does not fit BaganConfig: Input should be 32, 64,"),
        (BaganConfig, {"lr": "fast"}, "lr='fast' does not fit BaganConfig: "),
        (DdpmConfig, {"widths": (32, "x")}, "widths.1='x' does not fit DdpmConfig: "),
        (DdpmConfig, {"colour": 1}, "colour=1 does not fit DdpmConfig: Extra inputs are not"),
        (SetConfig, {"dataset": "d", "limit": 1}, "limit=1 does not fit SetConfig: "),
        (
            CompareConfig,
            {"set": "s", "classifier": {"epochs": 0}},
            "classifier.epochs=0 does not fit CompareConfig: ",
        ),
        (CompareConfig, {"set": "s", "arms": ()}, "arms=() does not fit CompareConfig: "),
        (
            CompareConfig,
            {"set": "s", "classifier": {"augmentation": "some"}},
            "classifier.augmentation='some' does not fit CompareConfig: ",
        ),
        (CompareConfig, {"set": "s", "seeds": ()}, "seeds=() does not fit CompareConfig: "),
    ],
)
def test_an_invalid_value_is_one_sentence_with_the_field(
    kind: type[Config], values: dict[str, Any], start: str
) -> None:
    with pytest.raises(UserError) as excinfo:
        kind.build(**values)
    assert str(excinfo.value).startswith(start)
    assert str(excinfo.value).endswith(".")
    assert "\n" not in str(excinfo.value)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (ImportConfig, {"name": "d", "source": "phantom", "seed": -1}),
        (SetConfig, {"dataset": "d", "seed": -1}),
        (PosesConfig, {"dataset": "d", "seed": -1}),
        (BaganConfig, {"seed": -1}),
        (DdpmConfig, {"seed": -1}),
        (CompareConfig, {"set": "s", "seeds": (-1,)}),
        (StudyConfig, {"dataset": "d", "seeds": (-1,)}),
    ],
)
def test_a_negative_seed_is_refused_before_any_work(
    kind: type[Config], values: dict[str, Any]
) -> None:
    """NumPy's generators refuse negative seeds too, but later."""
    with pytest.raises(UserError, match="seed"):
        kind.build(**values)


@pytest.mark.parametrize(
    "values", [{"seeds": (0, 1, 0)}, {"arms": ("none", "ddpm", "ddpm")}], ids=["seed", "arm"]
)
def test_seeds_and_arms_of_a_comparison_are_unique(values: dict[str, Any]) -> None:
    """A cell counted twice would narrow the interval."""
    with pytest.raises(UserError):
        CompareConfig.build(set="s", **values)


def test_a_config_is_frozen() -> None:
    with pytest.raises(ValidationError):
        SetConfig(dataset="d").seed = 1


def test_overrides_are_parsed_as_field_and_value() -> None:
    assert parse_overrides([]) == {}
    changes = ["epochs=3", " lr = 0.1 ", "name=a=b", "on=true", "widths=8, 16", "classes=a,"]
    assert parse_overrides(changes) == {
        "epochs": 3,
        "lr": 0.1,
        "name": "a=b",
        "on": True,
        "widths": (8, 16),
        "classes": ("a",),
    }
    config = DdpmConfig.from_preset("quick", **parse_overrides(["widths=8,16", "attention=1,"]))
    assert (config.widths, config.attention) == ((8, 16), (1,))
    assert BaganConfig.from_preset("quick", **parse_overrides(["size=64"])).size == 64
    with pytest.raises(UserError) as excinfo:
        parse_overrides(["epochs"])
    assert str(excinfo.value) == "--set takes field=value, not 'epochs'."
