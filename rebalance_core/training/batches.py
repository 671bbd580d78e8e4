"""Indices of batches, and conversion between pixels and tensors."""

import numpy as np
import torch
from torch import Tensor


def batch_indices(n: int, batch_size: int, step: int, *key: int) -> np.ndarray:
    """Indices int64 (≤ batch_size,) into n images of the batch at `step`: each epoch is one
    permutation, drawn from (key, epoch) alone; its last batch may be smaller.

    A last batch of a single image gets a second one, since batch norm needs two.
    """
    epoch, batch = divmod(step, steps_per_epoch(n, batch_size))
    order = np.random.default_rng([*key, epoch]).permutation(n)
    indices = order[batch * batch_size : (batch + 1) * batch_size]
    return np.append(indices, order[0]) if len(indices) == 1 else indices


def balanced_indices(labels: np.ndarray, batch_size: int, step: int, *key: int) -> np.ndarray:
    """Indices int64 (batch_size,) of a batch drawn with replacement from (key, step) alone: the
    class uniformly from those in `labels` (n,), then an image of that class uniformly."""
    rng = np.random.default_rng([*key, step])
    classes = np.unique(labels)
    members = [np.flatnonzero(labels == c) for c in classes]
    drawn_classes = rng.integers(len(classes), size=batch_size)
    return np.array([rng.choice(members[c]) for c in drawn_classes])


def steps_per_epoch(n: int, batch_size: int) -> int:
    """Batches per epoch, the smaller last one included; at least 1."""
    return max(1, -(-n // batch_size))


def to_float(images: np.ndarray | Tensor) -> Tensor:
    """uint8 (n, H, W, C) → float32 (n, C, H, W) in [-1, 1], channels last in memory."""
    tensor = torch.as_tensor(np.array(images) if isinstance(images, np.ndarray) else images)
    return tensor.permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)


def to_uint8(images: Tensor) -> np.ndarray:
    """float (n, C, H, W) in [-1, 1], clamped → uint8 (n, H, W, C)."""
    scaled = images.detach().float().clamp(-1, 1).add(1).mul(127.5).round()
    return scaled.to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()
