"""A synthetic set: an image folder of generated images with `provenance.json`."""

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from rebalance_core.errors import UserError
from rebalance_core.synthesis.records import FilterStep, Provenance, read_provenance
from rebalance_core.system.files import remove_folder, write_json
from rebalance_core.training_sets.resolve import TrainingSet
from rebalance_core.workspace import Workspace, check_name, list_names


@dataclass(frozen=True)
class SyntheticSet:
    """Generated images, one folder per class, with validated provenance (`open_synthetic`)."""

    path: Path
    provenance: Provenance

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def generator(self) -> str:
        return self.provenance.generator

    @property
    def counts(self) -> dict[str, int]:
        return dict(self.provenance.counts)

    @property
    def training_set(self) -> TrainingSet:
        """The training set of the generator."""
        return self.provenance.training_set

    def files(self, label: str) -> list[Path]:
        """The files of a class in the order of the seed."""
        return sorted((self.path / label).glob("*.png"))

    def images(self, label: str, count: int | None = None) -> np.ndarray:
        """The first `count` images of a class, in the order of the seed: uint8 (n, H, W, C)."""
        return self.images_of(self.files(label)[:count])

    def images_of(self, files: list[Path]) -> np.ndarray:
        """Images by file: uint8 (n, H, W, C)."""
        images: list[np.ndarray] = []
        for file in files:
            image = _read_image(file)
            if images and image.shape != images[0].shape:
                raise UserError(
                    f"{file} is {_format_shape(image)} unlike the other images of synthetic set "
                    f"{self.name} ({_format_shape(images[0])}); remove it, or create the set again."
                )
            images.append(image)
        return np.stack(images) if images else np.zeros((0, 1, 1, 1), np.uint8)

    def check_images(self, channels: int) -> None:
        """Raises UserError where images are missing or have another number of channels (by the
        first image of each class)."""
        for label, count in self.counts.items():
            files = self.files(label)
            if len(files) < count:
                raise UserError(
                    f"Synthetic set {self.name} should have {count} images of {label}, but has "
                    f"{len(files)}; create it again."
                )
            actual = _read_image(files[0]).shape[2] if files else channels
            if actual != channels:
                raise UserError(
                    f"Synthetic set {self.name} has images of {actual} channel(s), the dataset of "
                    f"{channels}; create one with as many channels as the dataset."
                )

    @property
    def unverified(self) -> bool:
        """Whether the generator's training set is unverified: for images made elsewhere, and for
        a generator loaded from a folder without a record."""
        return self.provenance.unverified or self.provenance.training is None

    @property
    def origin(self) -> str:
        """Where the images come from, as text."""
        trained_on, run = self.training_set.name, self.provenance.run
        if run is None:
            text = (
                f"imported from {self.provenance.source}; that their generator was trained on "
                f"{trained_on} only is unverified"
            )
        else:
            text = f"{self.generator} trained on {trained_on} (run {run})"
            if self.unverified:
                text += ", which is unverified"
        if self.provenance.filters:
            text += f", filtered: {', '.join(step.name for step in self.provenance.filters)}"
        return text

    @property
    def summary(self) -> dict[str, Any]:
        """The set as the command line prints it."""
        provenance = self.provenance
        return {
            "synthetic": self.name,
            "generator": self.generator,
            "set": self.training_set.name,
            "dataset": self.training_set.config.dataset,
            "believed": self.unverified,
            "generator_run": provenance.run,
            "source": provenance.source,
            "seed": provenance.seed,
            "sampler": provenance.sampler,
            "size": provenance.size,
            "counts": self.counts,
            "filters": [_summarize_filter(step) for step in provenance.filters],
            "path": str(self.path),
        }

    def check_fits(self, training_set: TrainingSet) -> None:
        """Raises UserError where the generator or a filter was exposed to images outside a training
        set."""
        fingerprint, name = training_set.fingerprint, training_set.name
        if self.training_set.fingerprint != fingerprint:
            raise UserError(
                f"Synthetic set {self.name} is from dataset {self.training_set.config.dataset}, "
                f"not from that of {name}; choose another synthetic set."
            )
        unknown = [label for label in self.counts if label not in training_set.classes]
        if unknown:
            raise UserError(
                f"Synthetic set {self.name} has images of {', '.join(unknown)}, which are not "
                f"classes of training set {name} ({', '.join(training_set.classes)})."
            )
        for source, exposure in self.exposures():
            if exposure.fingerprint != fingerprint:
                raise UserError(
                    f"The {source} of {self.name} was exposed to dataset "
                    f"{exposure.config.dataset}, not to that of {name}; filter the set again."
                )
            outside = set(exposure.train) - set(training_set.train)
            if outside:
                raise UserError(
                    f"The {source} of {self.name} was exposed to {len(outside)} images outside "
                    f"training set {name}; train a generator on {name}, or compare on "
                    f"{exposure.name}."
                )
        self.check_poses(training_set)

    def check_poses(self, training_set: TrainingSet) -> str | None:
        """A sentence on images outside a training set that the poses used were fitted on.

        Raises UserError where test images are among them.
        """
        outside: set[str] = set()
        is_known = True
        for _, exposure in self.exposures():
            outside |= set(exposure.clustered) - set(training_set.train)
            is_known &= bool(exposure.clustered) or not exposure.config.poses
        tests = outside & {i for part in training_set.test_parts.values() for i in part}
        if tests:
            raise UserError(
                f"The poses behind {self.name} were fitted on {len(tests)} test images of training "
                f"set {training_set.name}; cluster on its training images (`poses cluster "
                f"{training_set.config.dataset} --fit-on {training_set.name}`) and train again."
            )
        if not is_known:
            return f"It is not recorded on which images the poses behind {self.name} were fitted."
        if not outside:
            return None
        validation = len(outside & set(training_set.validation))
        return (
            f"The poses behind {self.name} were fitted on {len(outside):,} images outside the "
            f"training images, {validation:,} of them for validation, none for test."
        )

    def exposures(self) -> list[tuple[str, TrainingSet]]:
        """The generator and the filters, each with the training set it was exposed to."""
        return [
            ("generator", self.training_set),
            *(
                (f"filter {step.name}", step.training_set)
                for step in self.provenance.filters
                if step.training_set is not None
            ),
        ]


