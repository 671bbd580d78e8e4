"""What BAGAN-GP's training promises beyond the contract of all generators."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from models.bagan_gp import (
    NEGATIVE_SLOPE,
    BaganGP,
    Discriminator,
    FirstOrderLeakyReLU,
    seeded_bagan,
)
from rebalance_core.errors import UserError
from rebalance_core.generators.bagan_gp.augmentation import diff_augment
from rebalance_core.generators.bagan_gp.config import BaganConfig
from rebalance_core.generators.bagan_gp.losses import gradient_penalty, spread
from rebalance_core.generators.bagan_gp.model import BaganGenerator, draw_latents
from rebalance_core.generators.bagan_gp.training import BaganTrainer
from rebalance_core.generators.base import TrainingData
from rebalance_core.runs.run import Cancelled, MemoryRun
from rebalance_core.training.batches import balanced_indices, to_float
from rebalance_core.training.random import keyed_generator
from rebalance_core.training_sets.load import Images

CLASSES = ("a", "b", "c")


def some_data(labels: list[int], size: int = 32) -> TrainingData:
    """Noise, each class about another gray; validation is training again."""
    numbers = np.array(labels)
    noise = np.random.default_rng(0).integers(0, 100, (len(labels), size, size, 1))
    images = (noise + 70 * numbers[:, None, None, None]).astype(np.uint8)
    part = Images(images, numbers, tuple(map(str, range(len(labels)))))
    return TrainingData(part, part, CLASSES, CLASSES[1:], 1)


@pytest.fixture
def data() -> TrainingData:
    return some_data([0] * 12 + [1] * 4 + [2] * 4)


def config(**changes: Any) -> BaganConfig:
    tiny = {"autoencoder_steps": 2, "steps": 3, "batch_size": 8, "precision": "fp32"}
    return BaganConfig.from_preset("quick", **{**tiny, **changes})


def trained(data: TrainingData, run: MemoryRun | None = None, **changes: Any) -> BaganGP:
    return BaganTrainer(config(**changes), data, run or MemoryRun()).train()


def weights(module: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in module.parameters()])


def penalised(discriminator: Discriminator) -> list[torch.Tensor]:
    """Gradients of the penalty on two images."""
    images = torch.randn(2, 1, 32, 32, generator=keyed_generator(1))
    fake = torch.randn(2, 1, 32, 32, generator=keyed_generator(2))
    factor = torch.rand(2, 1, 1, 1, generator=keyed_generator(3))
    penalty = gradient_penalty(discriminator, images, fake, torch.tensor([0, 2]), factor)
    parameters = list(discriminator.parameters())
    slopes = torch.autograd.grad(penalty.value, parameters, allow_unused=True)
    return [
        torch.zeros_like(p) if s is None else s for p, s in zip(parameters, slopes, strict=True)
    ]


def test_penalty_reaches_the_discriminators_weights_as_with_plain_leaky_relu() -> None:
    discriminator = seeded_bagan(32, 1, list(CLASSES), 0).discriminator
    with torch.no_grad():  # of a size that matters, so that equality means something
        for p in discriminator.parameters():
            p.mul_(8)
    ours = penalised(discriminator)
    for number, layer in enumerate(discriminator.trunk):
        if isinstance(layer, FirstOrderLeakyReLU):
            discriminator.trunk[number] = nn.LeakyReLU(NEGATIVE_SLOPE)
    plain = penalised(discriminator)
    for mine, theirs in zip(ours, plain, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)
    named = dict(zip((n for n, _ in discriminator.named_parameters()), ours, strict=True))
    reached = {n for n, slope in named.items() if slope.abs().max() > 1e-4}
    assert {n for n in named if n.endswith("weight")} <= reached
    # what only shifts the logit has no part in its slope
    assert not {"head.0.bias", "head.1.bias"} & reached


def test_bend_is_leaky_relu_with_its_gradient() -> None:
    x = torch.tensor([-2.0, -0.5, 0.0, 3.0], requires_grad=True)
    bent = FirstOrderLeakyReLU()(x)
    assert bent.tolist() == pytest.approx([-0.4, -0.1, 0, 3])
    bent.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == pytest.approx([0.2, 0.2, 0.2, 1])


def test_a_class_never_seen_trains_but_is_refused_at_sampling(tmp_path: Any) -> None:
    made = BaganGenerator(trained(some_data([0] * 8 + [2] * 8)))
    assert (made.classes, made.classes_without_images) == (("a", "c"), ("b",))
    made.save(tmp_path)
    for one in (made, BaganGenerator.load(tmp_path)):
        with pytest.raises(UserError) as told:
            one.sample("b", 1, 0)
        assert str(told.value) == (
            "This generator was trained without images of class 'b'; it generates a, c."
        )
        with pytest.raises(UserError, match="was trained without images of class 'b'"):
            next(one.interpolate("a", "b", [0.5], 1, 0))
        assert next(one.sample("c", 2, 0)).shape == (2, 32, 32, 1)


def test_average_of_the_generator_is_the_closed_form(data: TrainingData) -> None:
    decay = 0.75
    trainer = BaganTrainer(config(ema=decay), data, MemoryRun())
    trainer.step = trainer.autoencoder_steps
    seen = []
    for _ in range(3):
        trainer.adversarial_step()
        trainer.step += 1
        seen.append(weights(trainer.model.decoder))
    expected = decay**2 * seen[0] + decay * (1 - decay) * seen[1] + (1 - decay) * seen[2]
    _, decoder = trainer.ema_model.module.children()
    torch.testing.assert_close(weights(decoder), expected)
    result = trained(data, ema=decay)
    again = BaganTrainer(config(ema=decay), data, MemoryRun())
    averaged = again.train()
    assert torch.equal(weights(averaged.decoder), weights(result.decoder))
    plain = trained(data)
    assert not torch.equal(weights(plain.decoder), weights(result.decoder))
    assert torch.equal(weights(plain.discriminator), weights(result.discriminator))


@pytest.mark.parametrize(
    "changes",
    [
        {"ema": 0.9, "balanced": True, "augment": "diffaugment", "fake_labels": "batch"},
        {"discriminator_start": "encoder", "interpolation": "normal", "wrong_labels": "any"},
    ],
)
def test_stopped_with_every_switch_it_goes_on_as_if_it_had_not(
    data: TrainingData, changes: dict[str, Any]
) -> None:
    whole = trained(data, **changes)
    run = MemoryRun(stop_after=4)  # in the second stage
    with pytest.raises(Cancelled):
        trained(data, run, **changes)
    run.stop_after = None
    assert torch.equal(weights(trained(data, run, **changes)), weights(whole))


def test_discriminator_can_start_from_the_encoder(data: TrainingData) -> None:
    trainer = BaganTrainer(
        config(steps=1, discriminator_start="encoder", lr=1e-12), data, MemoryRun()
    )
    model = trainer.train()
    torch.testing.assert_close(weights(model.discriminator.trunk), weights(model.encoder[0]))
    other = config(steps=1, lr=1e-12, discriminator_start="fresh")
    fresh = BaganTrainer(other, data, MemoryRun()).train()
    assert not torch.allclose(weights(fresh.discriminator.trunk), weights(fresh.encoder[0]))


def test_balanced_batches_hold_each_class_present_as_often() -> None:
    labels = np.array([0] * 900 + [1] * 50 + [3] * 2)
    drawn = np.concatenate([labels[balanced_indices(labels, 100, step, 7)] for step in range(60)])
    counts = np.bincount(drawn, minlength=4)
    assert counts[2] == 0
    assert abs(counts[[0, 1, 3]] - 2000).max() < 150
    assert np.array_equal(balanced_indices(labels, 9, 4, 7), balanced_indices(labels, 9, 4, 7))
    assert not np.array_equal(balanced_indices(labels, 9, 4, 7), balanced_indices(labels, 9, 5, 7))


def test_wrong_labels_are_wrong_unless_the_original_is_asked_for(data: TrainingData) -> None:
    labels = torch.arange(3).repeat(400)
    mended = BaganTrainer(config(), data, MemoryRun())._wrong_labels(labels, keyed_generator(0))
    assert not (mended == labels).any()
    original = BaganTrainer(config(wrong_labels="any"), data, MemoryRun())
    right = (original._wrong_labels(labels, keyed_generator(0)) == labels).float().mean()
    assert right.item() == pytest.approx(1 / 3, abs=0.05)


def test_augmentation_is_drawn_for_each_image_and_lets_gradients_through() -> None:
    images = (
        torch.randn(3, 1, 32, 32, generator=keyed_generator(0)).clamp(-1, 1).requires_grad_(True)
    )
    first, same = (diff_augment(images, keyed_generator(1)) for _ in range(2))
    assert torch.equal(first, same)
    assert first.shape == images.shape
    assert not torch.equal(first, diff_augment(images, keyed_generator(2)))
    # a hole of half the side where it lies whole, at least a sixteenth where it touches a corner
    cut = (first == 0).float().mean(dim=(1, 2, 3))
    assert ((cut >= 1 / 16 - 1e-6) & (cut <= 0.3)).all()
    first.sum().backward()
    assert images.grad is not None
    assert (images.grad.flatten(1).abs().sum(1) > 0).all()


def test_augmentation_moves_by_whole_pixels_and_fills_with_black() -> None:
    images = torch.full((64, 1, 32, 32), 0.4)  # of one tone: contrast changes nothing
    shifts = set()
    for moved in diff_augment(images, keyed_generator(3))[:, 0]:
        tones = set(moved.unique().tolist())
        inside = tones - {-1.0, 0.0}  # black from outside, and the hole
        assert len(inside) <= 1, "whole pixels: nothing in between"
        black = moved == -1
        shifts.add((int(black.all(dim=1).sum()), int(black.all(dim=0).sum())))
    assert max(map(max, shifts)) == 4, "an eighth of the side"
    assert len(shifts) > 10


def test_spread_is_the_mean_deviation_of_a_pixel() -> None:
    images = torch.zeros(5, 1, 2, 2)
    images[0], images[1] = 1.0, -1.0
    found = spread(images, torch.tensor([0, 0, 1, 1, 2]))
    assert found == {0: pytest.approx(2**0.5), 1: 0.0}


def test_a_generator_that_collapses_stops_with_the_reason_and_keeps_its_checkpoint(
    data: TrainingData,
) -> None:
    run = MemoryRun()
    trainer = BaganTrainer(config(), data, run)
    trainer.step = trainer.autoencoder_steps + 1
    numbers = trainer.adversarial_step()
    trainer._check_collapse(0.01, "b")  # it has learned nothing yet
    trainer._check_collapse(0.01, "b")
    trainer._check_collapse(0.4, "b")
    good = run._payload
    trainer.step += 1
    run.is_checkpoint_due = lambda: True  # type: ignore[method-assign]
    trainer._check_collapse(0.01, "b")
    trainer._maybe_checkpoint(numbers)
    assert run._payload == good, "nothing is written over what had not collapsed"
    with pytest.raises(UserError) as told:
        trainer._check_collapse(0.02, "b")
    assert str(told.value) == (
        "The generator has collapsed at step 4: it generates the same image of b from "
        "different latents. The last checkpoint before that is kept; continue from it with a "
        "smaller lr, or try a larger penalty or the preset strong."
    )
    kept = run.restore()
    assert kept is not None
    assert (kept["step"], kept["diverse"]) == (3, True)


def test_images_that_were_one_for_a_look_may_recover(data: TrainingData) -> None:
    trainer = BaganTrainer(config(), data, MemoryRun())
    for diversity in (0.4, 0.01, 0.2, 0.01, 0.2):
        trainer._check_collapse(diversity, "b")
    assert trainer.collapsed_class == ""


@pytest.mark.parametrize("stop_after", [None, 3])
def test_a_loss_that_is_no_number_stops_with_the_reason(
    data: TrainingData, stop_after: int | None
) -> None:
    """Whether somebody asks to stop just then or not, the last good checkpoint stays."""
    good = MemoryRun(stop_after=1)
    with pytest.raises(Cancelled):
        trained(data, good, steps=5000)
    run = MemoryRun(stop_after=stop_after)
    run._payload = good._payload
    # steps are logged one in twelve, so that nobody but the checkpoint's own check can see it
    with pytest.raises(UserError, match="became NaN or infinite at step"):
        trained(data, run, steps=5000, autoencoder_lr=1e25, lr=1e25)
    kept = run.restore()
    assert kept is not None
    assert kept["step"] == 2, "where the good run was stopped"
    assert all(torch.isfinite(v).all() for v in kept["model"].values())


def test_truncated_latents_stay_within_and_do_not_depend_on_the_batch() -> None:
    latents = draw_latents(1, 5, 0, 50, truncation=0.5)
    assert latents.abs().max() <= 0.5
    assert latents.abs().max() > 0.45
    torch.testing.assert_close(draw_latents(1, 5, 10, 3, truncation=0.5), latents[10:13])
    wide = draw_latents(1, 5, 0, 50, truncation=9)
    assert wide.std().item() == pytest.approx(1, abs=0.03)
    assert (wide.sign() == latents.sign()).all()


def test_between_two_classes_lie_the_same_latents(data: TrainingData) -> None:
    made = BaganGenerator(trained(data))
    start, middle, end = made.interpolate("a", "c", [0, 0.5, 1], 4, seed=3)
    assert np.array_equal(start, np.concatenate(list(made.sample("a", 4, 3))))
    latent = draw_latents(0, 3, 0, 4)
    with torch.no_grad():
        expected = made.model.generate(latent, torch.full((4,), 2))
    assert np.abs(end - to_numpy(expected)).max() <= 1
    assert not np.array_equal(start, end)
    assert not np.array_equal(middle, start)


def to_numpy(images: torch.Tensor) -> np.ndarray:
    array: np.ndarray = images.add(1).mul(127.5).round().permute(0, 2, 3, 1).numpy()
    return array


def test_sampling_refuses_what_it_has_not(data: TrainingData) -> None:
    made = BaganGenerator(trained(data))
    with pytest.raises(UserError, match="BAGAN-GP does not have the option steps"):
        next(made.sample("a", 1, 0, steps=3))
    with pytest.raises(UserError, match="truncation=0 is out of range"):
        next(made.sample("a", 1, 0, truncation=0))


def test_validation_and_pictures_are_told_at_every_look(data: TrainingData) -> None:
    run = MemoryRun()
    trained(data, run, autoencoder_steps=4, steps=4, autoencoder_looks=2, looks=4)

    def told(name: str) -> list[int]:
        return [m["step"] for m in run.metrics if name in m]

    assert told("autoencoder_mae_validation") == [2, 4]
    assert told("discriminator_loss_validation") == [5, 6, 7, 8]
    assert told("generator_loss_validation") == told("diversity") == [5, 6, 7, 8]
    assert told("gradient_norm") == told("gradient_penalty") == [5, 6, 7, 8]
    pictures = {(step, name): image.shape for step, name, image in run.previews}
    assert set(pictures) == {(2, "reconstructions"), (4, "reconstructions")} | {
        (step, "samples") for step in (5, 6, 7, 8)
    }
    assert pictures[8, "samples"] == (3 * 34 - 2, 8 * 34 - 2, 1)
    assert pictures[4, "reconstructions"] == (6 * 34 - 2, 4 * 34 - 2, 1)


def test_validation_is_of_the_held_out_images(data: TrainingData) -> None:
    one, other = MemoryRun(), MemoryRun()
    trained(data, one)
    dark = replace(data.validation, images=np.zeros_like(data.validation.images))
    trained(replace(data, validation=dark), other)

    def loss(run: MemoryRun) -> float:
        name = "autoencoder_mae_validation"
        return next(float(m[name]) for m in run.metrics if name in m)

    assert loss(one) != loss(other)
    train = [m["autoencoder_mae"] for m in one.metrics if "autoencoder_mae" in m]
    assert train == [m["autoencoder_mae"] for m in other.metrics if "autoencoder_mae" in m]


def test_autoencoder_loss_is_the_mean_absolute_error(data: TrainingData) -> None:
    trainer = BaganTrainer(config(batch_size=20), data, MemoryRun())
    rows = slice(None)
    with torch.no_grad():
        trainer.model.train()
        rebuilt = trainer.model.reconstruct(to_float(data.train.images[rows]), trainer.labels)
        expected = (rebuilt - to_float(data.train.images[rows])).abs().mean().item()
    fresh = BaganTrainer(config(batch_size=20), data, MemoryRun())
    assert fresh.autoencoder_step()["autoencoder_mae"].item() == pytest.approx(expected, rel=1e-4)
