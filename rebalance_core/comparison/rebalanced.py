"""The rebalanced training set to take away: real and synthetic images with a manifest."""

import csv
import io
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
    """The training set, the synthetic set and how many of its images are added, checked.

    A full balance that the synthetic set cannot reach is brought down to what there is.
    """
    chosen = open_set(workspace, set_name)
    images = Arm.parse(arm).images
    if images is None:
        return chosen, None, {}
    if synthetic is None and images in generated_arms():
        found = newest_synthetic(workspace, chosen, images)
    else:
        found = open_synthetic(workspace, synthetic or images)
        found.check_fits(chosen)
    plan = resolve_amount(amount, chosen.counts, chosen.minority or list(chosen.classes))
    if amount == "1.0":
        plan = {c: min(n, found.counts.get(c, 0)) for c, n in plan.items()}
    check_amount(plan, found.counts, found.name)
    return chosen, found, plan


def rebalanced_files(
    dataset: Dataset, chosen: TrainingSet, found: SyntheticSet | None, plan: dict[str, int]
) -> Iterator[tuple[str, bytes, dict[str, Any]]]:
    """(name in the folder, content, line of the manifest) of every image, real first."""
    labels = dict(zip(dataset.catalogue["image"], dataset.catalogue["class"], strict=True))
    for number, image in enumerate(chosen.train):
        # A number in the name, so that two folders' files of one name stay apart.
        name = f"{labels[image]}/real_{number:06d}_{_short(PurePosixPath(image).name)}"
        yield name, dataset.read_original(image), {"kind": "real", "source": image}
    for label, count in plan.items() if found else ():
        assert found is not None
        for file in found.files(label)[:count]:
            name = f"{label}/{found.generator}_{file.name}"
            yield (
                name,
                file.read_bytes(),
                {"kind": found.generator, "source": f"{found.name}/{label}/{file.name}"},
            )


def _short(name: str) -> str:
    """Its end, where a file system could refuse the whole (255 bytes)."""
    return name if len(name.encode()) <= 200 else name[-60:]


def write_rebalanced(
    workspace: Workspace, set_name: str, arm: str, target: Path, **choice: Any
) -> dict[str, Any]:
    """Write the folder `target` (new, or empty): `<class>/…`, manifest.csv, manifest.json."""
    chosen, found, plan = plan_rebalanced(workspace, set_name, arm, **choice)
    dataset = open_dataset(workspace, chosen.config.dataset)
    if target.is_dir() and not any(target.iterdir()):
        target.rmdir()
    with atomic_folder(target.resolve()) as aside:
        lines = []
        for name, data, line in rebalanced_files(dataset, chosen, found, plan):
            (aside / name).parent.mkdir(exist_ok=True)
            (aside / name).write_bytes(data)
            lines.append({"file": name, "class": PurePosixPath(name).parts[0], **line})
        about = _about(chosen, found, plan, arm, lines)
        write_json(aside / "manifest.json", about)
        (aside / "manifest.csv").write_text(_csv(lines))
    return {"folder": str(target.resolve()), **about}


def zip_rebalanced(workspace: Workspace, set_name: str, arm: str, **choice: Any) -> Path:
    """The same as a zip for the browser, in the workspace's exports; written once, kept."""
    workspace.exports.mkdir(parents=True, exist_ok=True)
    target = workspace.exports / f"{set_name}-{arm}.zip"
    remove_stale_temporaries(workspace.exports)
    folder = temp_path(target)
    folder.mkdir()
    try:
        write_rebalanced(workspace, set_name, arm, folder / "rebalanced", **choice)
        atomic_zip(folder / "rebalanced", target, target.stem)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return target


def _about(
    chosen: TrainingSet,
    found: SyntheticSet | None,
    plan: dict[str, int],
    arm: str,
    lines: list[dict[str, Any]],
) -> dict[str, Any]:
    if not lines:
        raise UserError(f"Training set {chosen.name} holds no images.")
    return {
        "training_set": chosen.name,
        "dataset": chosen.config.dataset,
        "fingerprint": chosen.fingerprint,
        "config": chosen.config.model_dump(mode="json"),
        "arm": arm,
        "synthetic": None if found is None else found.name,
        "provenance": None
        if found is None
        else {k: v for k, v in found.provenance.to_json().items() if k != "training_set"},
        "unverified": found is not None and found.unverified,
        "real": chosen.counts,
        "added": plan,
        "counts": {c: chosen.counts[c] + plan.get(c, 0) for c in chosen.classes},
        "note": "Research software, not for diagnosis. Generated images do not show real patients.",
    }


def _csv(lines: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, ["file", "class", "kind", "source"])
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()
