"""The job that imports a folder of images generated elsewhere as a synthetic set.

Nothing in the folder is trusted.
"""

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
    check_new_name,
    list_synthetic,
    open_synthetic,
)
from rebalance_core.system.files import atomic_folder, translate_disk_full, write_json
from rebalance_core.training_sets.resolve import TrainingSet, open_set
from rebalance_core.workspace import Workspace

EXTERNAL = "folder"  # in place of a generator's name
MAX_BYTES = 2**28  # per file
MAX_COUNT = 1_000_000  # images per class, as in SampleConfig
REMEDY = "choose one with a folder of images per class"


class ExternalConfig(Config):
    """A folder of images, <class>/*.png, to import as a synthetic set."""

    name: NewSynthetic
    folder: str
    set: SetRef  # the training set of the images' generator, which cannot be verified


def prepare_external(workspace: Workspace, config: ExternalConfig) -> ExternalConfig:
    """The config with the absolute path of the folder; raises UserError where it is not one."""
    check_new_name(workspace, config.name)
    folder = config.folder
    try:
        path = Path(folder).expanduser().resolve()
        is_folder = path.is_dir()
    except (OSError, RuntimeError, ValueError) as error:  # too long, an unknown user, a NUL
        raise UserError(
            f"{folder[:200]!r} is not a readable folder ({error}); {REMEDY}."
        ) from error
    if not is_folder:
        raise UserError(f"{path} is not a folder; {REMEDY}.")
    return config.model_copy(update={"folder": str(path)})


def external_job(workspace: Workspace, run: RunDirectory) -> Mapping[str, Any]:
    config = ExternalConfig.build(**run.config)
    is_written = (
        config.name in list_synthetic(workspace)
        and open_synthetic(workspace, config.name).provenance.bring_run == run.id
    )
    if not is_written:  # otherwise this run was killed after the rename
        import_external(workspace, config.name, Path(config.folder), config.set, run, run.id)
    return {"synthetic": config.name}


def import_external(
    workspace: Workspace,
    name: str,
    folder: Path,
    set_name: str,
    run: Run,
    run_id: str | None = None,
) -> SyntheticSet:
    """Copy the images of `folder`, <class>/…, to synthetic set `name`, sorted by their names.

    Raises UserError at the first image that is not accepted, and then leaves nothing behind.
    """
    check_new_name(workspace, name)
    training_set = open_set(workspace, set_name)
    channels = open_dataset(workspace, training_set.config.dataset).channels
    files = _list_images(folder, training_set)
    with translate_disk_full(workspace.root), atomic_folder(workspace.synthetic / name) as temp:
        size = _copy(files, temp, channels, folder, run)
        provenance = Provenance(
            generator=EXTERNAL,
            run=None,
            bring_run=run_id,
            training_set=training_set,
            unverified=True,
            training=None,
            source=str(folder),
            seed=0,
            sampler={},
            size=size,
            counts=dict(Counter(file.label for file in files)),
            filters=[],
            created=time.time(),
        )
        write_json(temp / "provenance.json", provenance.to_json())
        os.sync()  # before the rename: a complete set survives a power failure
    return open_synthetic(workspace, name)


def _list_images(folder: Path, training_set: TrainingSet) -> list[SourceFile]:
    """The images in `folder`, sorted by class and name."""
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder; {REMEDY}.")
    files = []
    for name, entry in walk_folder(folder).files.items():
        if not is_image(name):
            continue
        label, slash, _ = name.partition("/")
        if not slash:
            raise UserError(
                f"{folder}: image {name!r} is not in a class folder; the layout is <class>/*.png."
            )
        if label not in training_set.classes:
            raise UserError(
                f"{folder}: {label[:100]!r} is not a class of training set {training_set.name} "
                f"({', '.join(training_set.classes)}); rename or remove that folder."
            )
        if entry.size > MAX_BYTES:
            raise _rejection(folder, name, f"it is larger than {MAX_BYTES // 2**20} MB")
        files.append(SourceFile(name, label, "", entry.read, entry.size))
    if not files:
        raise UserError(f"{folder} does not contain images; {REMEDY}.")
    label, count = Counter(file.label for file in files).most_common(1)[0]
    if count > MAX_COUNT:
        raise UserError(
            f"{folder}: class {label!r} has {count} images; import at most {MAX_COUNT}."
        )
    return sorted(files, key=lambda file: (training_set.classes.index(file.label), file.image))


def _copy(files: list[SourceFile], target: Path, channels: int, folder: Path, run: Run) -> int:
    """Write all images as PNG, <class>/000000.png …, and return their side in px."""
    size, first = 0, ""
    written: Counter[str] = Counter()
    inspect = partial(validate_squares, channels)
    for number, (file, _, square) in enumerate(read_and_inspect(files, inspect), start=1):
        if square.reason:
            raise _rejection(folder, file.image, square.reason)
        if not size:
            size, first = square.side, file.image
        if square.side != size:
            reason = (
                f"its side is {square.side} px, that of {first!r} {size}; resize all images to one "
                "size"
            )
            raise _rejection(folder, file.image, reason)
        path = target / file.label / f"{written[file.label]:06d}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(square.png)
        written[file.label] += 1
        if number % 32 == 0 or number == len(files):
            if run.should_stop():
                raise Cancelled
            run.progress(number / len(files), f"reading {len(files)} images")
    return size


def _rejection(folder: Path, name: str, reason: str) -> UserError:
    return UserError(f"{folder}: image {name!r} cannot be imported: {reason}.")
