"""Diffusion against its formulas: weights, targets, guidance, the average, samples one by one."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from diffusers.training_utils import EMAModel
from safetensors.torch import load_file, save_file
from torch import Tensor

from models.unet import AUGMENT_DIM, seeded_conditional_unet, seeded_unet
from models.unet_shape import UNetShape
from rebalance_core.datasets.dataset import Dataset
from rebalance_core.errors import UserError
from rebalance_core.generators.base import TrainingData, load_training_data
from rebalance_core.generators.diffusion.conditional import ConditionalDdpmGenerator
from rebalance_core.generators.diffusion.config import ConditionalDdpmConfig, DdpmConfig
from rebalance_core.generators.diffusion.ddpm import DdpmGenerator
from rebalance_core.generators.diffusion.formulas import (
    SAMPLERS,
    balancing_loss,
    guided,
    min_snr_weights,
    signal_to_noise,
    target,
    weighted_error,
)
from rebalance_core.generators.diffusion.sampling import DiffusionGenerator
from rebalance_core.generators.diffusion.training import averaged, update
from rebalance_core.generators.diffusion.warps import SHIFT, draw_warps, warp_images
from rebalance_core.runs.run import MemoryRun
from rebalance_core.system.files import write_json
from rebalance_core.training.batches import to_uint8
from rebalance_core.training.device import create_accelerator
from rebalance_core.training.random import keyed_generator
from rebalance_core.training_sets.resolve import open_set
from rebalance_core.workspace import Workspace

SMALL = {"size": 16, "widths": (32,), "attention": (), "batch_size": 4, "steps": 4}


def alpha_bar(t: int, schedule: str) -> float:
    """Kept signal, from the papers' formulas."""
    if schedule == "linear":
        return float(np.prod(1 - np.linspace(1e-4, 0.02, 1000)[: t + 1]))

    def f(u: float) -> float:
        return float(np.cos((u + 0.008) / 1.008 * np.pi / 2) ** 2)

    betas = [min(1 - f((k + 1) / 1000) / f(k / 1000), 0.999) for k in range(t + 1)]
    return float(np.prod([1 - b for b in betas]))


def other_net(**changes: Any) -> Any:
    """A conditional U-Net in which every condition matters."""
    settings = {"shape": UNetShape(16, 1, (32, 32), 1, ()), "seed": 0, "unshuffle": 2}
    return seeded_conditional_unet(**{**settings, "classes": 3, "poses": 2, **changes}).eval()


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
@pytest.mark.parametrize("t", [0, 10, 500, 998])
def test_signal_to_noise_is_the_papers(schedule: str, t: int) -> None:
    kept = alpha_bar(t, schedule)
    assert signal_to_noise(schedule)[t].item() == pytest.approx(kept / (1 - kept), rel=2e-3)


def test_min_snr_weights_are_their_formulas() -> None:
    ratio = torch.tensor([0.5, 5.0, 20.0])
    # the noise: min(r, 5) / r; the velocity: min(r, 5) / (r + 1)
    assert min_snr_weights(ratio, 5.0, "epsilon").tolist() == [1.0, 1.0, 0.25]
    assert torch.allclose(
        min_snr_weights(ratio, 5.0, "v_prediction"), torch.tensor([0.5 / 1.5, 5 / 6, 5 / 21])
    )


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_velocity_and_noise_are_what_is_to_be_predicted(schedule: str) -> None:
    clean, noise = torch.randn(2, 1, 4, 4), torch.randn(2, 1, 4, 4)
    timesteps = torch.tensor([3, 700])
    kept = torch.tensor([alpha_bar(3, schedule), alpha_bar(700, schedule)]).reshape(2, 1, 1, 1)
    noisy, wanted = target(clean, noise, timesteps, "epsilon", schedule)
    expected = kept.sqrt() * clean + (1 - kept).sqrt() * noise
    assert torch.allclose(noisy, expected.float(), atol=1e-4)
    assert torch.equal(wanted, noise)
    noisy, wanted = target(clean, noise, timesteps, "v_prediction", schedule)
    assert torch.allclose(noisy, expected.float(), atol=1e-4)
    velocity = kept.sqrt() * noise - (1 - kept).sqrt() * clean
    assert torch.allclose(wanted, velocity.float(), atol=1e-4)


