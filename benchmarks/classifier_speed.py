"""Claim: the classifier trains at least 1.6 times as fast as the usual loop, with the same result.

`python benchmarks/classifier_speed.py [ZIP]`: on the images of ZIP (Kaggle's layout), by default on
2,000 phantoms written as JPEG; 64 px, batch 32, ResNet-18 from random weights, SGD as in the paper.
Ours: the comparison's own loop. Theirs: torchvision's ImageFolder, resized on reading, a DataLoader
with two workers, fp32, a contiguous network, torch.optim.SGD. Five interleaved pairs of whole
epochs, reading included, from the same weights. Guard: the test accuracies after three epochs
differ by at most 3 points. Targets: 1.6 times on two cores, 5 times on a GPU.
"""

import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from benchmarks._report import medians, report
from models.classifier import Classifier
from rebalance_core.classifiers.config import ClassifierConfig
from rebalance_core.classifiers.epochs import epoch_order
from rebalance_core.classifiers.recipe import Recipe
from rebalance_core.classifiers.training import (
    evaluate,
    fresh_classifier,
    make_augmentation,
    make_sgd,
    train_epoch,
)
from rebalance_core.datasets.importing import import_dataset
from rebalance_core.datasets.phantom import CLASSES, make_phantom
from rebalance_core.datasets.source import ImportConfig
from rebalance_core.runs.run import MemoryRun
from rebalance_core.training.device import create_accelerator
from rebalance_core.training_sets.config import SetConfig
from rebalance_core.training_sets.load import Images, load_part
from rebalance_core.training_sets.resolve import resolve_set
from rebalance_core.workspace import Workspace

PAIRS, EPOCHS = 5, 3
TOLERANCE = 0.03  # between the two accuracies after EPOCHS
CONFIG = ClassifierConfig(size=64, batch_size=32)


class Ours:
    """The comparison's loop, on images in memory."""

    def __init__(self, real: Images, classes: tuple[str, ...]) -> None:
        self.accelerator = create_accelerator(CONFIG.precision)
        self.images = torch.as_tensor(np.array(real.images)).to(self.accelerator.device)
        self.labels = torch.as_tensor(real.labels).to(self.accelerator.device)
        self.model = fresh_classifier(CONFIG, classes, 0).to(self.accelerator.device)
        self.model = self.model.to(memory_format=torch.channels_last)
        self.optimizer = make_sgd(CONFIG, self.model)
        self.epoch = 0

    def train(self) -> None:
        self.epoch += 1
        rows = epoch_order(len(self.labels), 0, 0, self.epoch)
        augment = make_augmentation(CONFIG, Recipe(), 0, self.epoch)
        train_epoch(
            CONFIG,
            self.accelerator,
            self.model,
            self.optimizer,
            self.images,
            self.labels,
            rows,
            F.cross_entropy,
            augment,
        )

    def accuracy(self, test: Images) -> float:
        return float(evaluate(self.model, test, self.accelerator)["accuracy"])


class Theirs:
    """The loop of PyTorch's tutorials: files decoded in each epoch, fp32."""

    def __init__(self, folder: Path, start: Classifier) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.transform = transforms.Compose(
            [transforms.Resize((64, 64)), transforms.ToTensor(), transforms.Normalize([0.5], [0.5])]
        )
        self.folder = folder
        self.model: nn.Module = Classifier(start.classes).to(self.device)
        self.model.load_state_dict(start.state_dict())
        self.optimizer = torch.optim.SGD(self.model.parameters(), CONFIG.lr, momentum=0.9)

    def loader(self, split: str, shuffle: bool) -> DataLoader[Any]:
        images = ImageFolder(str(self.folder / split), self.transform)
        return DataLoader(images, CONFIG.batch_size, shuffle, num_workers=2)

    def train(self) -> None:
        self.model.train()
        for images, labels in self.loader("Training", True):
            loss = F.cross_entropy(self.model(images.to(self.device)), labels.to(self.device))
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            loss.item()

    @torch.no_grad()
    def accuracy(self) -> float:
        self.model.eval()
        correct: list[Tensor] = []
        for images, labels in self.loader("Testing", False):
            correct.append(self.model(images.to(self.device)).argmax(1).cpu() == labels)
        return float(torch.cat(correct).float().mean())


def phantoms(folder: Path, count: int = 2000) -> None:
    batch = make_phantom(count, size=128)
    for number, (image, label, split) in enumerate(
        zip(batch.images, batch.labels, batch.split, strict=True)
    ):
        part = "Training" if split == "train" else "Testing"
        target = folder / part / CLASSES[label] / f"{number:05d}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.squeeze(image)).save(target, quality=90)


def seconds(train: Any) -> float:
    start = time.perf_counter()
    train()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def main() -> int:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "images"
        if len(sys.argv) > 1:
            with zipfile.ZipFile(sys.argv[1]) as archive:
                archive.extractall(folder)
        else:
            phantoms(folder)
        root = next(p.parent for p in folder.rglob("Training"))
        workspace = Workspace(Path(scratch) / "home")
        dataset = import_dataset(workspace, ImportConfig(name="d", source=str(root)), MemoryRun())
        # Both sides train on every training image: the validation split is added back.
        training_set = resolve_set(workspace, "d", SetConfig(dataset="d"))
        parts = [load_part(dataset, training_set, p, CONFIG.size) for p in ("train", "validation")]
        real = Images(
            np.concatenate([p.images for p in parts]),
            np.concatenate([p.labels for p in parts]),
            (*parts[0].ids, *parts[1].ids),
        )
        test = load_part(dataset, training_set, "test", CONFIG.size)
        ours = Ours(real, training_set.classes)
        theirs = Theirs(root, fresh_classifier(CONFIG, training_set.classes, 0))
        pairs: list[tuple[float, float]] = []
        accuracies = (0.0, 0.0)
        for number in range(PAIRS):
            pairs.append((seconds(ours.train), seconds(theirs.train)))
            print(
                f"epoch {number + 1}: ours {pairs[-1][0]:.1f} s, theirs {pairs[-1][1]:.1f} s",
                file=sys.stderr,
                flush=True,
            )
            if number + 1 == EPOCHS:
                accuracies = ours.accuracy(test), theirs.accuracy()
    is_close = abs(accuracies[0] - accuracies[1]) <= TOLERANCE
    return report(
        claim=f"an epoch of ResNet-18 on {len(real.labels)} images of 64 px, reading included",
        **medians([o for o, _ in pairs], [t for _, t in pairs]),
        unit="s",
        target=5.0 if torch.cuda.is_available() else 1.6,
        guards={
            "accuracy_after_three_epochs": [round(a, 4) for a in accuracies],
            "close": is_close,
        },
        pairs=[[round(o, 2), round(t, 2)] for o, t in pairs],
    )


if __name__ == "__main__":
    sys.exit(main())
