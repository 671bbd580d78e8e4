"""Random numbers that depend on nothing but their key."""

import numpy as np
import torch


def derived_seed(*key: int) -> int:
    """One seed out of several numbers; different keys give unrelated seeds."""
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1)


def generator(*key: int) -> torch.Generator:
    """A CPU generator that depends on `key` alone: (seed, stage, step) makes resuming exact."""
    return torch.Generator().manual_seed(derived_seed(*key))
