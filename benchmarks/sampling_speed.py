"""Claim: sampling is at least 40 times as fast as diffusers' pipeline of 1,000 steps.

One DDPM of 32 px, trained here on phantoms of one class. Ours: the default sampler of `small`
(DPM-Solver++, 20 steps), in the precision `auto`. Theirs: `DDPMPipeline` in fp32 with its 1,000
steps, of which 20 are timed and scaled up. Interleaved batches of 64: five pairs after a warm-up
pair. Guard: over 1,000 images each, the Fréchet distance to the real images is at most 1.05 times
theirs (median of a bootstrap over images), in the leading 32 principal components of the features
of a ResNet-18 trained on real phantoms of all classes.
About 25 minutes on two cores, nearly all of them for the 1,000 × 1,000 steps.
"""

import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from diffusers import DDPMPipeline

from benchmarks._report import medians, report
from rebalance_core.classifiers.config import ClassifierConfig
from rebalance_core.classifiers.features import train_scorer
from rebalance_core.datasets.phantom import CLASSES, make_phantom
from rebalance_core.generators.base import TrainingData
from rebalance_core.generators.diffusion.config import DdpmConfig
from rebalance_core.generators.diffusion.ddpm import DdpmGenerator
from rebalance_core.runs.run import MemoryRun
from rebalance_core.synthesis.quality import frechet_from_features, principal_components
from rebalance_core.system.processes import parallel_map
from rebalance_core.training.random import keyed_generator
from rebalance_core.training_sets.load import Images

SIZE, LABEL = 32, "notumor"
PAIRS, BATCH, TIMED, STEPS = 5, 64, 20, 1000
IMAGES, COMPONENTS, DRAWS = 1000, 32, 200
MAX_RATIO = 1.05  # of the Fréchet distances
CONFIG = DdpmConfig.from_preset(
    "small", size=SIZE, widths=(8, 16, 32), attention=(2,), classes=(LABEL,), steps=4000, lr=0.002
)


def real_images() -> Images:
    batch = make_phantom(6000, size=SIZE)
    ids = tuple(str(k) for k in range(len(batch.images)))
    return Images(batch.images[..., None], batch.labels, ids)


def subset(images: Images, rows: np.ndarray) -> Images:
    return Images(images.images[rows], images.labels[rows], tuple(images.ids[k] for k in rows))


def their_images(folder: Path, count: int) -> np.ndarray:
    """Images uint8 (count, H, W, 1) of the pipeline's 1,000 steps; one process per core."""
    parts = []
    for rows, images in parallel_map(partial(their_batch, folder), batches(count)):
        parts.append(images)
        print(f"{rows.stop} of {count} images of {STEPS} steps", file=sys.stderr, flush=True)
    return np.concatenate(parts)


def batches(count: int) -> Iterator[range]:
    return (range(start, min(start + BATCH, count)) for start in range(0, count, BATCH))


def their_batch(folder: Path, rows: range) -> np.ndarray:
    torch.set_num_threads(1)
    random = [keyed_generator(1, k) for k in rows]
    pipeline = open_pipeline(folder)
    images: np.ndarray = pipeline(
        len(rows), random, num_inference_steps=STEPS, output_type="np"
    ).images
    return (images * 255).round().astype(np.uint8)


def open_pipeline(folder: Path) -> DDPMPipeline:
    pipeline = DDPMPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to("cuda" if torch.cuda.is_available() else "cpu")


def race(generator: DdpmGenerator, folder: Path) -> list[tuple[float, float]]:
    """(ours, theirs) seconds per image of the pairs."""
    pipeline, pairs = open_pipeline(folder), []
    for number in range(PAIRS + 1):
        start = time.perf_counter()
        for _ in generator.sample(LABEL, BATCH, number):
            pass
        ours = time.perf_counter() - start
        start = time.perf_counter()
        pipeline(BATCH, keyed_generator(number), num_inference_steps=TIMED, output_type="np")
        theirs = (time.perf_counter() - start) * STEPS / TIMED
        if number:
            pairs.append((ours / BATCH, theirs / BATCH))
    return pairs


def main() -> int:
    phantoms = real_images()
    rows = np.flatnonzero(phantoms.labels == CLASSES.index(LABEL))
    train, held_out = rows[: len(rows) // 2], rows[len(rows) // 2 :]
    data = TrainingData(
        train=subset(phantoms, train),
        validation=subset(phantoms, held_out[:16]),
        classes=tuple(CLASSES),
        minority=(LABEL,),
        channels=1,
    )
    generator = DdpmGenerator.fit(CONFIG, data, MemoryRun())
    with tempfile.TemporaryDirectory() as scratch:
        generator.save(Path(scratch))
        folder = Path(scratch) / "class-0"
        pairs = race(generator, folder)
        timings = medians([1000 * o for o, _ in pairs], [1000 * t for _, t in pairs])
        print(f"ratio {timings['ratio']}", file=sys.stderr, flush=True)
        theirs = their_images(folder, IMAGES)
    ours = np.concatenate(list(generator.sample(LABEL, IMAGES, 1)))
    # Features of a network that was trained on neither.
    scorer = train_scorer(
        ClassifierConfig(size=SIZE, epochs=8, lr=0.01), phantoms, tuple(CLASSES), 0
    )
    real = scorer(phantoms.images[held_out])[1]
    project = principal_components(real, COMPONENTS)
    real, ours_features, theirs_features = (
        project(f) for f in (real, scorer(ours)[1], scorer(theirs)[1])
    )
    random = np.random.default_rng(0)
    ratios = []
    for _ in range(DRAWS):
        rows = random.integers(IMAGES, size=IMAGES)
        ratios.append(
            frechet_from_features(real, ours_features[rows])
            / frechet_from_features(real, theirs_features[rows])
        )
    low, middle, high = np.percentile(ratios, [2.5, 50, 97.5])
    half = len(real) // 2
    return report(
        claim=f"time per image of {SIZE} px from one DDPM, batches of {BATCH}",
        **timings,
        unit="ms",
        target=40.0,
        guards={
            "frechet_to_real": {
                "ours": round(frechet_from_features(real, ours_features), 3),
                "theirs": round(frechet_from_features(real, theirs_features), 3),
                "real_to_real": round(frechet_from_features(real[:half], real[half:]), 3),
            },
            "bootstrap_ratio": round(float(middle), 3),
            "interval": [round(float(low), 3), round(float(high), 3)],
            "images": IMAGES,
            "near": bool(middle <= MAX_RATIO),
        },
        pairs=[[round(1000 * o, 2), round(1000 * t, 1)] for o, t in pairs],
    )


if __name__ == "__main__":
    sys.exit(main())