def test_weighted_error_by_hand() -> None:
    wanted, timesteps = torch.zeros(2, 1, 2, 2), torch.tensor([0, 999])
    predicted = torch.stack([torch.ones(1, 2, 2), 2 * torch.ones(1, 2, 2)])
    plain = weighted_error(predicted, wanted, timesteps, "epsilon", "linear", None)
    assert plain.item() == pytest.approx((1 + 4) / 2)
    ratio = signal_to_noise("linear")
    assert ratio[0] > 5 > ratio[999]
    weighted = weighted_error(predicted, wanted, timesteps, "epsilon", "linear", 5.0)
    assert weighted.item() == pytest.approx((5 / ratio[0].item() * 1 + 4) / 2)


def test_class_balancing_by_hand_and_each_side_moves_as_it_should() -> None:
    predicted = torch.full((1, 1, 2, 2), 3.0, requires_grad=True)
    other = torch.full((1, 1, 2, 2), 1.0, requires_grad=True)
    loss = balancing_loss(predicted, other, torch.tensor([500]), tau=1.0)
    # t / T · (3 - 1)² and a quarter of it
    assert loss.item() == pytest.approx(0.5 * 4 * 1.25)
    loss.backward()
    assert predicted.grad is not None and other.grad is not None
    # half the weight, twice the difference, a quarter of a pixel; the other side a quarter, back
    assert torch.allclose(predicted.grad, torch.full((1, 1, 2, 2), 0.5 * 2 * 2 / 4))
    assert torch.allclose(other.grad, torch.full((1, 1, 2, 2), -0.25 * 0.5 * 2 * 2 / 4))


def test_guidance_of_one_is_the_conditional_prediction_and_others_lie_on_its_line() -> None:
    net = other_net()
    noisy, t = torch.randn(2, 1, 16, 16), torch.tensor(400)
    labels, poses = torch.tensor([0, 2]), torch.tensor([1, 2])
    still = torch.zeros(2, AUGMENT_DIM)
    with torch.no_grad():
        told = net(noisy, t, labels, poses, still)
        free = net(noisy, t, torch.tensor([3, 3]), torch.tensor([2, 2]), still)
        assert torch.equal(guided(net, labels, poses, 1.0)(noisy, t), told)
        assert (told - free).abs().max() > 0.01
        for scale in (0.0, 2.5):
            expected = free + scale * (told - free)
            assert torch.allclose(guided(net, labels, poses, scale)(noisy, t), expected, atol=1e-4)


def test_unshuffled_net_makes_images_of_the_full_size() -> None:
    for unshuffle in (1, 2, 4):
        net = other_net(unshuffle=unshuffle, shape=UNetShape(32, 3, (32, 32), 1, ()))
        assert (net.size, net.channels) == (32, 3)
        images = net(
            torch.randn(2, 3, 32, 32),
            torch.tensor(5),
            torch.tensor([0, 1]),
            torch.tensor([2, 2]),
            torch.zeros(2, AUGMENT_DIM),
        )
        assert images.shape == (2, 3, 32, 32)


def test_averaged_weights_equal_the_closed_form_and_the_trained_ones_come_back() -> None:
    model = torch.nn.Linear(1, 1, bias=False)
    decay, values = 0.9, [1.0, 2.0, 4.0, 8.0]
    torch.nn.init.constant_(model.weight, values[0])
    average = EMAModel(model.parameters(), decay)
    for value in values[1:]:
        torch.nn.init.constant_(model.weight, value)
        average.step(model.parameters())
    # it starts as a copy; then decays (1 + n) / (10 + n), at most 0.9, for the n-th after it
    decays = [0.0, min(0.9, 2 / 11), min(0.9, 3 / 12)]
    expected = sum(
        (1 - d) * v * float(np.prod(decays[k + 1 :]))
        for k, (d, v) in enumerate(zip(decays, values[1:], strict=True))
    ) + values[0] * float(np.prod(decays))
    with averaged(model, average):
        assert model.weight.item() == pytest.approx(expected, rel=1e-6)
    assert model.weight.item() == 8.0


def test_average_far_on_is_the_closed_form_of_a_constant_decay() -> None:
    model = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(model.weight, 0.0)
    average = EMAModel(model.parameters(), 0.5)
    average.optimization_step = 1000  # past the steps in which the decay grows
    torch.nn.init.constant_(model.weight, 1.0)
    for _ in range(7):
        average.step(model.parameters())
    assert average.shadow_params[0].item() == pytest.approx(1 - 0.5**7, rel=1e-6)