def _summarize_filter(step: FilterStep) -> dict[str, Any]:
    """A filter without the lists of images that it was exposed to and removed."""
    return {
        "name": step.name,
        "value": len(step.value) if isinstance(step.value, list) else step.value,
        "from": step.source.name,
        "set": step.training_set and step.training_set.name,
        "removed": {label: len(images) for label, images in step.removed.items()},
    }


def _read_image(file: Path) -> np.ndarray:
    """uint8 (H, W, C); raises UserError where the file is damaged."""
    try:
        with Image.open(file) as opened:
            image = np.asarray(opened)
    except Exception as error:  # Pillow raises anything over hostile bytes
        raise UserError(
            f"{file} is not a readable image; create the synthetic set again."
        ) from error
    return image[..., None] if image.ndim == 2 else image


def _format_shape(image: np.ndarray) -> str:
    height, width, channels = image.shape
    return f"{width} × {height} px in {channels} channel(s)"


def synthetic_path(workspace: Workspace, name: str) -> Path:
    """The folder of a set, damaged or not; raises UserError where it does not exist."""
    names = list_synthetic(workspace)
    if name not in names:
        raise UserError(
            f"There is no synthetic set {name!r} (available: {', '.join(names) or 'none'}); "
            "create one with `generators sample`, or add one with `synthetic add`."
        )
    return workspace.synthetic / name


def open_synthetic(workspace: Workspace, name: str) -> SyntheticSet:
    """A set by name; raises UserError where it is missing or damaged."""
    path = synthetic_path(workspace, name)
    return SyntheticSet(path, read_provenance(path))


def open_all_synthetic(workspace: Workspace) -> tuple[list[SyntheticSet], dict[str, str]]:
    """All sets, oldest first, and {name: error message} of those that are damaged."""
    readable, damaged = [], {}
    for name in list_synthetic(workspace):
        try:
            readable.append(open_synthetic(workspace, name))
        except UserError as error:
            damaged[name] = str(error)
    return readable, damaged


def check_new_name(workspace: Workspace, name: str) -> None:
    """Raises UserError where the name of a new synthetic set is invalid or in use."""
    check_name(name, "synthetic set name")
    if (workspace.synthetic / name).exists():
        raise UserError(f"Synthetic set {name!r} already exists; choose another name.")


def is_complete(workspace: Workspace, name: str, run_id: str) -> bool:
    """Whether this run wrote the set before it was killed; raises UserError where the set is
    another run's."""
    if name in list_synthetic(workspace):
        if open_synthetic(workspace, name).provenance.sample_run == run_id:
            return True
        check_new_name(workspace, name)
    return False


def publish_set(workspace: Workspace, name: str, run_id: str, provenance: Provenance) -> None:
    """Rename a run's partial samples to synthetic set `name`; raises UserError where it exists."""
    partial = workspace.partial_samples(run_id)
    provenance = provenance.model_copy(update={"sample_run": run_id, "created": time.time()})
    write_json(partial / "provenance.json", provenance.to_json())
    try:
        os.rename(partial, workspace.synthetic / name)  # fails where the target is not empty
    except OSError as error:
        if not (workspace.synthetic / name).exists():
            raise
        raise UserError(
            f"Another run created synthetic set {name!r} in the meantime; remove that set, and "
            "resume this run."
        ) from error


def list_synthetic(workspace: Workspace) -> list[str]:
    """Names of all sets, oldest first."""
    times = {}
    for name in list_names(workspace.synthetic):
        with suppress(FileNotFoundError):  # removed meanwhile
            times[name] = (workspace.synthetic / name / "provenance.json").stat().st_mtime
    return sorted(times, key=times.__getitem__)


def newest_synthetic(
    workspace: Workspace, training_set: TrainingSet, generator: str
) -> SyntheticSet:
    """The newest set of a generator that fits a training set; raises UserError without one."""
    damaged = []
    for name in reversed(list_synthetic(workspace)):
        try:
            synthetic = open_synthetic(workspace, name)
        except UserError:
            damaged.append(name)
            continue
        if synthetic.generator == generator:
            with suppress(UserError):
                synthetic.check_fits(training_set)
                return synthetic
    skipped = f" (damaged and skipped: {', '.join(damaged)})" if damaged else ""
    raise UserError(
        f"There are no images of {generator} for training set {training_set.name}{skipped}; run "
        f"`generators train {generator} {training_set.name}`, then `generators sample`."
    )


def remove_synthetic(workspace: Workspace, name: str) -> None:
    """Remove a set, damaged or not, with its quiz attempts and its exported zip."""
    remove_folder(synthetic_path(workspace, name))
    workspace.quiz_attempts(name).unlink(missing_ok=True)
    workspace.exported_synthetic(name).unlink(missing_ok=True)
