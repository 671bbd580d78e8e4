"""Export of a rebalanced training set: real and synthetic images with a manifest."""

import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from rebalance_core.comparison.amounts import check_amount, resolve_amount
from rebalance_core.comparison.arms import Arm, generated_arms
from rebalance_core.datasets.dataset import Dataset, open_dataset
from rebalance_core.errors import UserError
from rebalance_core.synthesis.synthetic_set import SyntheticSet, newest_synthetic, open_synthetic
from rebalance_core.system.files import (
    atomic_folder,
    atomic_zip,
    remove_stale_temporaries,
    temp_path,
    write_json,
)
from rebalance_core.system.tables import csv_text
from rebalance_core.training_sets.resolve import TrainingSet, open_set
from rebalance_core.workspace import Workspace


def plan_rebalanced(
    workspace: Workspace,
    set_name: str,
    arm: str,
    *,
    amount: str = "1.0",
    synthetic: str | None = None,
) -> tuple[TrainingSet, SyntheticSet | None, dict[str, int]]:
    """Return the training set, the synthetic set and {class: synthetic images to add}.

    The amount 1.0 is limited to the images available; for other amounts, too few images raise
    UserError.
    """
    training_set = open_set(workspace, set_name)
    images = Arm.parse(arm).images
    if images is None:
        return training_set, None, {}
    if synthetic is None and images in generated_arms():
        synthetic_set = newest_synthetic(workspace, training_set, images)
    else:
        synthetic_set = open_synthetic(workspace, synthetic or images)
        synthetic_set.check_fits(training_set)
    plan = resolve_amount(
        amount, training_set.counts, training_set.minority or list(training_set.classes)
    )
    if amount == "1.0":
        plan = {c: min(n, synthetic_set.counts.get(c, 0)) for c, n in plan.items()}
    check_amount(plan, synthetic_set.counts, synthetic_set.name)
    return training_set, synthetic_set, plan


def rebalanced_files(
    dataset: Dataset,
    training_set: TrainingSet,
    synthetic_set: SyntheticSet | None,
    plan: dict[str, int],
) -> Iterator[tuple[str, bytes, dict[str, Any]]]:
    """Yield (name in the folder, content, manifest line) of every image, real ones first."""
    labels = dict(zip(dataset.catalogue["image"], dataset.catalogue["class"], strict=True))
    for number, image in enumerate(training_set.train):
        # Numbered, since files in two source folders may have the same name.
        is_part = dataset.file_name(image) != image
        original = PurePosixPath(image).name + (".png" if is_part else "")
        name = f"{labels[image]}/real_{number:06d}_{_short(original)}"
        # of a file of several images, only the one that belongs to the set
        content = dataset.png(image) if is_part else dataset.read_original(image)
        yield name, content, {"kind": "real", "source": image}
    for label, count in plan.items() if synthetic_set else ():
        assert synthetic_set is not None
        for file in synthetic_set.files(label)[:count]:
            name = f"{label}/{synthetic_set.generator}_{file.name}"
            yield (
                name,
                file.read_bytes(),
                {
                    "kind": synthetic_set.generator,
                    "source": f"{synthetic_set.name}/{label}/{file.name}",
                },
            )


def _short(name: str) -> str:
    """Shorten a name that could exceed a file system's limit of 255 bytes to its end."""
    return name if len(name.encode()) <= 200 else name[-60:]


def write_rebalanced(
    workspace: Workspace, set_name: str, arm: str, target: Path, **options: Any
) -> dict[str, Any]:
    """Write the folder `target` (new, or empty): `<class>/…`, manifest.csv, manifest.json."""
    training_set, synthetic_set, plan = plan_rebalanced(workspace, set_name, arm, **options)
    dataset = open_dataset(workspace, training_set.config.dataset)
    if target.is_dir() and not any(target.iterdir()):
        target.rmdir()
    with atomic_folder(target.resolve()) as temporary:
        lines = []
        for name, data, line in rebalanced_files(dataset, training_set, synthetic_set, plan):
            (temporary / name).parent.mkdir(exist_ok=True)
            (temporary / name).write_bytes(data)
            lines.append({"file": name, "class": PurePosixPath(name).parts[0], **line})
        manifest = _manifest(training_set, synthetic_set, plan, arm, lines)
        write_json(temporary / "manifest.json", manifest)
        (temporary / "manifest.csv").write_bytes(
            csv_text(lines, ("file", "class", "kind", "source"), end="\r\n").encode()
        )
    return {"folder": str(target.resolve()), **manifest}


def zip_rebalanced(workspace: Workspace, set_name: str, arm: str, **options: Any) -> Path:
    """Write the rebalanced training set as a zip into the workspace's exports."""
    workspace.exports.mkdir(parents=True, exist_ok=True)
    target = workspace.exports / f"{set_name}-{arm}.zip"
    remove_stale_temporaries(workspace.exports)
    folder = temp_path(target)
    folder.mkdir()
    try:
        write_rebalanced(workspace, set_name, arm, folder / "rebalanced", **options)
        atomic_zip(folder / "rebalanced", target, target.stem)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return target


def _manifest(
    training_set: TrainingSet,
    synthetic_set: SyntheticSet | None,
    plan: dict[str, int],
    arm: str,
    lines: list[dict[str, Any]],
) -> dict[str, Any]:
    if not lines:
        raise UserError(f"Training set {training_set.name} holds no images.")
    return {
        "training_set": training_set.name,
        "dataset": training_set.config.dataset,
        "fingerprint": training_set.fingerprint,
        "config": training_set.config.model_dump(mode="json"),
        "arm": arm,
        "synthetic": None if synthetic_set is None else synthetic_set.name,
        "provenance": None
        if synthetic_set is None
        else {k: v for k, v in synthetic_set.provenance.to_json().items() if k != "training_set"},
        "unverified": synthetic_set is not None and synthetic_set.unverified,
        "real": training_set.counts,
        "added": plan,
        "counts": {c: training_set.counts[c] + plan.get(c, 0) for c in training_set.classes},
        "note": "Research software, not for diagnosis. Generated images do not show real patients.",
    }
