"""Which test images the comparisons of a workspace have evaluated on."""

import time
from collections.abc import Iterable
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from rebalance_core.config import STRICT, read_model
from rebalance_core.errors import UserError
from rebalance_core.system.files import digest, write_json
from rebalance_core.training_sets.resolve import TrainingSet
from rebalance_core.workspace import Workspace


class Evaluation(BaseModel):
    """The first comparison that evaluated on a list of test images; outlives its run."""

    model_config = STRICT | ConfigDict(frozen=True)
    fingerprint: str  # of the dataset
    set: str
    part: str
    run: str
    time: Annotated[float, Field(ge=0)]  # seconds since 1970
    images: Annotated[tuple[str, ...], Field(strict=False)]


def record_evaluation(workspace: Workspace, training_set: TrainingSet, run: str) -> None:
    """Store that a run evaluates on the test images of a set, unless they are stored already."""
    key = digest([training_set.fingerprint, *sorted(training_set.test)])
    path = workspace.evaluations / f"{key}.json"
    if path.exists():
        return
    evaluation = Evaluation(
        fingerprint=training_set.fingerprint,
        set=training_set.name,
        part=training_set.test_part,
        run=run,
        time=time.time(),
        images=training_set.test,
    )
    write_json(path, evaluation.model_dump(mode="json"))


def list_evaluations(workspace: Workspace) -> tuple[list[Evaluation], list[str]]:
    """All stored evaluations, oldest first, and what is wrong with damaged files."""
    found, damaged = [], []
    for path in sorted(workspace.evaluations.glob("[!.]*.json")):
        try:
            found.append(read_model(Evaluation, path, "remove it"))
        except UserError as error:
            damaged.append(str(error))
    return sorted(found, key=lambda each: each.time), damaged


def describe_parts(workspace: Workspace, training_set: TrainingSet) -> list[str]:
    """One sentence for each part of the test images: its size, and who evaluated on it."""
    if len(training_set.test_parts) == 1:
        return []
    evaluations, damaged = list_evaluations(workspace)
    evaluations = [e for e in evaluations if e.fingerprint == training_set.fingerprint]
    sentences = [
        f"Test part {name}: {len(images):,} images, {_use(images, evaluations)}."
        for name, images in training_set.test_parts.items()
    ]
    return [*sentences, *damaged]


def _use(images: Iterable[str], evaluations: list[Evaluation]) -> str:
    part = set(images)
    uses = [(len(part & set(e.images)), e) for e in evaluations]
    uses = [(n, e) for n, e in uses if n]
    if not uses:
        return "no comparison of this workspace has evaluated on them"
    number, first = uses[0]
    others = f", and {len(uses) - 1} more on other selections" if len(uses) > 1 else ""
    return f"run {first.run} on set {first.set} has evaluated on {number:,} of them{others}"
