"""A quiz: ten real and ten generated images to tell apart, and a tally over all attempts."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from rebalance_core.datasets.dataset import open_dataset
from rebalance_core.errors import UserError
from rebalance_core.imaging.grid import png_bytes, resize_images
from rebalance_core.synthesis.records import QuizAttempt, read_attempts
from rebalance_core.synthesis.synthetic_set import SyntheticSet, open_synthetic
from rebalance_core.system.files import atomic_folder
from rebalance_core.training_sets.load import load_part
from rebalance_core.workspace import Workspace

PER_KIND = 10  # real images, and as many generated ones
SHOWN_SIZE = 128  # px, minimum side of an image
Kind = Literal["r", "g"]  # real, generated
KIND_NAMES: dict[Kind, str] = {"r": "real", "g": "generated"}


@dataclass(frozen=True)
class Quiz:
    """Images uint8 (20, H, W, C) in the order of the quiz, their kinds and their classes."""

    synthetic: str
    seed: int
    images: np.ndarray
    truth: tuple[Kind, ...]
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Proportion:
    """`count` of `total`, with a 95 % Wilson interval."""

    count: int
    total: int

    @property
    def value(self) -> float:
        return self.count / self.total

    @property
    def interval(self) -> tuple[float, float]:
        from scipy.stats import binomtest

        interval = binomtest(self.count, self.total).proportion_ci(method="wilson")
        return float(interval.low), float(interval.high)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.value:.0%} ({low:.0%} to {high:.0%})"


@dataclass(frozen=True)
class Tally:
    attempts: int
    taken_for_real: Proportion  # of the generated images
    taken_for_generated: Proportion  # of the real images


def make_quiz(workspace: Workspace, synthetic: SyntheticSet, seed: int) -> Quiz:
    """Ten generated images and ten training images, evenly over the classes, in a seeded order.

    Raises UserError where a class has too few.
    """
    training_set = synthetic.training_set
    dataset = open_dataset(workspace, training_set.config.dataset)
    real = load_part(dataset, training_set, "train", synthetic.provenance.size)
    random = np.random.default_rng([seed, 20])
    images: list[np.ndarray] = []
    truth: list[tuple[Kind, str]] = []
    labels = list(synthetic.counts)
    for index, label in enumerate(labels):
        count = PER_KIND // len(labels) + (index < PER_KIND % len(labels))
        rows = np.flatnonzero(real.labels == training_set.class_index(label))
        files = synthetic.files(label)
        available: dict[Kind, int] = {"r": len(rows), "g": len(files)}
        for kind, total in available.items():
            if total < count:
                source, remedy = (
                    (synthetic.name, "sample more")
                    if kind == "g"
                    else (
                        f"training set {training_set.name}",
                        "choose a synthetic set with more classes",
                    )
                )
                raise UserError(
                    f"The quiz needs {count} {KIND_NAMES[kind]} images of {label}, but {source} "
                    f"has {total}; {remedy}."
                )
            sample = random.choice(total, count, replace=False)
            # Read only the sampled files: a set may have thousands.
            images += list(
                real.images[rows[sample]]
                if kind == "r"
                else synthetic.images_of([files[k] for k in sample])
            )
            truth += [(kind, label)] * count
    order = random.permutation(len(images))
    # All are resized the same way, so that neither size nor edges reveal the kind.
    resized = resize_images(np.stack(images)[order], max(SHOWN_SIZE, images[0].shape[0]))
    kinds, classes = zip(*(truth[k] for k in order), strict=True)
    return Quiz(synthetic.name, seed, resized, kinds, classes)


def write_quiz(quiz: Quiz, target: Path) -> None:
    """Write `01.png` … `20.png` to a new folder; nothing in the files reveals the kind."""
    with atomic_folder(target.resolve()) as temp:
        for number, image in enumerate(quiz.images, 1):
            (temp / f"{number:02d}.png").write_bytes(png_bytes(image))


def parse_answers(text: str) -> tuple[Kind, ...]:
    """`r,g,g,…`, or words with these first letters; raises UserError unless there is one per
    image."""
    answers = tuple(word.strip().lower()[:1] for word in text.split(","))
    if len(answers) != 2 * PER_KIND or not set(answers) <= {"r", "g"}:
        raise UserError(
            f"Answer with {2 * PER_KIND} letters separated by commas, r for real and g for "
            f"generated (got {len(answers)})."
        )
    return answers  # type: ignore[return-value]


def submit_answers(workspace: Workspace, quiz: Quiz, answers: Sequence[Kind]) -> int:
    """Record the attempt for the tally, and return the number of correct answers."""
    attempt = QuizAttempt(
        time=round(time.time(), 3),
        seed=quiz.seed,
        answers="".join(answers),
        truth="".join(quiz.truth),
    )
    # Raises UserError for a removed set, whose name another one may get.
    open_synthetic(workspace, quiz.synthetic)
    path = workspace.quiz_attempts(quiz.synthetic)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(
            f"\n{json.dumps(attempt.to_json())}\n"
        )  # a line that a kill tore before it stays alone
    return sum(a == t for a, t in zip(answers, quiz.truth, strict=True))


def read_tally(workspace: Workspace, name: str) -> Tally | None:
    """The tally over all attempts with a synthetic set; None without attempts."""
    attempts = read_attempts(workspace.quiz_attempts(name))
    if not attempts:
        return None
    pairs = [pair for a in attempts for pair in zip(a.answers, a.truth, strict=True)]
    return Tally(
        len(attempts),
        Proportion(sum(p == ("r", "g") for p in pairs), sum(t == "g" for _, t in pairs)),
        Proportion(sum(p == ("g", "r") for p in pairs), sum(t == "r" for _, t in pairs)),
    )


def describe_tally(name: str, tally: Tally) -> str:
    """The tally as a sentence."""
    attempts = "1 attempt" if tally.attempts == 1 else f"{tally.attempts} attempts"
    return (
        f"{name}: {attempts}; {tally.taken_for_real} of the generated images were taken for "
        f"real, {tally.taken_for_generated} of the real ones for generated (95 % Wilson intervals)."
    )


def open_quiz(workspace: Workspace, name: str, seed: int) -> Quiz:
    return make_quiz(workspace, open_synthetic(workspace, name), seed)
