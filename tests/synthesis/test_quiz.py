"""The quiz: half real, half generated, without cues; answers are counted and recorded."""

import json
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from commands import command
from PIL import Image
from sets import synthetic_set

from rebalance_core.datasets.dataset import Dataset
from rebalance_core.errors import UserError
from rebalance_core.imaging.grid import resize_images
from rebalance_core.synthesis.quiz import (
    Proportion,
    describe_tally,
    open_quiz,
    parse_answers,
    read_tally,
    submit_answers,
)
from rebalance_core.synthesis.synthetic_set import SyntheticSet, open_synthetic, remove_synthetic
from rebalance_core.training_sets.load import load_part
from rebalance_core.training_sets.resolve import open_set
from rebalance_core.workspace import Workspace


@pytest.fixture
def name(workspace: Workspace, phantom: Dataset) -> str:
    return synthetic_set(workspace, "ddpm", "phantom")


def rows(images: np.ndarray) -> set[bytes]:
    return {image.tobytes() for image in images}


def test_half_are_real_of_the_same_classes_without_repeats(
    workspace: Workspace, phantom: Dataset, name: str
) -> None:
    quiz = open_quiz(workspace, name, 3)
    assert quiz.images.shape == (20, 128, 128, 1)
    assert Counter(quiz.truth) == {"r": 10, "g": 10}
    of = {k: [n for n, t in zip(quiz.labels, quiz.truth, strict=True) if t == k] for k in "rg"}
    assert Counter(of["r"]) == Counter(of["g"]) == {"glioma": 4, "meningioma": 3, "pituitary": 3}
    assert len(rows(quiz.images)) == 20
    # what is called real is a training image of its class, the rest is of the set
    training_set = open_set(workspace, "phantom")
    train = load_part(phantom, training_set, "train", 32)
    for image, kind, label in zip(quiz.images, quiz.truth, quiz.labels, strict=True):
        images = (
            train.images[train.labels == training_set.classes.index(label)]
            if kind == "r"
            else open_synthetic(workspace, name).images(label)
        )
        assert image.tobytes() in rows(resize_images(images, 128))
    again, other = open_quiz(workspace, name, 3), open_quiz(workspace, name, 4)
    assert np.array_equal(again.images, quiz.images) and again.truth == quiz.truth
    assert other.truth != quiz.truth


def test_files_of_a_quiz_do_not_reveal_the_answer(
    workspace: Workspace, name: str, tmp_path: Path
) -> None:
    done = command(workspace.root, "quiz", "make", name, tmp_path / "quiz", "--seed", 3)
    assert done.returncode == 0, done.stderr
    files = sorted((tmp_path / "quiz").iterdir())
    assert [f.name for f in files] == [f"{k:02d}.png" for k in range(1, 21)]
    opened = [Image.open(f) for f in files]
    assert {(i.size, i.mode, len(i.info)) for i in opened} == {((128, 128), "L", 0)}
    refused = command(workspace.root, "quiz", "make", name, tmp_path / "quiz")
    assert (refused.returncode, "already exists" in refused.stderr) == (2, True)


def test_answers_are_counted_and_the_tally_is_over_all(workspace: Workspace, name: str) -> None:
    assert read_tally(workspace, name) is None
    quiz = open_quiz(workspace, name, 0)
    assert submit_answers(workspace, quiz, quiz.truth) == 20
    assert submit_answers(workspace, quiz, ["r"] * 20) == 10
    with workspace.quiz_attempts(name).open("a") as file:
        file.write('{"answers": "rr')  # torn by a kill
    assert submit_answers(workspace, quiz, ["r"] * 20) == 10
    tally = read_tally(workspace, name)
    assert tally is not None
    assert tally.attempts == 3
    assert tally.taken_for_real == Proportion(20, 30)
    assert tally.taken_for_generated == Proportion(0, 30)
    assert describe_tally(name, tally) == (
        "phantom-ddpm: 3 attempts; 67% (49% to 81%) of the generated images were taken for "
        "real, 0% (0% to 11%) of the real ones for generated (95 % Wilson intervals)."
    )
    remove_synthetic(workspace, name)
    assert not workspace.quiz_attempts(name).exists()
    with pytest.raises(UserError, match="There is no synthetic set"):
        submit_answers(workspace, quiz, quiz.truth)  # the page of somebody else was still open
    assert not workspace.quiz_attempts(name).exists(), "the next set of its name starts at none"


def test_only_the_sampled_images_are_read(
    workspace: Workspace, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    images_of = SyntheticSet.images_of

    def spy(self: SyntheticSet, files: list[Path]) -> np.ndarray:
        read.extend(files)
        return images_of(self, files)

    monkeypatch.setattr(SyntheticSet, "images_of", spy)
    open_quiz(workspace, name, 3)
    assert len(read) == len(set(read)) == 10


def test_interval_is_wilsons() -> None:
    k, n, z = 7, 20, 1.959964
    p = k / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    assert Proportion(k, n).interval == pytest.approx((middle - half, middle + half), rel=1e-4)


def test_commands_answer_and_tally(workspace: Workspace, name: str) -> None:
    quiz = open_quiz(workspace, name, 5)
    none = command(workspace.root, "quiz", "tally", name)
    assert (none.returncode, "Nobody has tried" in none.stderr) == (2, True)
    wrong = ["g" if quiz.truth[0] == "r" else "r", *quiz.truth[1:]]
    done = command(workspace.root, "quiz", "answer", name, ",".join(wrong), "--seed", 5, "--json")
    result = json.loads(done.stdout)
    word = {"r": "real", "g": "generated"}[quiz.truth[0]]
    assert result == {"right": 19, "of": 20, "wrong": [f"01.png is {word}"]}
    tally = json.loads(command(workspace.root, "quiz", "tally", name, "--json").stdout)
    assert (tally["attempts"], tally["taken_for_real"]["total"]) == (1, 10)


@pytest.mark.parametrize("text", ["", "r", "r,g," * 20, ",".join(["x"] * 20)])
def test_other_than_twenty_answers_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="Answer with 20 letters separated by commas"):
        parse_answers(text)


def test_too_few_images_are_refused(workspace: Workspace, phantom: Dataset) -> None:
    few = synthetic_set(workspace, "ddpm", "phantom", count=2)
    with pytest.raises(UserError, match=r"needs 4 generated images of glioma, but .* has 2"):
        open_quiz(workspace, few, 0)
