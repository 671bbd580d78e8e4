"""Synthetic sets of noise for tests that need any."""

import numpy as np

from rebalance_core.imaging.grid import png_bytes
from rebalance_core.system.files import write_bytes, write_json
from rebalance_core.training_sets.resolve import open_set
from rebalance_core.workspace import Workspace


def synthetic_set(workspace: Workspace, kind: str, set_name: str, count: int = 10) -> str:
    """A synthetic set of noise, as written by the job `sample`."""
    name = f"{set_name}-{kind}"
    chosen = open_set(workspace, set_name)
    random = np.random.default_rng(len(kind))
    for label in chosen.minority:
        for k in range(count):
            image = random.integers(0, 255, (32, 32, 1), dtype=np.uint8)
            write_bytes(workspace.synthetic / name / label / f"{k:06d}.png", png_bytes(image))
    write_json(
        workspace.synthetic / name / "provenance.json",
        {
            "generator": kind,
            "run": "none",
            "sample_run": "none",
            "seed": 0,
            "size": 32,
            "training_set": chosen.to_json(),
            "training": {},
            "sampler": {},
            "filters": [],
            "counts": dict.fromkeys(chosen.minority, count),
        },
    )
    return name
