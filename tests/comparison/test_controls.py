"""The controls: frozen copies (placebo), real images given back, and the exchange rate by them."""

import numpy as np
import pytest
from cell_records import cell_record
from sets import synthetic_set
from test_grid import config_of, finished

from rebalance_core.comparison.answer import answer_text
from rebalance_core.comparison.arms import Arm
from rebalance_core.comparison.cells import check_compare, resolve_inputs
from rebalance_core.comparison.contrasts import make_claim
from rebalance_core.comparison.controls import control_images, placebo_images
from rebalance_core.comparison.exchange import exchange_rate
from rebalance_core.comparison.records import ExchangeRate, Planned
from rebalance_core.comparison.results import Origin, make_rows, read_results, score_arms
from rebalance_core.comparison.scores import ArmScores, Score
from rebalance_core.datasets.dataset import Dataset
from rebalance_core.errors import UserError
from rebalance_core.training_sets.config import SetConfig
from rebalance_core.training_sets.load import load_part
from rebalance_core.training_sets.resolve import make_set, resolve_set, withheld_images
from rebalance_core.workspace import Workspace


def skew(number: int) -> str:
    return ",".join(f"{label}={number}" for label in ("glioma", "meningioma", "pituitary"))


@pytest.fixture
def rare(workspace: Workspace, phantom: Dataset) -> str:
    make_set(workspace, "rare", SetConfig(dataset="phantom", skew=skew(2)))
    return "rare"


def test_a_control_is_a_word_of_an_arm() -> None:
    assert Arm.parse("placebo+augment").control == "placebo"
    assert str(Arm.parse("returned:2 + augment")) == "augment+returned:2"
    assert Arm.parse("returned:2").returned == 2
    assert Arm.parse("placebo").returned is None
    assert Arm.parse("returned:0").images == "returned:0"  # not a control
    with pytest.raises(UserError) as raised:
        Arm.parse("placebo+ddpm")
    assert str(raised.value) == (
        "Arm 'placebo+ddpm' adds two kinds of images (ddpm and placebo); an arm adds one."
    )


def test_withheld_images_are_those_that_a_weaker_skew_adds(workspace: Workspace, rare: str) -> None:
    config = SetConfig(dataset="phantom", skew=skew(2))
    strong = resolve_set(workspace, "strong", config)
    weaker = resolve_set(workspace, "weaker", config.model_copy(update={"skew": skew(5)}))
    withheld = withheld_images(workspace, strong)
    added = set(weaker.train) - set(strong.train)
    for label in strong.minority:
        number = weaker.counts[label] - strong.counts[label]
        assert number > 0
        assert set(withheld[label][:number]) <= added
        assert not {*withheld[label]} & {*strong.train, *strong.validation, *strong.test}
    assert sum(map(len, withheld.values())) > len(added)


def test_returned_images_are_real_and_k_times_as_many(
    workspace: Workspace, phantom: Dataset, rare: str
) -> None:
    config = config_of(set=rare, arms=("none", "returned:1", "augment+returned:2"))
    cells = check_compare(workspace, config)
    inputs = resolve_inputs(workspace, config)[0]
    counts = inputs.training_set.counts
    minority = inputs.training_set.minority
    assert [cell.plan for cell in cells] == [
        {},
        {c: counts[c] for c in minority},
        {c: 2 * counts[c] for c in minority},
    ]
    assert [cell.label for cell in cells] == ["none", "returned:1", "augment+returned:2"]
    real = load_part(phantom, inputs.training_set, "train", 32)
    images = control_images(workspace, cells[2], inputs, real)
    assert len(images.ids) == sum(cells[2].plan.values()) == len(set(images.ids))
    assert not set(images.ids) & set(real.ids)
    labels = phantom.catalogue.set_index("image")["class"]
    classes = inputs.training_set.classes
    assert [classes[k] for k in images.labels] == [labels[image] for image in images.ids]
    rows = [phantom.rows[image] for image in images.ids]
    assert (images.images == phantom.array(32)[rows]).all()


def test_more_images_than_were_withheld_are_refused(workspace: Workspace, rare: str) -> None:
    with pytest.raises(UserError, match=r"^Arm returned:99 gives back more images than were "):
        check_compare(workspace, config_of(set=rare, arms=("none", "returned:99")))
    with pytest.raises(UserError, match=r"^Arm returned:1 gives back more images than were "):
        check_compare(workspace, config_of(set="phantom", arms=("none", "returned:1")))


def test_a_placebo_is_a_function_of_its_training_set(
    workspace: Workspace, phantom: Dataset, rare: str
) -> None:
    config = config_of(set=rare, arms=("placebo",), amounts=("7",), seeds=(0, 1))
    first, second = check_compare(workspace, config)
    inputs = resolve_inputs(workspace, config)[0]
    real = load_part(phantom, inputs.training_set, "train", 32)
    images, again = (placebo_images(cell, inputs, real) for cell in (first, second))
    assert (images.images == again.images).all()
    assert images.ids == again.ids
    minority = inputs.training_set.minority
    assert np.bincount(images.labels, minlength=4).tolist() == [
        7 if label in minority else 0 for label in inputs.training_set.classes
    ]
    for label in minority:
        index = inputs.training_set.class_index(label)
        chosen = [i for i, k in zip(images.ids, images.labels, strict=True) if k == index]
        copied = [image.rsplit(" ", 1)[0] for image in chosen]
        times = [copied.count(image) for image in set(copied)]
        assert max(times) - min(times) <= 1  # every real image equally often
        labels = dict(zip(real.ids, real.labels, strict=True))
        assert {labels[image] for image in copied} == {index}
    # augmented: no copy equals a real image
    flat = {image.tobytes() for image in real.images}
    assert not flat & {image.tobytes() for image in images.images}


