"""Generated images as a plain image folder with `provenance.json`."""

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
    """A set whose provenance was checked: `open_synthetic` makes it."""

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
        """What the generator saw."""
        return self.provenance.training_set

    def files(self, label: str) -> list[Path]:
        return sorted((self.path / label).glob("*.png"))

    def images(self, label: str, count: int | None = None) -> np.ndarray:
        """The first `count` images of a class, in the order of the seed: uint8 (n, H, W, C)."""
        return self.images_of(self.files(label)[:count])

    def images_of(self, files: list[Path]) -> np.ndarray:
        """Some of its files: uint8 (n, H, W, C)."""
        loaded: list[np.ndarray] = []
        for file in files:
            pixels = _pixels(file)
            if loaded and pixels.shape != loaded[0].shape:
                raise UserError(
                    f"{file} is {_form(pixels)} unlike the other images of synthetic set "
                    f"{self.name} ({_form(loaded[0])}); remove it, or make the set again."
                )
            loaded.append(pixels)
        return np.stack(loaded) if loaded else np.zeros((0, 1, 1, 1), np.uint8)

    def check_images(self, channels: int) -> None:
        """Raises UserError if its images are of another number of channels (by the first of each
        class), or if files that it counts are gone."""
        for label, count in self.counts.items():
            files = self.files(label)
            if len(files) < count:
                raise UserError(
                    f"Synthetic set {self.name} should hold {count} images of {label}, but "
                    f"{len(files)} are there; make it again."
                )
            found = _pixels(files[0]).shape[2] if files else channels
            if found != channels:
                raise UserError(
                    f"Synthetic set {self.name} has images of {found} channel(s), the dataset of "
                    f"{channels}; make one of images like the dataset's."
                )

    @property
    def unverified(self) -> bool:
        """Whether it is unknown what the generator was trained on: of brought images, and of a
        generator from a folder without a record."""
        return self.provenance.unverified or self.provenance.training is None

    @property
    def origin(self) -> str:
        """Where the images came from, in words."""
        seen, run = self.training_set.name, self.provenance.run
        if run is None:
            source = self.provenance.source
            told = f"brought from {source}; that it was trained on {seen} alone is unverified"
        else:
            told = f"{self.generator} trained on {seen} (run {run})"
            if self.unverified:
                told += ", which is unverified"
        steps = self.provenance.filters
        return told + (f", filtered: {', '.join(step.name for step in steps)}" if steps else "")

    @property
    def about(self) -> dict[str, Any]:
        """What the command line reports."""
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
            "filters": [_about_filter(step) for step in provenance.filters],
            "path": str(self.path),
        }

    def check_fits(self, chosen: TrainingSet) -> None:
        """Raises UserError if the generator saw anything outside the training set `chosen`."""
        if self.training_set.fingerprint != chosen.fingerprint:
            raise UserError(
                f"Synthetic set {self.name} was made from dataset "
                f"{self.training_set.config.dataset}, not from that of {chosen.name}."
            )
        strangers = [label for label in self.counts if label not in chosen.classes]
        if strangers:
            raise UserError(
                f"Synthetic set {self.name} has images of {', '.join(strangers)}, which training "
                f"set {chosen.name} doesn't know; its classes are {', '.join(chosen.classes)}."
            )
        for who, seen in self.saw():
            if seen.fingerprint != chosen.fingerprint:
                raise UserError(
                    f"The {who} of {self.name} saw dataset {seen.config.dataset}, not that of "
                    f"{chosen.name}; filter with one that saw nothing else."
                )
            outside = set(seen.train) - set(chosen.train)
            if outside:
                raise UserError(
                    f"The {who} of {self.name} saw {len(outside)} images outside training set "
                    f"{chosen.name}; train one on {chosen.name}, or compare on {seen.name}."
                )

    def saw(self) -> list[tuple[str, TrainingSet]]:
        """Who took part in making it, and the training set each saw."""
        return [
            ("generator", self.training_set),
            *(
                (f"filter {step.name}", step.training_set)
                for step in self.provenance.filters
                if step.training_set is not None
            ),
        ]


