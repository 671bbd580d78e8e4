"""Real or generated? Twenty images without their labels, and a tally over all who tried."""

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

HALF = 10  # real images, and as many generated ones
SHOWN_SIZE = 128  # px at least, of an image to be judged
Kind = Literal["r", "g"]  # real, generated
WORDS: dict[Kind, str] = {"r": "real", "g": "generated"}


@dataclass(frozen=True)
class Quiz:
    """Images uint8 (20, H, W, C) in the order in which they are asked, and what they are."""

    synthetic: str
    seed: int
    images: np.ndarray
    truth: tuple[Kind, ...]
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Share:
    """`count` of `total`, with a 95 % Wilson interval."""

    count: int
    total: int

    @property
    def value(self) -> float:
        return self.count / self.total

    @property
    def interval(self) -> tuple[float, float]:
        from scipy.stats import binomtest

        found = binomtest(self.count, self.total).proportion_ci(method="wilson")
        return float(found.low), float(found.high)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.value:.0%} ({low:.0%} to {high:.0%})"


@dataclass(frozen=True)
class Tally:
    attempts: int
    taken_for_real: Share  # of the generated images
    taken_for_generated: Share  # of the real ones


def make_quiz(workspace: Workspace, found: SyntheticSet, seed: int) -> Quiz:
    """Ten generated images and ten training images, as many of each class, in an order drawn by
    `seed`. Raises UserError where a class has too few."""
    chosen = found.training_set
    dataset = open_dataset(workspace, chosen.config.dataset)
    real = load_part(dataset, chosen, "train", found.provenance.size)
    random = np.random.default_rng([seed, 20])
    images: list[np.ndarray] = []
    asked: list[tuple[Kind, str]] = []
    labels = list(found.counts)
    for place, label in enumerate(labels):
        count = HALF // len(labels) + (place < HALF % len(labels))
        rows = np.flatnonzero(real.labels == chosen.class_index(label))
        files = found.files(label)
        there: dict[Kind, int] = {"r": len(rows), "g": len(files)}
        for kind, most in there.items():
            if most < count:
                where, mend = (
                    (found.name, "sample more")
                    if kind == "g"
                    else (f"training set {chosen.name}", "take a synthetic set of more classes")
                )
                raise UserError(
                    f"The quiz needs {count} {WORDS[kind]} images of {label}, and {where} has "
                    f"{most}; {mend}."
                )
            drawn = random.choice(most, count, replace=False)
            # Only what is asked is read: a set may hold thousands.
            images += list(
                real.images[rows[drawn]]
                if kind == "r"
                else found.images_of([files[k] for k in drawn])
            )
            asked += [(kind, label)] * count
    order = random.permutation(len(images))
    # Through one way of scaling: neither the size nor the edges tell them apart.
    shown = resize_images(np.stack(images)[order], max(SHOWN_SIZE, images[0].shape[0]))
    kinds, names = zip(*(asked[k] for k in order), strict=True)
    return Quiz(found.name, seed, shown, kinds, names)


def write_quiz(quiz: Quiz, target: Path) -> None:
    """`01.png` … `20.png` in a new folder; nothing in them says what they are."""
    with atomic_folder(target.resolve()) as aside:
        for number, image in enumerate(quiz.images, 1):
            (aside / f"{number:02d}.png").write_bytes(png_bytes(image))


def parse_answers(text: str) -> tuple[Kind, ...]:
    """`r,g,g,…` or words; raises UserError unless there is one for each image."""
    told = tuple(word.strip().lower()[:1] for word in text.split(","))
    if len(told) != 2 * HALF or not set(told) <= {"r", "g"}:
        raise UserError(
            f"Answer with {2 * HALF} letters between commas, r for real and g for generated; these "
            f"are {len(told)}."
        )
    return told  # type: ignore[return-value]


def hand_in(workspace: Workspace, quiz: Quiz, answers: Sequence[Kind]) -> int:
    """Count the right answers, and keep the attempt for the tally."""
    attempt = QuizAttempt(
        time=round(time.time(), 3),
        seed=quiz.seed,
        answers="".join(answers),
        truth="".join(quiz.truth),
    )
    open_synthetic(workspace, quiz.synthetic)  # else the next set of its name would be told of it
    path = workspace.quiz_attempts(quiz.synthetic)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(
            f"\n{json.dumps(attempt.to_json())}\n"
        )  # a line that a kill tore before it stays alone
    return sum(a == t for a, t in zip(answers, quiz.truth, strict=True))


def read_tally(workspace: Workspace, name: str) -> Tally | None:
    """Over all attempts with a synthetic set; None without one."""
    attempts = read_attempts(workspace.quiz_attempts(name))
    if not attempts:
        return None
    pairs = [pair for a in attempts for pair in zip(a.answers, a.truth, strict=True)]
    return Tally(
        len(attempts),
        Share(sum(p == ("r", "g") for p in pairs), sum(t == "g" for _, t in pairs)),
        Share(sum(p == ("g", "r") for p in pairs), sum(t == "r" for _, t in pairs)),
    )


def tally_words(name: str, tally: Tally) -> str:
    """The tally as a sentence."""
    times = "once" if tally.attempts == 1 else f"{tally.attempts} times"
    return (
        f"{name}: tried {times}; {tally.taken_for_real} of the generated images were taken for "
        f"real, {tally.taken_for_generated} of the real ones for generated (95 % Wilson intervals)."
    )


def quiz_of(workspace: Workspace, name: str, seed: int) -> Quiz:
    return make_quiz(workspace, open_synthetic(workspace, name), seed)
