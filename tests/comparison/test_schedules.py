"""Which epochs see synthetic images, exactly."""

import pytest

from rebalance_core.classifiers.schedules import Schedule
from rebalance_core.comparison.config import CompareConfig
from rebalance_core.config import PRESETS
from rebalance_core.errors import UserError


def synthetic_epochs(text: str, epochs: int) -> list[int]:
    shown = Schedule.parse(text).epochs(epochs)
    assert len(shown) == epochs
    return [epoch for epoch, shows in enumerate(shown, start=1) if shows != "real"]


def real_only_epochs(text: str, epochs: int) -> list[int]:
    return sorted(set(range(1, epochs + 1)) - set(synthetic_epochs(text, epochs)))


def test_always_is_every_epoch() -> None:
    assert synthetic_epochs("always", 30) == list(range(1, 31))


def test_until_is_the_first_epochs() -> None:
    assert synthetic_epochs("until:10", 30) == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
    assert synthetic_epochs("until:1", 30) == [1]
    assert synthetic_epochs("until:40", 3) == [1, 2, 3]


def test_real_every_begins_real_and_repeats() -> None:
    assert real_only_epochs("real-every:4", 30) == [1, 5, 9, 13, 17, 21, 25, 29]
    assert real_only_epochs("real-every:2", 7) == [1, 3, 5, 7]
    assert real_only_epochs("real-every:30", 30) == [1]


def test_half_is_the_first_half_of_the_epochs() -> None:
    assert synthetic_epochs("until:half", 30) == list(range(1, 16))
    assert synthetic_epochs("until:half", 7) == [1, 2, 3]


def test_pretraining_is_synthetic_alone_and_then_real_alone() -> None:
    assert Schedule.parse("pretrain:2").epochs(5) == (
        "synthetic",
        "synthetic",
        "real",
        "real",
        "real",
    )
    assert Schedule.parse("pretrain:half").epochs(4) == ("synthetic", "synthetic", "real", "real")
    assert set(Schedule.parse("until:2").epochs(5)) == {"both", "real"}


@pytest.mark.parametrize("preset", PRESETS)
def test_every_presets_schedules_differ_over_its_epochs(preset: str) -> None:
    config = CompareConfig.from_preset(preset, set="pets")
    schedules = [Schedule.parse(text) for text in config.schedules]
    kinds = ["always", "until", "real-every"] if preset == "paper" else ["always"]
    assert [schedule.kind for schedule in schedules] == kinds
    masks = {schedule.epochs(config.classifier.epochs) for schedule in schedules}
    assert len(masks) == len(kinds)


@pytest.mark.parametrize(
    "text", ["always", "until:10", "until:half", "real-every:4", "pretrain:3", "pretrain:half"]
)
def test_a_schedule_is_written_as_it_is_read(text: str) -> None:
    assert str(Schedule.parse(text)) == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("always", "always"),
        ("until:10", "until epoch 10"),
        ("until:half", "until halfway"),
        ("pretrain:5", "synthetic only until epoch 5, then real"),
        ("pretrain:half", "synthetic only until halfway, then real"),
        ("real-every:2", "every 2nd epoch real only"),
        ("real-every:3", "every 3rd epoch real only"),
        ("real-every:4", "every 4th epoch real only"),
    ],
)
def test_a_schedule_has_words(text: str, words: str) -> None:
    assert Schedule.parse(text).words == words


@pytest.mark.parametrize(
    "text",
    [
        "",
        "never",
        "Always",
        "always:3",
        "until",
        "until:",
        "until:0",
        "until:-1",
        "until:1.5",
        "until: 5",
        "real-every:0",
        "real-every:1",
        "real-every:x",
        "real-every:half",
        "pretrain",
        "pretrain:0",
    ],
)
def test_a_bad_schedule_is_refused_with_good_ones(text: str) -> None:
    with pytest.raises(UserError) as error:
        Schedule.parse(text)
    assert str(error.value) == (
        f"Schedule {text!r} is not understood; write always, until:10, until:half, real-every:4, "
        "pretrain:10 or pretrain:half."
    )
