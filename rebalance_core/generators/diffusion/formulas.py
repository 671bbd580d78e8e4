"""Denoising diffusion as pure functions: what is predicted, how it counts, how it is sampled."""

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    UniPCMultistepScheduler,
)
from torch import Tensor

from models.unet import TIMESTEPS, ConditionalUNet, noise_schedule

Predict = Callable[[Tensor, Tensor], Tensor]  # noisy (n, C, H, W), timesteps → (n, C, H, W)

# Each keeps its guess of the clean image within [-1, 1]: at the noisiest steps a small error of
# the predicted noise is a hundred times larger in the image. Few steps must begin at the noisiest
# (Lin et al. 2023, arXiv 2305.08891).
_FAST = {"thresholding": True, "sample_max_value": 1.0, "timestep_spacing": "trailing"}
SAMPLERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "ddpm": (DDPMScheduler, {"clip_sample": True}),
    "ddim": (DDIMScheduler, {"clip_sample": True, "timestep_spacing": "trailing"}),
    "dpm-solver++": (DPMSolverMultistepScheduler, _FAST),
    "unipc": (UniPCMultistepScheduler, _FAST),
}
CBDM_COMMIT = 0.25  # γ of arXiv 2305.00562, section 4.1


_schedule = cache(noise_schedule)  # each batch asks for one


@cache
def signal_to_noise(schedule: str) -> Tensor:
    """ᾱ / (1 - ᾱ) of each timestep: (1000,)."""
    kept: Tensor = _schedule("epsilon", schedule).alphas_cumprod
    return kept / (1 - kept)


def min_snr_weights(ratio: Tensor, gamma: float, prediction: str) -> Tensor:
    """Weights (n,) for signal-to-noise ratios (n,): min(ratio, γ) / ratio where the noise is
    predicted, min(ratio, γ) / (ratio + 1) where the velocity is (Hang et al. 2023,
    arXiv 2303.09556, section 3.4)."""
    capped = ratio.clamp(max=gamma)
    return capped / (ratio + 1 if prediction == "v_prediction" else ratio)


def target(
    clean: Tensor, noise: Tensor, timesteps: Tensor, prediction: str, schedule: str
) -> tuple[Tensor, Tensor]:
    """The noisy images and what is to be predicted of them: the noise (Ho et al. 2020, eq. 14) or
    the velocity √ᾱ ε - √(1-ᾱ) x (Salimans and Ho 2022, arXiv 2202.00512); all (n, C, H, W)."""
    scheduler = _schedule(prediction, schedule)
    noisy = scheduler.add_noise(clean, noise, timesteps)
    velocity = prediction == "v_prediction"
    return noisy, scheduler.get_velocity(clean, noise, timesteps) if velocity else noise


def weighted_error(
    predicted: Tensor,
    wanted: Tensor,
    timesteps: Tensor,
    prediction: str,
    schedule: str,
    min_snr: float | None,
) -> Tensor:
    """Mean squared error over all pixels, each image weighted by its timestep; a scalar."""
    if min_snr is None:
        return F.mse_loss(predicted.float(), wanted)
    ratio = signal_to_noise(schedule).to(timesteps.device)[timesteps]
    weights = min_snr_weights(ratio, min_snr, prediction)
    errors = (predicted.float() - wanted).square().flatten(1).mean(dim=1)
    return (weights * errors).mean()


def balancing_loss(predicted: Tensor, other: Tensor, timesteps: Tensor, tau: float) -> Tensor:
    """Class balancing (Qin et al. 2023, arXiv 2305.00562, eq. 9): the prediction under an image's
    class is drawn to the one under a class drawn uniformly, `other`, and a quarter of that the
    other way round; more where the image is noisier."""
    weights = tau * timesteps / TIMESTEPS

    def apart(moved: Tensor, still: Tensor) -> Tensor:
        errors = (moved.float() - still.detach().float()).square().flatten(1).mean(dim=1)
        return (weights * errors).mean()

    return apart(predicted, other) + CBDM_COMMIT * apart(other, predicted)


def draw_timesteps(n: int, random: torch.Generator) -> Tensor:
    """int64 (n,) in 0 … 999, uniform."""
    return torch.randint(TIMESTEPS, (n,), generator=random)


def guided(model: ConditionalUNet, labels: Tensor, poses: Tensor, guidance: float) -> Predict:
    """Classifier-free guidance (Ho and Salimans 2022, arXiv 2207.12598): the prediction without a
    condition, moved `guidance` times the way to the one for `labels` and `poses`, both (n,)."""
    still = labels.new_zeros((len(labels), model.conditions.warp.in_features)).float()
    if guidance == 1:
        return lambda noisy, t: model(noisy, t, labels, poses, still).float()
    both_labels = torch.cat([labels, torch.full_like(labels, model.conditions.classes)])
    both_poses = torch.cat([poses, torch.full_like(poses, model.conditions.poses)])
    both_still = torch.cat([still, still])

    def predict(noisy: Tensor, t: Tensor) -> Tensor:
        both = model(torch.cat([noisy, noisy]), t, both_labels, both_poses, both_still).float()
        told, free = both.chunk(2)
        return torch.lerp(free, told, guidance)

    return predict


def denoising(
    predict: Predict,
    noise: Tensor,
    randoms: list[torch.Generator],
    sampler: str,
    steps: int,
    prediction: str,
    schedule: str,
) -> Iterator[Tensor]:
    """The images after each step, from `noise` (n, C, H, W) to about [-1, 1]; image k depends on
    its noise and its own random generator alone."""
    kind, options = SAMPLERS[sampler]
    scheduler = kind.from_config(_schedule(prediction, schedule).config, **options)
    scheduler.set_timesteps(steps)
    # Only the ancestral sampler draws noise on its way: each image from its own generator.
    extra = {"generator": randoms} if sampler == "ddpm" else {}
    for t in scheduler.timesteps:
        noise = scheduler.step(predict(noise, t), t, noise, **extra).prev_sample
        yield noise