def scores(values: list[float]) -> ArmScores:
    return ArmScores({seed: Score(value) for seed, value in enumerate(values)})


def test_an_arm_on_the_curve_is_worth_its_images() -> None:
    """Between the points, by the logarithm of the training images: 100 own, 100 and 300 more."""
    noise = np.array([0.3, -0.2, 0.1, -0.2])
    curve = {n: scores((level + noise).tolist()) for n, level in ((0, 50), (100, 60), (300, 70))}
    jitter = np.array([0.05, -0.05, 0.0, 0.0])
    for level, images in ((55, 100 * (2**0.5 - 1)), (60, 100), (65, 100 * (2**1.5 - 1))):
        rate = exchange_rate(scores((level + noise + jitter).tolist()), curve, 100)
        assert rate is not None
        real, interval = rate
        assert real == pytest.approx(images, abs=3)
        assert interval is not None
        assert interval[0] <= images <= interval[1]
        assert interval[1] - interval[0] < 10


def test_outside_of_the_curve_nothing_is_extrapolated() -> None:
    jitter = np.array([0.05, -0.05, 0.02, -0.02])
    curve = {0: scores([50, 50.1, 50]), 100: scores([60, 60, 60.1])}
    worse = exchange_rate(scores([40, 40.2, 40.1]), curve, 100)
    better = exchange_rate(scores([80, 80.2, 80.1]), curve, 100)
    assert worse == (0.0, (0.0, 0.0))
    assert better == (pytest.approx(100), (pytest.approx(100), pytest.approx(100)))
    assert exchange_rate(scores([55.0]), curve, 100) == (pytest.approx(41.4, abs=1), None)
    assert jitter.sum() == 0


def test_a_curve_that_falls_is_pooled() -> None:
    """50, 62, 58, 70: the second and third point become 60 at every seed."""
    shift = np.array([0.0, 0.4, -0.4])
    points = {0: 50, 100: 62, 200: 58, 400: 70}
    curve = {n: scores((v + shift).tolist()) for n, v in points.items()}
    rate = exchange_rate(scores((55 + shift + [0.01, 0, -0.01]).tolist()), curve, 100)
    assert rate is not None
    assert rate[0] == pytest.approx(100 * (2**0.5 - 1), abs=3)


def test_a_comparison_states_what_generated_images_are_worth(
    workspace: Workspace, phantom: Dataset, rare: str
) -> None:
    name = synthetic_set(workspace, "ddpm", rare)
    run = finished(
        workspace,
        set=rare,
        arms=("none", "placebo", "returned:1", "ddpm"),
        synthetic={"ddpm": name},
        seeds=(0, 1, 2),
    )
    findings = read_results(workspace, run)
    assert findings is not None
    rows = {row.name: row for row in findings.results}
    assert [(row.free, row.is_control, row.is_generated) for row in rows.values()] == [
        (True, False, False),
        (False, True, False),
        (False, True, False),
        (False, False, True),
    ]
    assert findings.claim is not None
    assert list(findings.claim.against) == ["none", "placebo, 10, always"]
    rates = {rate.name: rate for rate in findings.exchange}
    assert list(rates) == ["placebo, 10, always", "ddpm, 10, always"]
    most = sum(rows["returned:1"].added.values())
    assert all(0 <= rate.real <= most == rate.most for rate in rates.values())
    assert "The 30 images of ddpm at 10 were worth " in findings.answer
    assert "frozen copies of real images reach " in findings.answer


@pytest.mark.parametrize(
    ("real", "interval", "text"),
    [
        (40.4, [12.2, 80.0], "about 40 real ones given back (95 %: 12 to 80)"),
        (40.4, [0.0, 100.0], "about 40 real ones given back (95 %: 0 to more than 100)"),
        (0.0, [0.0, 30.0], "no real one given back (95 %: 0 to 30)"),
        (
            100.0,
            [60.0, 100.0],
            "more than the 100 real ones given back (95 %: 60 to more than 100)",
        ),
        (40.4, None, "about 40 real ones given back (too few seeds for an interval)"),
    ],
)
def test_the_sentence_on_the_exchange_rate(
    real: float, interval: list[float] | None, text: str
) -> None:
    values = {"none": [0.5, 0.6, 0.7], "ddpm": [0.51, 0.62, 0.76]}
    cells = [cell_record(a, s, v) for a, of in values.items() for s, v in enumerate(of)]
    arm_scores = score_arms(cells)
    rows = make_rows(cells, {"pets-ddpm": Origin("ddpm", False)}, arm_scores)
    rate = ExchangeRate(name="ddpm, 1.0, always", added=90, real=real, interval=interval, most=100)
    claim = make_claim(rows, arm_scores, Planned())
    answer = answer_text(rows, claim, redraw=False, exchange=[rate])
    assert f"The 90 images of ddpm at 1.0 were worth {text}." in answer