def test_warps_of_zero_leave_images_alone_and_moves_do_what_they_say() -> None:
    images = torch.randn(3, 1, 8, 8)
    warps = torch.zeros(3, AUGMENT_DIM)
    assert torch.equal(warp_images(images, warps), images)
    warps[1, 0] = 1  # a mirror
    warps[2, 3] = 0.25 / SHIFT  # a quarter of the side to the right
    moved = warp_images(images, warps)
    assert torch.equal(moved[0], images[0])
    assert torch.allclose(moved[1], images[1].flip(-1), atol=1e-5)
    assert torch.allclose(moved[2][..., 2:], images[2][..., :-2], atol=1e-5)
    assert torch.allclose(moved[2][..., :2], images[2][..., :1].expand(1, 8, 2), atol=1e-5)


def test_warps_happen_as_often_as_asked() -> None:
    random = keyed_generator(0)
    assert not draw_warps(100, 0.0, random).any()
    drawn = draw_warps(4000, 0.25, random)
    assert drawn.ne(0).float().mean(dim=0).tolist() == pytest.approx([0.25] * AUGMENT_DIM, abs=0.03)
    assert torch.equal(drawn[:, 3] != 0, drawn[:, 4] != 0), "a shift is one move"
    assert set(drawn[:, 0].tolist()) == {0.0, 1.0}


# Samples ---------------------------------------------------------------------------------------


@pytest.fixture
def data(workspace: Workspace, phantom: Dataset) -> Callable[..., TrainingData]:
    return lambda size, **more: load_training_data(
        phantom, open_set(workspace, "phantom"), size, **more
    )


def make_ddpm(data: Callable[..., TrainingData], **changes: Any) -> DdpmGenerator:
    config = DdpmConfig.from_preset("quick", **{**SMALL, "classes": ("glioma",), **changes})
    return DdpmGenerator.fit(config, data(16), MemoryRun())


def make_conditional(data: Callable[..., TrainingData], **changes: Any) -> ConditionalDdpmGenerator:
    config = ConditionalDdpmConfig.from_preset("quick", **{**SMALL, **changes})
    return ConditionalDdpmGenerator.fit(config, data(16), MemoryRun())


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_an_image_is_the_same_whatever_the_batch(
    sampler: str, data: Callable[..., TrainingData]
) -> None:
    both: tuple[DiffusionGenerator, ...] = (make_ddpm(data), make_conditional(data))
    for made in both:
        asked: dict[str, Any] = {"guidance": 2.0} if "guidance" in made.options else {}

        def whole(rows: range, made: Any = made, asked: Any = asked) -> Tensor:
            *_, images = made._denoised("glioma", 5, rows, sampler, 6, asked)
            return images

        eight = whole(range(8))
        for k in (0, 3, 7):
            assert (whole(range(k, k + 1)) - eight[k]).abs().max() <= 1e-3


def test_plain_diffusers_gives_the_same_image(
    data: Callable[..., TrainingData], tmp_path: Path
) -> None:
    made = make_ddpm(data)
    made.save(tmp_path)
    pipeline = DDPMPipeline.from_pretrained(tmp_path / "class-0")
    pipeline.set_progress_bar_config(disable=True)
    random = [keyed_generator(7, 0, k) for k in range(2)]
    theirs = pipeline(
        batch_size=2, generator=random, num_inference_steps=10, output_type="np"
    ).images
    (ours,) = made.sample("glioma", 2, 7, sampler="ddpm", steps=10)
    assert np.abs(np.round(theirs * 255) - ours).max() <= 1


def test_plain_diffusers_opens_the_parts_of_the_conditional_one(
    data: Callable[..., TrainingData], tmp_path: Path
) -> None:
    made = make_conditional(data)
    made.save(tmp_path)
    unet = UNet2DModel.from_pretrained(tmp_path / "unet")
    folded, told = torch.randn(1, 4, 8, 8), torch.randn(1, unet.config.time_embedding_dim)
    with torch.no_grad():
        expected = made.model.unet(folded, torch.tensor(3), told).sample
        opened = unet(folded, torch.tensor(3), told).sample
    assert torch.allclose(opened, expected, atol=1e-5)
    schedule = DDPMScheduler.from_pretrained(tmp_path / "scheduler")
    assert schedule.config.prediction_type == "v_prediction"
    assert schedule.config.beta_schedule == "squaredcos_cap_v2"


