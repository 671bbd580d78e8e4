"""Random numbers that depend on their key alone, so that resuming is exact."""

import numpy as np
import torch


def derive_seed(*key: int) -> int:
    """A 63-bit seed from non-negative integers; different keys give independent seeds."""
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1)


def keyed_generator(*key: int) -> torch.Generator:
    """A CPU generator seeded by `key` alone, for instance (seed, stage, step)."""
    return torch.Generator().manual_seed(derive_seed(*key))
