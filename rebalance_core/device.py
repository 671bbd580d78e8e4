"""Device and precision (by accelerate), and random numbers that depend on nothing but their key."""

import math

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor

from rebalance_core.config import Precision


def fast_bf16() -> bool:
    """True where bf16 is faster than fp32: recent GPUs, CPUs with AMX or AVX-512 BF16."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if torch.backends.mps.is_available():
        return False
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def open_device(precision: Precision) -> Accelerator:
    """The best device at the wanted precision; `auto` is bf16 where that is fast."""
    wanted = "bf16" if precision == "bf16" or (precision == "auto" and fast_bf16()) else "no"
    if AcceleratorState._shared_state and AcceleratorState().mixed_precision != wanted:
        AcceleratorState._reset_state()  # one process may train several things in turn
    return Accelerator(mixed_precision=wanted)


def derived_seed(*key: int) -> int:
    """One seed out of several numbers; different keys give unrelated seeds."""
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1)


def generator(*key: int) -> torch.Generator:
    """A CPU generator that depends on `key` alone: (seed, stage, step) makes resuming exact."""
    return torch.Generator().manual_seed(derived_seed(*key))


def batch_rows(n: int, batch_size: int, step: int, *key: int) -> np.ndarray:
    """Rows of the batch at `step`: epochs of one permutation each, the last batch may be short.

    A last batch of one row takes a second one along: batch norm cannot do with one.
    """
    per_epoch = steps_per_epoch(n, batch_size)
    epoch, place = divmod(step, per_epoch)
    order = np.random.default_rng([*key, epoch]).permutation(n)
    rows = order[place * batch_size : (place + 1) * batch_size]
    return np.append(rows, order[0]) if len(rows) == 1 else rows


def balanced_rows(labels: np.ndarray, batch_size: int, step: int, *key: int) -> np.ndarray:
    """Rows of a batch in which each class present is as likely as any other; classes of few
    images come round more often."""
    random = np.random.default_rng([*key, step])
    classes = np.unique(labels)
    rows = [np.flatnonzero(labels == c) for c in classes]
    drawn = random.integers(len(classes), size=batch_size)
    return np.array([random.choice(rows[c]) for c in drawn])


def steps_per_epoch(n: int, batch_size: int) -> int:
    return max(1, -(-n // batch_size))


def warmup_cosine(step: int, warmup: int, total: int) -> float:
    """Factor of the learning rate: linear from 0 to 1 over `warmup`, then half a cosine to 0."""
    if step < warmup:
        return step / max(1, warmup)
    done = (step - warmup) / max(1, total - warmup)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def to_unit(images: np.ndarray | Tensor) -> Tensor:
    """uint8 (n, H, W, C) → float (n, C, H, W) in [-1, 1], channels last in memory."""
    tensor = torch.as_tensor(np.array(images) if isinstance(images, np.ndarray) else images)
    return tensor.permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)


def to_uint8(images: Tensor) -> np.ndarray:
    """float (n, C, H, W) in [-1, 1] → uint8 (n, H, W, C)."""
    scaled = images.detach().float().clamp(-1, 1).add(1).mul(127.5).round()
    return scaled.to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()
