"""Names of arms and what they parse to."""

import pytest

from rebalance_core.classifiers.recipe import Recipe
from rebalance_core.comparison.arms import Arm, arm_name
from rebalance_core.comparison.config import CompareConfig
from rebalance_core.errors import UserError


@pytest.mark.parametrize(
    ("text", "arm"),
    [
        ("none", Arm()),
        ("oversample", Arm(recipe=Recipe(sampler="over"))),
        ("undersample", Arm(recipe=Recipe(sampler="under"))),
        ("class-weights", Arm(recipe=Recipe(loss="class-weighted"))),
        ("focal", Arm(recipe=Recipe(loss="focal"))),
        ("logit-adjusted", Arm(recipe=Recipe(loss="logit-adjusted"))),
        ("augment", Arm(recipe=Recipe(augmentation="scans"))),
        ("logit-adjusted-after", Arm(recipe=Recipe(prediction="logit-adjusted"))),
        ("ddpm", Arm(images="ddpm")),
        ("my images", Arm(images="my images")),
        ("augment+focal+ddpm", Arm("ddpm", Recipe(loss="focal", augmentation="scans"))),
        ("ddpm + focal", Arm("ddpm", Recipe(loss="focal"))),
        ("none+bagan-gp", Arm(images="bagan-gp")),
    ],
)
def test_a_name_parses_to_its_arm(text: str, arm: Arm) -> None:
    assert Arm.parse(text) == arm
    assert Arm.parse(str(arm)) == arm


def test_the_same_arm_has_one_name() -> None:
    assert arm_name("ddpm+focal+augment") == arm_name("augment+ddpm+focal") == "augment+focal+ddpm"
    assert arm_name("none+none") == "none"
    config = CompareConfig.from_preset("quick", set="s", arms=("focal+augment", "none"))
    assert config.arms == ("augment+focal", "none")
    with pytest.raises(UserError, match="each may be named only once"):
        CompareConfig.from_preset("quick", set="s", arms=("focal+augment", "augment+focal"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("focal+class-weights", "names loss twice (focal and class-weighted); an arm takes one."),
        ("oversample+undersample", "names sampler twice (over and under); an arm takes one."),
        ("ddpm+bagan-gp", "names images twice (ddpm and bagan-gp); an arm takes one."),
        ("focal+", "has an empty part; write names joined by +."),
    ],
)
def test_two_of_a_kind_are_refused(text: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        Arm.parse(text)
    assert str(error.value) == f"Arm {text!r} {message}"


@pytest.mark.parametrize("word", ["oversample", "undersample", "class-weights", "logit-adjusted"])
def test_class_frequencies_are_not_corrected_for_twice(word: str) -> None:
    text = f"{word}+logit-adjusted-after"
    with pytest.raises(UserError) as error:
        Arm.parse(text)
    assert str(error.value) == (
        f"Arm {text!r} corrects for the class frequencies twice, in training and after; leave out "
        "one of the two."
    )
    assert (
        str(Arm.parse("logit-adjusted-after+ddpm+augment")) == "augment+logit-adjusted-after+ddpm"
    )
