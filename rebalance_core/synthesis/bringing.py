"""The job that makes a synthetic set of a folder of images that another program generated. What
comes from outside is hostile until checked."""

import os
import time
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from rebalance_core.config import Config, NewSynthetic, SetRef
from rebalance_core.datasets.dataset import open_dataset
from rebalance_core.datasets.folders import is_image, walk_folder
from rebalance_core.datasets.importing import read_and_inspect
from rebalance_core.datasets.inspecting import validate_squares
from rebalance_core.datasets.source import SourceFile
from rebalance_core.errors import UserError
from rebalance_core.runs.directory import RunDirectory
from rebalance_core.runs.run import Cancelled, Run
from rebalance_core.synthesis.records import Provenance
from rebalance_core.synthesis.synthetic_set import (
    SyntheticSet,
    check_free,
    list_synthetic,
    open_synthetic,
)
from rebalance_core.system.files import atomic_folder, translate_disk_full, write_json
from rebalance_core.training_sets.resolve import TrainingSet, open_set
from rebalance_core.workspace import Workspace

BROUGHT = "folder"  # in the place of a generator's name
MAX_BYTES = 2**28  # of one file
MAX_COUNT = 1_000_000  # images a class, as many as can be sampled


class BringConfig(Config):
    name: NewSynthetic
    folder: str
    set: SetRef  # the training set that the images' maker is said to have seen


def prepare_bring(workspace: Workspace, config: BringConfig) -> BringConfig:
    """The config with the folder's absolute path; raises UserError for what cannot be read."""
    check_free(workspace, config.name)
    folder = config.folder
    try:
        path = Path(folder).expanduser().resolve()
        there = path.is_dir()
    except (OSError, RuntimeError, ValueError) as error:  # too long, of nobody, with a NUL
        raise UserError(f"{folder[:200]!r} is no folder that can be read ({error}).") from error
    if not there:
        raise UserError(f"{path} is no folder; name one with a folder of images for each class.")
    return config.model_copy(update={"folder": str(path)})


def bring_job(workspace: Workspace, run: RunDirectory) -> Mapping[str, Any]:
    config = BringConfig.build(**run.config)
    if config.name in list_synthetic(workspace):
        made = open_synthetic(workspace, config.name)
        if made.provenance.bring_run == run.id:
            return {"synthetic": made.name}  # killed after the last rename
    bring_synthetic(workspace, config.name, Path(config.folder), config.set, run, run.id)
    return {"synthetic": config.name}


def bring_synthetic(
    workspace: Workspace,
    name: str,
    folder: Path,
    set_name: str,
    run: Run,
    run_id: str | None = None,
) -> SyntheticSet:
    """Copy the images of `folder`, `<class>/…`, into synthetic set `name`, in the order of their
    names; leaves nothing behind on failure."""
    check_free(workspace, name)
    chosen = open_set(workspace, set_name)
    channels = open_dataset(workspace, chosen.config.dataset).channels
    files = _labelled(folder, chosen)
    with translate_disk_full(workspace.root), atomic_folder(workspace.synthetic / name) as aside:
        side = _copy(files, aside, channels, folder, run)
        provenance = Provenance(
            generator=BROUGHT,
            run=None,
            bring_run=run_id,
            training_set=chosen,
            unverified=True,
            training=None,
            source=str(folder),
            seed=0,
            sampler={},
            size=side,
            counts=dict(Counter(file.label for file in files)),
            filters=[],
            created=time.time(),
        )
        write_json(aside / "provenance.json", provenance.to_json())
        os.sync()  # what is there under its own name survives a power cut
    return open_synthetic(workspace, name)


def _labelled(folder: Path, chosen: TrainingSet) -> list[SourceFile]:
    """The images below `folder`, by class and name; links are not followed."""
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder; name one with a folder of images for each class.")
    found = []
    for name, entry in walk_folder(folder)[0].items():
        if not is_image(name):
            continue
        label, inside, _ = name.partition("/")
        if not inside:
            raise UserError(
                f"{folder}: image {name!r} lies in no class folder; the layout is <class>/*.png."
            )
        if label not in chosen.classes:
            raise UserError(
                f"{folder}: {label[:100]!r} is no class of training set {chosen.name} "
                f"({', '.join(chosen.classes)}); rename that folder or take it out."
            )
        if entry.size > MAX_BYTES:
            raise _refused(folder, name, f"it has more than {MAX_BYTES // 2**20} MB")
        found.append(SourceFile(name, label, "", entry.read, entry.size))
    if not found:
        raise UserError(f"{folder} holds no images; put them into one folder a class.")
    most, count = Counter(file.label for file in found).most_common(1)[0]
    if count > MAX_COUNT:
        raise UserError(f"{folder}: class {most!r} has {count} images; bring {MAX_COUNT} at most.")
    return sorted(found, key=lambda file: (chosen.classes.index(file.label), file.image))


def _copy(files: list[SourceFile], aside: Path, channels: int, folder: Path, run: Run) -> int:
    """Write every image as PNG and return their side in pixels; the first bad one ends it."""
    side, first = 0, ""
    written: Counter[str] = Counter()
    look = partial(validate_squares, channels)
    for number, (file, _, found) in enumerate(read_and_inspect(files, look), start=1):
        if found.reason:
            raise _refused(folder, file.image, found.reason)
        if not side:
            side, first = found.side, file.image
        if found.side != side:
            told = f"it is {found.side} px a side, and {first!r} is {side}; make all of one size"
            raise _refused(folder, file.image, told)
        target = aside / file.label / f"{written[file.label]:06d}.png"
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(found.png)
        written[file.label] += 1
        if number % 32 == 0 or number == len(files):
            if run.should_stop():
                raise Cancelled
            run.progress(number / len(files), f"reading {len(files)} images")
    return side


def _refused(folder: Path, name: str, reason: str) -> UserError:
    return UserError(f"{folder}: image {name!r} cannot be brought: {reason}.")