def test_denoising_goes_from_noise_to_the_sample(data: Callable[..., TrainingData]) -> None:
    made = make_conditional(data)
    frames = list(made.denoising_frames("glioma", 2, 3, frames=4, steps=9))
    assert len(frames) == 4
    (sampled,) = made.sample("glioma", 2, 3, steps=9)
    assert np.array_equal(frames[-1], sampled)
    rngs = [keyed_generator(3, 0, k) for k in range(2)]
    noise = torch.cat([torch.randn((1, 1, 16, 16), generator=rng) for rng in rngs])
    assert np.array_equal(frames[0], to_uint8(noise))
    assert len(list(made.denoising_frames("glioma", 1, 3, frames=21, steps=5))) == 6


def test_classes_differ_and_the_guidance_is_heard(data: Callable[..., TrainingData]) -> None:
    made = make_conditional(data, steps=10)
    (one,) = made.sample("glioma", 1, 0, guidance=1.0)
    (other,) = made.sample("notumor", 1, 0, guidance=1.0)
    (more,) = made.sample("glioma", 1, 0, guidance=4.0)
    assert not np.array_equal(one, other)
    assert not np.array_equal(one, more)
    with pytest.raises(UserError, match="guidance=21"):
        list(made.sample("glioma", 1, 0, guidance=21))


def test_guidance_of_a_model_without_conditions_is_refused(
    data: Callable[..., TrainingData],
) -> None:
    with pytest.raises(UserError, match="not have the option guidance; it has sampler, steps"):
        list(make_ddpm(data).sample("glioma", 1, 0, guidance=2.0))


def test_poses_are_told_and_drawn_as_often_as_training_had_them(
    data: Callable[..., TrainingData],
) -> None:
    ids = data(16).train.ids
    pose_of = {name: ("axial", "sagittal")[k % 4 == 0] for k, name in enumerate(ids[:-1])}
    seen = data(16, pose_of=pose_of)
    assert seen.poses == ("axial", "sagittal")
    assert seen.train_poses[-1] == 2, "an image without a pose"
    assert seen.train_poses[:4].tolist() == [1, 0, 0, 0]
    config = ConditionalDdpmConfig.from_preset("quick", **SMALL, poses=True)
    made = ConditionalDdpmGenerator.fit(config, seen, MemoryRun())
    assert made.shares.sum() == len(ids)
    number = made.names.index("notumor")
    shares = made.shares[number] / made.shares[number].sum()
    drawn = made._poses(number, 0, range(600))
    assert torch.equal(drawn[100:110], made._poses(number, 0, range(100, 110)))
    counted = torch.bincount(drawn, minlength=3) / 600
    assert counted.tolist() == pytest.approx(shares.tolist(), abs=0.06)


def test_accumulated_batches_are_one_larger_batch() -> None:
    inputs, after = torch.randn(4, 3), []
    for accumulation in (1, 2):
        config = DdpmConfig.from_preset("quick", accumulation=accumulation)
        model = torch.nn.Linear(3, 1)
        torch.nn.init.constant_(model.weight, 0.1)
        torch.nn.init.zeros_(model.bias)
        optimizer = torch.optim.SGD(model.parameters(), 0.01)
        parts = inputs.chunk(accumulation)
        loss = update(
            config,
            create_accelerator("fp32"),
            model,
            optimizer,
            lambda part, model=model, parts=parts: model(parts[part]).square().mean(),
        )
        after.append((loss.item(), *model.weight.flatten().tolist()))
    assert after[0] == pytest.approx(after[1], rel=1e-5)
    assert after[0][1:] != (0.1, 0.1, 0.1)


def test_a_loss_that_is_no_number_ends_the_run_and_says_what_helps(
    data: Callable[..., TrainingData],
) -> None:
    run = MemoryRun()
    config = ConditionalDdpmConfig.from_preset("quick", **{**SMALL, "lr": 1e30, "steps": 30})
    with pytest.raises(UserError, match=r"loss is nan at step \d+; a smaller lr helps"):
        ConditionalDdpmGenerator.fit(config, data(16), run)


@pytest.mark.parametrize("kind", [make_ddpm, make_conditional])
def test_a_folder_that_is_no_model_or_holds_a_pickle_is_refused(
    kind: Any, data: Callable[..., TrainingData], tmp_path: Path
) -> None:
    made = kind(data)
    with pytest.raises(UserError, match="does not contain a trained generator: "):
        type(made).load(tmp_path)
    made.save(tmp_path)
    hidden = next(tmp_path.rglob("unet")) / "diffusion_pytorch_model.bin"
    hidden.write_bytes(b"cos\nsystem\n(S'touch /tmp/owned'\ntR.")
    with pytest.raises(UserError, match=r"diffusion_pytorch_model\.bin is a pickle"):
        type(made).load(tmp_path)
    hidden.unlink()
    next(tmp_path.rglob("diffusion_pytorch_model.safetensors")).write_bytes(b"not weights")
    with pytest.raises(UserError, match="does not contain a readable diffusion model"):
        type(made).load(tmp_path)


