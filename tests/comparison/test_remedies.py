"""Remedies: mixing, TrivialAugment, weighting, second stages, mirrored predictions."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from test_grid import config_of, finished
from torchvision.transforms.v2 import TrivialAugmentWide

from models.classifier import Classifier, seeded_classifier
from rebalance_core.classifiers.augmentation import augment_trivially
from rebalance_core.classifiers.config import ClassifierConfig
from rebalance_core.classifiers.losses import effective_weights, loss_function
from rebalance_core.classifiers.measures import PRIMARY
from rebalance_core.classifiers.metrics import measure
from rebalance_core.classifiers.mixing import cut_box, mix
from rebalance_core.classifiers.recipe import Recipe
from rebalance_core.classifiers.schedules import Schedule
from rebalance_core.classifiers.training import (
    CellData,
    last_stage_start,
    make_sgd,
    predict,
    predict_rounded,
    retrain_last_layer,
    train_classifier,
)
from rebalance_core.comparison.arms import Arm
from rebalance_core.comparison.cells import check_compare
from rebalance_core.comparison.results import read_results
from rebalance_core.datasets.dataset import Dataset
from rebalance_core.datasets.importing import import_dataset
from rebalance_core.datasets.source import ImportConfig
from rebalance_core.errors import UserError
from rebalance_core.runs.run import MemoryRun
from rebalance_core.training.device import create_accelerator
from rebalance_core.training_sets.load import Images
from rebalance_core.workspace import Workspace

CONFIG = ClassifierConfig(
    size=16, epochs=10, lr=0.02, batch_size=32, network="nets:tiny", precision="fp32"
)
COUNTS = (300, 12, 12)  # training images of the long-tailed toy


def toy(counts: tuple[int, ...], seed: int) -> Images:
    """Noise with a faint bright quarter that depends on the class: uint8 (n, 16, 16, 1)."""
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(counts)), counts)
    images = random.normal(110, 45, (len(labels), 16, 16, 1))
    for k, (top, left) in enumerate(((0, 0), (0, 8), (8, 0))):
        images[labels == k, top : top + 8, left : left + 8] += 22
    ids = tuple(map(str, range(len(labels))))
    return Images(images.clip(0, 255).astype(np.uint8), labels, ids)


def trained(recipe: Recipe, seed: int) -> tuple[dict[str, Any], Any]:
    data = CellData(toy(COUNTS, seed), None, toy((40, 40, 40), 100 + seed), None, ("a", "b", "c"))
    config = CONFIG.model_copy(update={"epochs": 30})
    schedule = Schedule("always")
    return train_classifier(
        config, data, recipe, schedule, seed, MemoryRun(), log=lambda line: None
    )


@pytest.mark.parametrize("stage", ["reweighted", "last-layer"])
def test_a_second_stage_beats_cross_entropy_on_a_long_tail(stage: Any) -> None:
    """On balanced test images, mean macro-F1 of two seeds."""
    scores: dict[str, list[float]] = {"none": [], stage: []}
    for seed in range(2):
        test = toy((200, 200, 200), 1000 + seed)
        for name, values in scores.items():
            outcome, weights = trained(Recipe(stage=name), seed)  # type: ignore[arg-type]
            model = Classifier(["a", "b", "c"], "nets:tiny")
            model.load_state_dict(weights)
            probabilities = predict(model, test.images, create_accelerator("fp32"))
            values.append(measure(probabilities, test.labels)[PRIMARY])
            if name != "none":
                assert outcome["best"]["epoch"] >= last_stage_start(30) == 25
    assert np.mean(scores[stage]) > np.mean(scores["none"]) + 0.1, scores


def test_re_training_leaves_all_but_the_last_layer_as_it_was() -> None:
    states: dict[int, dict[str, torch.Tensor]] = {}

    class Recorder(MemoryRun):
        def checkpoint_or_stop(self, state: dict[str, Any]) -> None:
            states[len(state["curve"])] = {k: v.clone() for k, v in state["model"].items()}

    data = CellData(toy(COUNTS, 0), None, toy((40, 40, 40), 100), None, ("a", "b", "c"))
    recipe = Recipe(stage="last-layer")
    train_classifier(CONFIG, data, recipe, Schedule("always"), 0, Recorder(), log=lambda line: None)
    changed = {name for name in states[8] if not torch.equal(states[8][name], states[9][name])}
    assert changed == {"network.5.weight", "network.5.bias"}
    assert {k for k in states[7] if not torch.equal(states[7][k], states[8][k])} > changed


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(stage="last-layer"),
        Recipe(mixing="cutmix", decay="5e-4"),
        Recipe(stage="reweighted", averaging="last-epochs"),
    ],
)
def test_a_second_stage_resumes_exactly(recipe: Recipe) -> None:
    states: list[dict[str, Any]] = []

    class Recorder(MemoryRun):
        def checkpoint_or_stop(self, state: dict[str, Any]) -> None:
            states.append(copy.deepcopy(state))

    data = CellData(toy(COUNTS, 0), None, toy((40, 40, 40), 100), None, ("a", "b", "c"))
    arguments = (CONFIG, data, recipe, Schedule("always"), 0)
    whole, weights = train_classifier(*arguments, Recorder(), log=lambda line: None)
    for state in (states[7], states[8]):  # at the start of the stage, and within it
        again, others = train_classifier(
            *arguments, MemoryRun(), log=lambda line: None, state=state
        )
        assert again["curve"] == whole["curve"]
        assert again["best"] == whole["best"]
        assert all(torch.equal(weights[name], others[name]) for name in weights)


def test_averaged_weights_are_the_mean_of_the_last_fifth_of_the_epochs() -> None:
    """Of 15 epochs: 13, 14, 15; the statistics of batch norm are averaged, too."""
    states: dict[int, dict[str, Any]] = {}

    class Recorder(MemoryRun):
        def checkpoint_or_stop(self, state: dict[str, Any]) -> None:
            states[len(state["curve"])] = copy.deepcopy(state)

    data = CellData(toy(COUNTS, 0), None, toy((40, 40, 40), 100), None, ("a", "b", "c"))
    config = CONFIG.model_copy(update={"epochs": 15})
    losses = {}
    for recipe in (Recipe(), Recipe(averaging="last-epochs")):
        outcome, _ = train_classifier(
            config, data, recipe, Schedule("always"), 0, Recorder(), log=lambda line: None
        )
        losses[recipe.averaging] = [line["train_loss"] for line in outcome["curve"]]
    assert losses["none"] == losses["last-epochs"]  # only what is evaluated and kept differs
    assert last_stage_start(15) == 13
    assert outcome["best"]["epoch"] >= 13
    assert states[13]["best"]["epoch"] == 13  # the first candidate
    for name, value in states[14]["average"].items():
        name = name.removeprefix("module.")
        if name == "n_averaged":
            assert value == 2
            continue
        if value.is_floating_point():
            both = [states[epoch]["model"][name] for epoch in (13, 14)]
            assert torch.allclose(value, (both[0] + both[1]) / 2, atol=1e-6), name
            assert torch.equal(states[13]["weights"][name], both[0])
    last_layer = [states[epoch]["model"]["network.5.weight"] for epoch in (13, 14)]
    assert not torch.equal(*last_layer)


def test_an_arm_with_averaged_weights_is_compared_to_its_end(
    workspace: Workspace, phantom: Dataset
) -> None:
    """The kept weights, with their counters of batches, load for the test predictions."""
    run = finished(workspace, arms=("none", "weight-average"), seeds=(0,))
    findings = read_results(workspace, run)
    assert findings is not None
    assert [row.arm for row in findings.results] == ["none", "weight-average"]


def test_the_new_last_layer_is_drawn_from_the_seed() -> None:
    made = []
    for _ in range(2):
        model = seeded_classifier(["a", "b", "c"], 0, "nets:tiny")
        optimizer = make_sgd(CONFIG, model)
        before = model.network[5].weight.clone()  # type: ignore[index]
        retrain_last_layer(CONFIG, model, optimizer, seed=4, epoch=last_stage_start(10))
        made.append(model.network[5].weight)  # type: ignore[index]
        assert not torch.equal(before, made[-1])
    assert torch.equal(*made)


def test_effective_weights_by_hand() -> None:
    """β = 0.9: (1 − 0.9) / (1 − 0.9^n) is 1 for one image, 0.1 / 0.19 for two."""
    weights = effective_weights(torch.tensor([1, 2, 0]), effective=0.9)
    one, two = 1.0, 0.1 / 0.19
    assert weights.tolist() == pytest.approx([2 * one / (one + two), 2 * two / (one + two), 0])


def test_label_smoothing_is_torchs() -> None:
    logits, labels = torch.tensor([[2.0, 0.0, 1.0], [0.0, 1.0, 0.0]]), torch.tensor([0, 1])
    loss = loss_function("label-smoothed", [1, 1, 1], torch.device("cpu"))(logits, labels)
    log_p = logits.log_softmax(1)
    targets = torch.tensor([[0.9, 0, 0], [0, 0.9, 0]]) + 0.1 / 3
    assert loss.item() == pytest.approx(-(targets * log_p).sum(1).mean().item(), rel=1e-6)


def test_mixup_blends_images_and_losses() -> None:
    images = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    logits = torch.randn(6, 3, generator=torch.Generator().manual_seed(1))
    random = np.random.default_rng([5, 6])
    share, other = random.beta(1, 1), random.permutation(6)
    mixed, loss = mix("mixup", images, labels, F.cross_entropy, 5, 6)
    assert torch.allclose(mixed, share * images + (1 - share) * images[other])
    soft = share * F.one_hot(labels, 3) + (1 - share) * F.one_hot(labels[other], 3)
    assert loss(logits).item() == pytest.approx(F.cross_entropy(logits, soft).item(), rel=1e-5)


def test_cutmix_takes_the_share_of_the_label_that_the_box_covers() -> None:
    images = torch.arange(6.0).view(6, 1, 1, 1).expand(6, 1, 10, 10)
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    logits = torch.randn(6, 3, generator=torch.Generator().manual_seed(1))
    for key in range(20):
        mixed, loss = mix("cutmix", images, labels, F.cross_entropy, key)
        random = np.random.default_rng([key])
        random.beta(1, 1)
        other = random.permutation(6)
        pixels = mixed.view(6, -1)
        covered = [(row == o).float().mean().item() for row, o in zip(pixels, other, strict=True)]
        kept = [(row == k).float().mean().item() for k, row in enumerate(pixels)]
        part = {round(c, 6) for c, k, o in zip(covered, range(6), other, strict=True) if k != o}
        assert len(part) <= 1
        assert all(
            k == 1 for k, o in zip(kept, other, strict=True) if o == kept.index(k) and k == 1
        )
        for share in part:
            soft = (1 - share) * F.one_hot(labels, 3) + share * F.one_hot(labels[other], 3)
            expected = F.cross_entropy(logits, soft).item()
            assert loss(logits).item() == pytest.approx(expected, rel=1e-5)


def test_the_box_of_cutmix_has_the_area_of_the_other_label() -> None:
    """In the middle of 100 px, √(1 − 0.75) = half of each side."""
    random = np.random.default_rng(0)
    boxes = [cut_box(100, 100, 0.75, random) for _ in range(500)]
    whole = [b for b in boxes if b[1] - b[0] == 50 and b[3] - b[2] == 50]
    assert len(whole) > 50  # the others are cropped at the border
    assert all(0 <= b[0] <= b[1] <= 100 and 0 <= b[2] <= b[3] <= 100 for b in boxes)


def test_trivial_augment_is_torchvisions_with_a_seed_per_image() -> None:
    levels = torch.randint(0, 256, (5, 1, 16, 16), generator=torch.Generator().manual_seed(0))
    levels = levels.to(torch.uint8)
    images = levels.float().div(127.5).sub(1.0)
    state = torch.get_rng_state()
    made = augment_trivially(images, [3, 4, 5, 6, 7])
    assert torch.equal(torch.get_rng_state(), state)  # the global random state is untouched
    for k, seed in enumerate((3, 4, 5, 6, 7)):
        torch.manual_seed(seed)
        expected = TrivialAugmentWide()(levels[k])
        assert torch.equal(made[k].add(1).mul(127.5).round().to(torch.uint8), expected)
    alone = augment_trivially(images[2:3], [5])
    assert torch.equal(alone[0], made[2])
    torch.set_rng_state(state)


def test_mirrored_predictions_are_the_mean_of_both() -> None:
    model = seeded_classifier(["a", "b", "c"], 1, "nets:tiny")
    images = toy((4, 4, 4), 3).images
    accelerator = create_accelerator("fp32")
    mirrored = np.ascontiguousarray(images[:, :, ::-1])
    mean = (predict(model, images, accelerator) + predict(model, mirrored, accelerator)) / 2
    both = predict_rounded(model, images, "fp32", views="mirrored")
    assert both == pytest.approx(mean, abs=1e-3)
    assert predict_rounded(model, mirrored, "fp32", views="mirrored") == pytest.approx(both)


def test_arms_with_other_predictions_share_the_training_of_the_plain_one(
    workspace: Workspace, phantom: Dataset
) -> None:
    run = finished(workspace, arms=("none", "mirrored-test", "mirrored-test+logit-adjusted-after"))
    findings = read_results(workspace, run)
    assert findings is not None
    seconds = [row.seconds for row in findings.results]
    assert seconds[0] == seconds[1] == seconds[2]  # one training
    assert [row.free for row in findings.results] == [True, True, True]


def test_mirror_images_are_refused_where_they_are_other_pictures(workspace: Workspace) -> None:
    import_dataset(workspace, ImportConfig(name="digits", source="digits"), MemoryRun())
    with pytest.raises(UserError) as raised:
        check_compare(workspace, config_of(set="digits", arms=("none", "mirrored-test")))
    assert str(raised.value) == (
        "Arm mirrored-test averages over mirror images, which are other pictures in dataset "
        "digits (symmetries: none); leave it out."
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("oversample+logit-adjusted", "which resampling makes equal"),
        ("undersample+class-weights", "which resampling makes equal"),
        ("oversample+drw", "twice, in the last epochs and in all of them"),
        ("class-weights+crt", "twice, in the last epochs and in all of them"),
        ("crt+logit-adjusted-after", "twice, in training and after"),
        ("drw+crt", "names stage twice"),
    ],
)
def test_combinations_that_cancel_are_refused(text: str, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        Arm.parse(text)
    assert str(Arm.parse("mixup+drw+augment+weight-decay")) == "augment+mixup+drw+weight-decay"
