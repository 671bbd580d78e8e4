"""Claim: VGG-16 features are at least 2.8 times as fast as one image at a time in fp32.

Theirs: the loop of the article whose clustering the paper uses (its reference 2): one image at a
time through the network in fp32. Ours: the same weights in our extractor at precision `auto`. Five
interleaved pairs on the same phantoms; the weights are random, which does not affect the time.
Guards: the features have a cosine similarity near 1, and K-means finds the same clusters.
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from sklearn.metrics import adjusted_rand_score
from torch import nn
from torchvision import models

from benchmarks._report import Guard, medians, report
from rebalance_core.datasets.phantom import draw_phantoms
from rebalance_core.imaging.grid import resize_images
from rebalance_core.poses.kmeans import fit_restarts, project
from rebalance_core.poses.networks import (
    best_device,
    headless,
    load_extractor,
    network_input,
    resolved_precision,
)

PAIRS = 5
IMAGES = 32  # per pair
TARGET = 2.8


def random_vgg16() -> nn.Module:
    """VGG-16 with He initialisation, which keeps the scale of activations through all layers."""
    with torch.device("meta"):
        network: nn.Module = models.vgg16()
    draw = torch.Generator().manual_seed(0)
    state = {
        name: torch.randn(tensor.shape, generator=draw) * (2 / tensor[0].numel()) ** 0.5
        if tensor.dim() > 1
        else torch.zeros(tensor.shape)
        for name, tensor in network.state_dict().items()
    }
    network.load_state_dict(state, assign=True)
    return network


def one_at_a_time(network: nn.Module, images: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        device = best_device()
        return np.concatenate([network(network_input(i[None]).to(device)).cpu() for i in images])


def clusters(features: np.ndarray) -> np.ndarray:
    points, _ = project(features, np.arange(len(features)), 50, None, seed=0)
    return fit_restarts(points, 3, 10, seed=0)[0].labels


def main() -> int:
    network = random_vgg16()
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "vgg16.safetensors"
        save_file(network.state_dict(), weights)
        ours = load_extractor("vgg16", weights, resolved_precision("auto"))
    theirs = headless(network, "vgg16").eval().to(best_device())
    kinds = np.arange(PAIRS * IMAGES)
    drawn = draw_phantoms(kinds % 4, kinds // 4 % 3, size=128, seed=0)
    images = resize_images(drawn[..., None], 224)
    ours(images[:16])  # warm-up
    one_at_a_time(theirs, images[:1])
    rates: dict[str, list[float]] = {"ours": [], "theirs": []}
    features: dict[str, list[np.ndarray]] = {"ours": [], "theirs": []}
    for pair in range(PAIRS):
        part = images[pair * IMAGES : (pair + 1) * IMAGES]
        for name in ("ours", "theirs"):
            start = time.perf_counter()
            batch = ours(part) if name == "ours" else one_at_a_time(theirs, part)
            rates[name].append(len(part) / (time.perf_counter() - start))
            features[name].append(batch)
    mine, other = (np.concatenate(features[name]) for name in ("ours", "theirs"))
    cosine = (mine * other).sum(1) / (np.linalg.norm(mine, axis=1) * np.linalg.norm(other, axis=1))
    least = round(float(cosine.min()), 5)
    agreement = round(float(adjusted_rand_score(clusters(mine), clusters(other))), 3)
    return report(
        claim="VGG-16 features per second, against one image at a time in fp32",
        **medians(rates["ours"], rates["theirs"], ratio="ours / theirs"),
        unit="images/s",
        target=TARGET,
        guards={
            "least_cosine": Guard(least, least >= 0.999),
            "same_clusters": Guard(agreement, agreement >= 0.95),
        },
    )


if __name__ == "__main__":
    sys.exit(main())