def test_paper_unet_is_ours_by_default() -> None:
    config = DdpmConfig.from_preset("paper")
    unet = seeded_unet(config.unet_shape(1), 0)
    assert sum(p.numel() for p in unet.parameters()) == 113_668_609


def unet_files(folder: Path) -> tuple[Path, Path]:
    unet = next(folder.rglob("unet"))
    return unet / "config.json", unet / "diffusion_pytorch_model.safetensors"


HOSTILE_CONFIGS: list[dict[str, Any]] = [
    {"layers_per_block": 100_000},
    {"sample_size": 10**9},
    {"in_channels": 10**9},
    {"in_channels": None},
    {"norm_num_groups": 0},
    {"norm_num_groups": 10**9},
    {"attention_head_dim": 0},
    {"block_out_channels": [10**9]},
    {"down_block_types": ["os.system"]},
]


@pytest.mark.parametrize("kind", [make_ddpm, make_conditional])
def test_a_hostile_config_of_the_unet_is_refused_before_it_is_built(
    kind: Any, data: Callable[..., TrainingData], tmp_path: Path
) -> None:
    made = kind(data)
    made.save(tmp_path)
    config, _ = unet_files(tmp_path)
    sound = json.loads(config.read_text())
    for change in HOSTILE_CONFIGS:
        write_json(config, {**sound, **change})
        started = time.monotonic()
        with pytest.raises(UserError, match=r"not contain a readable diffusion model .*config"):
            type(made).load(tmp_path)
        assert time.monotonic() - started < 5, change
    write_json(config, [1])
    with pytest.raises(UserError, match=r"config\.json is not an object"):
        type(made).load(tmp_path)
    # what the library would import by it is not looked at
    write_json(config, {**sound, "quantization_config": {"quant_method": "bitsandbytes"}})
    assert type(made).load(tmp_path).classes == made.classes


@pytest.mark.parametrize("kind", [make_ddpm, make_conditional])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda w: w.pop("conv_out.weight"), "the weights lack conv_out.weight"),
        (lambda w: w.update(extra=torch.zeros(1)), "the weights have the unknown extra"),
        (
            lambda w: w.update({"conv_out.bias": torch.zeros(7)}),
            r"conv_out.bias has the shape \(7,\), not \(",
        ),
        (
            lambda w: w.update({"conv_out.bias": w["conv_out.bias"].to(torch.complex64)}),
            "conv_out.bias has the type C64, not F32",
        ),
        (
            lambda w: w.update({"conv_out.bias": w["conv_out.bias"].to(torch.int64)}),
            "conv_out.bias has the type I64, not F32",
        ),
        (lambda w: w["conv_out.bias"].fill_(float("nan")), "conv_out.bias contains NaN or inf"),
        (lambda w: w["conv_out.bias"].fill_(float("inf")), "conv_out.bias contains NaN or inf"),
    ],
)
def test_weights_that_are_not_the_networks_are_refused(
    kind: Any,
    change: Callable[[dict[str, Tensor]], object],
    words: str,
    data: Callable[..., TrainingData],
    tmp_path: Path,
) -> None:
    made = kind(data)
    made.save(tmp_path)
    _, file = unet_files(tmp_path)
    weights = {name: tensor.clone() for name, tensor in load_file(file).items()}
    change(weights)
    save_file(weights, file)
    with pytest.raises(UserError, match=words):
        type(made).load(tmp_path)


def test_a_narrow_unet_of_an_earlier_version_keeps_its_groups(
    data: Callable[..., TrainingData], tmp_path: Path
) -> None:
    made = make_ddpm(data)
    made.save(tmp_path)
    config, _ = unet_files(tmp_path)
    write_json(config, {**json.loads(config.read_text()), "norm_num_groups": 32})
    loaded = DdpmGenerator.load(tmp_path)
    assert {unet.config.norm_num_groups for unet in loaded.unets.values()} <= {32, 8}
    assert 32 in {unet.conv_norm_out.num_groups for unet in loaded.unets.values()}
