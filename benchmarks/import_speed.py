"""Claim: an import, health report included, takes at most 3 times as long as decoding and resizing
the same files with Pillow in two processes; five times the images take at most 5.5 times as long
and 100 MB more memory.

`python benchmarks/import_speed.py [ZIP]`: of the images of ZIP, by default of 7,000 phantoms as
JPEG. The larger set contains each image five times, each copy with different noise and re-encoded.
Guards: every image is imported, the growth of time, the growth of memory.
"""

import contextlib
import io
import json
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

from benchmarks._report import Guard, medians, report
from rebalance_core.datasets.health import (
    brightness_statistics,
    duplicate_statistics,
    format_statistics,
)
from rebalance_core.datasets.importing import import_dataset
from rebalance_core.datasets.phantom import CLASSES, make_phantom
from rebalance_core.datasets.source import ImportConfig
from rebalance_core.runs.run import MemoryRun
from rebalance_core.workspace import Workspace

PAIRS = 5
TIMES = 5
TARGET = 3.0  # maximum time, in multiples of the decoding alone
GROWTH = 5.5  # maximum time for TIMES the images, in multiples of the time for the images
MEMORY = 100.0  # maximum MB more for TIMES the images
NOISE = 3.0  # gray levels


def ours(path: str) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        config = ImportConfig(name="measured", source=path)
        dataset = import_dataset(Workspace(Path(folder)), config, MemoryRun())
        duplicate_statistics(dataset), brightness_statistics(dataset), format_statistics(dataset)
        seconds = time.perf_counter() - start
        count = len(dataset.catalogue)
    return {"seconds": seconds, "images": count}


def theirs(path: str) -> dict[str, float]:
    start = time.perf_counter()
    with ProcessPoolExecutor(2) as pool:
        count = sum(pool.map(decode, [path] * 2, range(2)))
    return {"seconds": time.perf_counter() - start, "images": count}


def decode(path: str, half: int) -> int:
    with zipfile.ZipFile(path) as archive:
        names = [n for n in archive.namelist() if n.endswith(".jpg")][half::2]
        for name in names:
            with Image.open(io.BytesIO(archive.read(name))) as image:
                image.resize((64, 64), Image.Resampling.BILINEAR)
    return len(names)


def measure(side: str, path: Path) -> dict[str, float]:
    """One side in a separate process, so that memory and caches start equal.

    peak_mb is the maximum memory of the process and its children together, polled every 50 ms.
    """
    command = [sys.executable, __file__, side, str(path)]
    peak = 0.0
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        root = psutil.Process(process.pid)
        while process.poll() is None:
            with contextlib.suppress(psutil.Error):
                processes = [root, *root.children(recursive=True)]
                peak = max(peak, sum(p.memory_info().rss for p in processes) / 2**20)
            time.sleep(0.05)
        assert process.stdout is not None
        result: dict[str, float] = json.loads(process.stdout.read())
    return {**result, "peak_mb": peak}


def jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def write_phantoms(path: Path) -> None:
    batch = make_phantom(7000, size=224, seed=0)
    with zipfile.ZipFile(path, "w") as archive:
        for i, image in enumerate(batch.images):
            folder = f"{batch.split[i]}/{CLASSES[batch.labels[i]]}"
            archive.writestr(f"{folder}/{i:05d}.jpg", jpeg(Image.fromarray(np.squeeze(image))))


def write_many(source: Path, target: Path) -> None:
    rng = np.random.default_rng(0)
    with zipfile.ZipFile(source) as few, zipfile.ZipFile(target, "w") as many:
        for name in (n for n in few.namelist() if n.endswith(".jpg")):
            with Image.open(io.BytesIO(few.read(name))) as image:
                pixels = np.asarray(image, dtype=np.float32)
            for k in range(TIMES):
                noisy = pixels + rng.normal(0, NOISE, pixels.shape[:2] + (1,) * (pixels.ndim - 2))
                copy = Image.fromarray(noisy.clip(0, 255).astype(np.uint8))
                many.writestr(name.replace(".jpg", f"-{k}.jpg"), jpeg(copy))


def main(folder: Path, archive: str | None) -> int:
    few, many = Path(archive) if archive else folder / "few.zip", folder / "many.zip"
    if archive is None:
        write_phantoms(few)
    write_many(few, many)
    pairs = [(measure("ours", few), measure("theirs", few)) for _ in range(PAIRS)]
    large = [measure("ours", many) for _ in range(2)]
    timings = medians(
        [o["seconds"] for o, _ in pairs], [t["seconds"] for _, t in pairs], ratio="ours / theirs"
    )
    growth = statistics.median(run["seconds"] for run in large) / timings["ours"]
    memory_growth = max(run["peak_mb"] for run in large) - max(o["peak_mb"] for o, _ in pairs)
    return report(
        claim=f"seconds to import {int(pairs[0][0]['images'])} images with health report; "
        "theirs: Pillow decode and resize to 64 px in two processes",
        **timings,
        unit="s",
        target=TARGET,
        target_met=timings["ratio"] <= TARGET,
        guards={
            "every_image_arrives": all(o["images"] == t["images"] for o, t in pairs)
            and large[0]["images"] == TIMES * pairs[0][0]["images"],
            "time_growth": Guard(round(growth, 2), growth <= GROWTH),
            "memory_growth_mb": Guard(round(memory_growth, 1), memory_growth <= MEMORY),
        },
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["ours"]:
        print(json.dumps(ours(sys.argv[2])))
        sys.exit(0)
    if sys.argv[1:2] == ["theirs"]:
        print(json.dumps(theirs(sys.argv[2])))
        sys.exit(0)
    with tempfile.TemporaryDirectory() as scratch:
        sys.exit(main(Path(scratch), sys.argv[1] if len(sys.argv) > 1 else None))
