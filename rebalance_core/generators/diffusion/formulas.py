"""Denoising diffusion as pure functions: targets, losses, guidance and sampling."""

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

# Each clips its estimate of the clean image to [-1, 1]: at the noisiest timesteps a small error of
# the predicted noise is a hundred times larger in the image. With few steps, sampling must start
# at the noisiest timestep (Lin et al. 2023, arXiv 2305.08891).
_FAST = {"thresholding": True, "sample_max_value": 1.0, "timestep_spacing": "trailing"}
SAMPLERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "ddpm": (DDPMScheduler, {"clip_sample": True}),
    "ddim": (DDIMScheduler, {"clip_sample": True, "timestep_spacing": "trailing"}),
    "dpm-solver++": (DPMSolverMultistepScheduler, _FAST),
    "unipc": (UniPCMultistepScheduler, _FAST),
}
CBDM_COMMIT = 0.25  # γ of arXiv 2305.00562, section 4.1


_schedule = cache(noise_schedule)  # called for each batch


@cache
def signal_to_noise(schedule: str) -> Tensor:
    """SNR = ᾱ / (1 - ᾱ) of each timestep, (1000,)."""
    alpha_bar: Tensor = _schedule("epsilon", schedule).alphas_cumprod
    return alpha_bar / (1 - alpha_bar)


def min_snr_weights(snr: Tensor, gamma: float, prediction: str) -> Tensor:
    """Min-SNR weights (n,) (Hang et al. 2023, arXiv 2303.09556, section 3.4).

    min(SNR, γ) / SNR for noise prediction, min(SNR, γ) / (SNR + 1) for velocity prediction.
    """
    clamped = snr.clamp(max=gamma)
    return clamped / (snr + 1 if prediction == "v_prediction" else snr)


def target(
    clean: Tensor, noise: Tensor, timesteps: Tensor, prediction: str, schedule: str
) -> tuple[Tensor, Tensor]:
    """(noisy images, prediction target), both (n, C, H, W).

    The target is the noise (Ho et al. 2020, eq. 14) or the velocity √ᾱ ε - √(1-ᾱ) x (Salimans and
    Ho 2022, arXiv 2202.00512).
    """
    scheduler = _schedule(prediction, schedule)
    noisy = scheduler.add_noise(clean, noise, timesteps)
    is_velocity = prediction == "v_prediction"
    return noisy, scheduler.get_velocity(clean, noise, timesteps) if is_velocity else noise


def weighted_error(
    pred: Tensor,
    target: Tensor,
    timesteps: Tensor,
    prediction: str,
    schedule: str,
    min_snr: float | None,
) -> Tensor:
    """Mean squared error, a scalar; with `min_snr` as γ, weighted by each image's timestep."""
    if min_snr is None:
        return F.mse_loss(pred.float(), target)
    snr = signal_to_noise(schedule).to(timesteps.device)[timesteps]
    weights = min_snr_weights(snr, min_snr, prediction)
    errors = (pred.float() - target).square().flatten(1).mean(dim=1)
    return (weights * errors).mean()


def balancing_loss(pred: Tensor, other: Tensor, timesteps: Tensor, tau: float) -> Tensor:
    """Class-balancing loss (CBDM, Qin et al. 2023, arXiv 2305.00562, eq. 9), a scalar.

    `pred` is conditioned on the image's class, `other` on a uniformly drawn one; each is pulled
    towards the other, detached, the latter with weight γ = CBDM_COMMIT.
    """
    weights = tau * timesteps / TIMESTEPS

    def distance(pred: Tensor, target: Tensor) -> Tensor:
        errors = (pred.float() - target.detach().float()).square().flatten(1).mean(dim=1)
        return (weights * errors).mean()

    return distance(pred, other) + CBDM_COMMIT * distance(other, pred)


def draw_timesteps(n: int, random: torch.Generator) -> Tensor:
    """Timesteps drawn uniformly from 0 to 999, int64 (n,)."""
    return torch.randint(TIMESTEPS, (n,), generator=random)


def guided(model: ConditionalUNet, labels: Tensor, poses: Tensor, guidance: float) -> Predict:
    """Classifier-free guidance (Ho and Salimans 2022, arXiv 2207.12598).

    uncond + guidance · (cond - uncond), conditioned on `labels` and `poses`, both (n,); `guidance`
    is 1 + w in the paper's notation.
    """
    no_warp = labels.new_zeros((len(labels), model.conditions.warp.in_features)).float()
    if guidance == 1:
        return lambda noisy, t: model(noisy, t, labels, poses, no_warp).float()
    both_labels = torch.cat([labels, torch.full_like(labels, model.conditions.classes)])
    both_poses = torch.cat([poses, torch.full_like(poses, model.conditions.poses)])
    both_no_warp = torch.cat([no_warp, no_warp])

    def predict(noisy: Tensor, t: Tensor) -> Tensor:
        both = model(torch.cat([noisy, noisy]), t, both_labels, both_poses, both_no_warp).float()
        cond, uncond = both.chunk(2)
        return torch.lerp(uncond, cond, guidance)

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
    """Yield the images after each step, from `noise` (n, C, H, W) to about [-1, 1].

    Image k depends only on its noise and on `randoms[k]`.
    """
    scheduler_class, options = SAMPLERS[sampler]
    scheduler = scheduler_class.from_config(_schedule(prediction, schedule).config, **options)
    scheduler.set_timesteps(steps)
    # Only the ancestral sampler adds noise, for each image from its own generator.
    extra = {"generator": randoms} if sampler == "ddpm" else {}
    for t in scheduler.timesteps:
        noise = scheduler.step(predict(noise, t), t, noise, **extra).prev_sample
        yield noise