def _about_filter(step: FilterStep) -> dict[str, Any]:
    """What a filter did, without the lists of all images that it saw and took out."""
    return {
        "name": step.name,
        "value": len(step.value) if isinstance(step.value, list) else step.value,
        "from": step.source.name,
        "set": step.training_set and step.training_set.name,
        "removed": {label: len(images) for label, images in step.removed.items()},
    }


def _pixels(file: Path) -> np.ndarray:
    """uint8 (H, W, C)."""
    with Image.open(file) as image:
        pixels = np.asarray(image)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _form(pixels: np.ndarray) -> str:
    height, width, channels = pixels.shape
    return f"{width} × {height} px in {channels} channel(s)"


def synthetic_path(workspace: Workspace, name: str) -> Path:
    """The folder of a set, readable or not; raises UserError where there is none."""
    known = list_synthetic(workspace)
    if name not in known:
        raise UserError(
            f"There is no synthetic set {name!r} (there is: {', '.join(known) or 'none yet'}); "
            "make one with `generators sample`, or bring one with `synthetic add`."
        )
    return workspace.synthetic / name


def open_synthetic(workspace: Workspace, name: str) -> SyntheticSet:
    """A set by its name; raises UserError where it is missing or damaged."""
    path = synthetic_path(workspace, name)
    return SyntheticSet(path, read_provenance(path))


def open_all_synthetic(workspace: Workspace) -> tuple[list[SyntheticSet], dict[str, str]]:
    """All sets, oldest first, and {name: what is wrong} of those that are damaged."""
    found, damaged = [], {}
    for name in list_synthetic(workspace):
        try:
            found.append(open_synthetic(workspace, name))
        except UserError as error:
            damaged[name] = str(error)
    return found, damaged


def check_free(workspace: Workspace, name: str) -> None:
    """Raises UserError for a name that a synthetic set cannot have, or that one has."""
    check_name(name, "synthetic set name")
    if (workspace.synthetic / name).exists():
        raise UserError(f"Synthetic set {name!r} exists already; choose another name.")


def was_finished(workspace: Workspace, name: str, run_id: str) -> bool:
    """Whether this run had made the set when it was killed; UserError if the name is another's."""
    if name in list_synthetic(workspace):
        if open_synthetic(workspace, name).provenance.sample_run == run_id:
            return True
        check_free(workspace, name)
    return False


def finish_set(workspace: Workspace, name: str, run_id: str, provenance: Provenance) -> None:
    """What a run made aside becomes synthetic set `name`, whole; UserError if there is one now."""
    aside = workspace.partial_samples(run_id)
    provenance = provenance.model_copy(update={"sample_run": run_id, "created": time.time()})
    write_json(aside / "provenance.json", provenance.to_json())
    try:
        os.rename(aside, workspace.synthetic / name)  # refused where there is one
    except OSError as error:
        if not (workspace.synthetic / name).exists():
            raise
        raise UserError(
            f"Synthetic set {name!r} was made by another run in the meantime; remove one."
        ) from error


def list_synthetic(workspace: Workspace) -> list[str]:
    """Oldest first; one that is removed meanwhile is left out."""
    made = {}
    for name in list_names(workspace.synthetic):
        with suppress(FileNotFoundError):
            made[name] = (workspace.synthetic / name / "provenance.json").stat().st_mtime
    return sorted(made, key=made.__getitem__)


def synthetic_for(workspace: Workspace, chosen: TrainingSet, kind: str) -> SyntheticSet:
    """The newest synthetic set of a generator that saw nothing outside `chosen`."""
    damaged = []
    for name in reversed(list_synthetic(workspace)):
        try:
            found = open_synthetic(workspace, name)
        except UserError:
            damaged.append(name)
            continue
        if found.generator == kind:
            try:
                found.check_fits(chosen)
            except UserError:
                continue
            return found
    skipped = f" (damaged and skipped: {', '.join(damaged)})" if damaged else ""
    raise UserError(
        f"There are no images of {kind} for training set {chosen.name}{skipped}; run "
        f"`generators train {kind} {chosen.name}`, then `generators sample`."
    )


def remove_synthetic(workspace: Workspace, name: str) -> None:
    """Remove a set, a damaged one too."""
    remove_folder(synthetic_path(workspace, name))
    workspace.quiz_attempts(name).unlink(missing_ok=True)
    workspace.exported_synthetic(name).unlink(missing_ok=True)
