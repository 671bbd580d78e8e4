"""Rows of batches, and pixels as tensors."""

import numpy as np
import torch
from torch import Tensor


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


def to_unit(images: np.ndarray | Tensor) -> Tensor:
    """uint8 (n, H, W, C) → float (n, C, H, W) in [-1, 1], channels last in memory."""
    tensor = torch.as_tensor(np.array(images) if isinstance(images, np.ndarray) else images)
    return tensor.permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)


def to_uint8(images: Tensor) -> np.ndarray:
    """float (n, C, H, W) in [-1, 1] → uint8 (n, H, W, C)."""
    scaled = images.detach().float().clamp(-1, 1).add(1).mul(127.5).round()
    return scaled.to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()
