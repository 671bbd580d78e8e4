"""Import a zip, folder, CSV, Kaggle dataset or built-in as a Dataset; sources are untrusted."""

import hashlib
import os
import secrets
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, TypeVar

import numpy as np

from rebalance_core.datasets.catalogue import BATCH, BATCH_BYTES, PARALLEL_FROM, Catalogue
from rebalance_core.datasets.dataset import Dataset, fingerprint, open_dataset
from rebalance_core.datasets.duplicates import near_pairs, save_near_pairs
from rebalance_core.datasets.inspecting import THUMBNAIL, InspectOptions, inspect_batch
from rebalance_core.datasets.left_out import fold
from rebalance_core.datasets.manifest import FORMAT, Manifest, UnreadableFile
from rebalance_core.datasets.opening import check_classes, check_labels, open_source
from rebalance_core.datasets.source import (
    TABLE_SUFFIXES,
    Column,
    ImportConfig,
    Source,
    SourceFile,
    guess_symmetries,
)
from rebalance_core.errors import UserError
from rebalance_core.imaging.symmetry import Symmetries, allowed_symmetries
from rebalance_core.runs.directory import RunDirectory
from rebalance_core.runs.run import Cancelled, Run
from rebalance_core.system.files import (
    DISK_FULL,
    atomic_folder,
    disk_full_message,
    translate_disk_full,
    write_json,
)
from rebalance_core.system.processes import parallel_map
from rebalance_core.workspace import Workspace, check_name

T = TypeVar("T")
GRAY_SHARE = 0.99  # of images that must be gray for a dataset of one channel
MAX_UPLOAD_FILES = 300  # above, a browser freezes: its time grows with the square of the number


def import_dataset(workspace: Workspace, config: ImportConfig, run: Run) -> Dataset:
    """Import `config.source` as dataset `config.name`; leaves nothing behind on failure."""
    check_name_available(workspace, config.name)
    with (
        translate_disk_full(workspace.root),
        atomic_folder(workspace.datasets / config.name) as folder,
    ):
        images, unreadable, source = _read_source(config, folder, run)
        table = images.table()
        classes = sorted(set(table["class"]))
        symmetries = config.symmetries
        if symmetries == "auto":
            symmetries = guess_symmetries(config.source, classes)
        _write_near_duplicates(folder, len(table), symmetries, run)
        gray = table.pop("gray")
        catalogue = table.to_csv(index=False, lineterminator="\n").encode()
        (folder / "catalogue.csv").write_bytes(catalogue)
        manifest = Manifest(
            format=FORMAT,
            classes=classes,
            channels=1 if gray.mean() >= GRAY_SHARE else 3,
            fingerprint=fingerprint(table),
            catalogue=hashlib.sha256(catalogue).hexdigest(),
            source={**config.model_dump(mode="json"), "columns": _in_one_line(config.columns)},
            unreadable=unreadable,
            left_out=fold(source.left_out),
            created=time.time(),
            symmetries=symmetries,
            gray_levels=images.gray_levels,
            ground=images.ground,
            notes=[*source.notes, *images.notes()],
        )
        write_json(folder / "manifest.json", manifest.model_dump(mode="json", by_alias=True))
        os.sync()  # before the rename, so that a complete dataset survives a power cut
    return open_dataset(workspace, config.name)


def _in_one_line(columns: Mapping[Column, str]) -> str:
    return ", ".join(f"{column}={heading}" for column, heading in columns.items())


def check_name_available(workspace: Workspace, name: str) -> None:
    """Raise UserError unless `name` is valid and free for a dataset."""
    check_name(name, "dataset name")
    if (workspace.datasets / name).exists():
        raise UserError(f"Dataset {name!r} already exists; choose another name or remove it.")
    if (workspace.sets / f"{name}.json").exists():
        raise UserError(f"{name!r} is the name of a training set; choose another name.")


def check_import(workspace: Workspace, config: ImportConfig) -> None:
    """Raise UserError for a config that cannot be imported, before any work."""
    check_name_available(workspace, config.name)


def import_job(workspace: Workspace, run: RunDirectory) -> Mapping[str, Any]:
    """Run an import and remove its upload, which only a cancelled run still needs."""
    config = ImportConfig.build(**run.config)
    try:
        dataset = import_dataset(workspace, config, run)
    except UserError as error:
        remove_upload(workspace, config.source)
        raise UserError(_without_upload_path(str(error), workspace, config.source)) from error
    remove_upload(workspace, config.source)  # the dataset has the originals
    return {"dataset": dataset.name}


def _without_upload_path(sentence: str, workspace: Workspace, source: str) -> str:
    """The sentence with the name of an uploaded file instead of its path in the workspace."""
    folder = _upload_folder(workspace, source)
    if folder is None:
        return sentence
    return sentence.replace(f"{folder}/", "").replace(str(folder), "The upload")


def check_upload_count(count: int) -> None:
    """Raise UserError for more files than a browser uploads in a reasonable time."""
    if count > MAX_UPLOAD_FILES:
        raise UserError(
            f"{count:,} files are too many for an upload, whose time grows with the square of "
            f"their number; above {MAX_UPLOAD_FILES}, upload them as one zip, or enter the path of "
            "their folder under “From a path”."
        )


def save_upload(workspace: Workspace, files: Sequence[tuple[str, BinaryIO]]) -> str:
    """Save files uploaded by a browser, [(path, content), …], and return the source to import.

    Accepts one zip, images with a CSV of labels, or the files of a folder; raises UserError
    otherwise.
    """
    check_upload_count(len(files))
    names = [PurePosixPath(name.replace("\\", "/")) for name, _ in files]
    outside = [n for n in names if n.is_absolute() or ".." in n.parts]
    if outside:
        raise UserError(f"File {str(outside[0])!r} points outside its folder; rename it.")
    invalid = [n for n in names if "\0" in str(n)]
    if invalid:
        raise UserError(f"File {str(invalid[0])!r} does not have a valid name; rename it.")
    repeated = [n for n, count in Counter(names).items() if count > 1]
    if repeated:
        raise UserError(
            f"Two files are named {str(repeated[0])!r}; rename one, or drop their folder."
        )
    tables = [n for n in names if n.suffix.lower() in TABLE_SUFFIXES]
    zips = [n for n in names if n.suffix.lower() == ".zip" and len(n.parts) == 1]
    is_flat = all(len(n.parts) == 1 for n in names)
    has_labels = bool(tables) and len(tables) < len(names)
    if (zips and len(names) > 1) or (is_flat and not zips and not has_labels):
        raise UserError(
            "The classes of these files are not given; drop one zip, a folder of class folders, or "
            "images together with one CSV of their paths and labels."
        )
    folder = workspace.uploads / secrets.token_hex(8)
    try:
        for name, (_, content) in zip(names, files, strict=True):
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            content.seek(0)  # a preview may have read it
            with target.open("wb") as out:
                shutil.copyfileobj(content, out)
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        if error.errno in DISK_FULL:
            raise UserError(disk_full_message(workspace.root)) from error
        raise UserError(
            f"{error.filename} cannot be saved ({error.strerror}); rename it."
        ) from error
    return str(folder / next(iter(zips), ""))


def remove_upload(workspace: Workspace, source: str) -> None:
    """Remove an upload; a source outside the uploads folder is left untouched."""
    folder = _upload_folder(workspace, source)
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)


def _upload_folder(workspace: Workspace, source: str) -> Path | None:
    """The folder of an upload; None if the source is elsewhere."""
    path = Path(os.path.normpath(source))
    if not path.is_absolute() or not path.is_relative_to(workspace.uploads):
        return None
    parts = path.relative_to(workspace.uploads).parts
    return workspace.uploads / parts[0] if parts else None


def cleanup_import(workspace: Workspace, run_id: str, config: Mapping[str, Any]) -> None:
    """Remove what an import keeps outside its run: the upload, which a resumed run needs."""
    remove_upload(workspace, str(config.get("source", "")))


def _check_disk_space(files: list[SourceFile], folder: Path) -> None:
    """Raise UserError if the originals and the temporary thumbnails would not fit on the disk."""
    needed = sum(file.size for file in files) + len(files) * THUMBNAIL**2
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"The import needs {needed / 2**20:,.0f} MB, but {folder.parent} has "
            f"{free / 2**20:,.0f} MB free; free some space, or set REBALANCE_HOME to a folder on a "
            "larger disk."
        )


def _read_source(
    config: ImportConfig, folder: Path, run: Run
) -> tuple[Catalogue, list[UnreadableFile], Source]:
    """Copy and inspect all files: the catalogue, the unreadable files, and the source."""
    options = InspectOptions(config.plane, config.slice_step, config.gray_limits)
    inspect = partial(inspect_batch, options=options)
    with open_source(config) as source, Catalogue(folder) as catalogue:
        files = source.files
        check_labels(files, config.source)
        _check_disk_space(files, folder)
        unreadable: list[UnreadableFile] = []
        stage = f"reading {len(files)} images"
        for number, (file, data, inspection) in enumerate(read_and_inspect(files, inspect), 1):
            if inspection.reason:
                unreadable.append(UnreadableFile(image=file.image, reason=inspection.reason))
            else:
                catalogue.add(file, data, inspection)
            if number % 32 == 0:
                _report(run, 0.8 * number / len(files), stage)
        columns = catalogue.columns
        pairs = list(zip(columns["class"], columns["split"], strict=True))
        check_classes(source, pairs, unreadable, config.source)
        catalogue.finish(lambda share: _report(run, 0.8 + 0.1 * share, "setting gray levels"))
    catalogue.save_levels()
    return catalogue, unreadable, source


def _report(run: Run, fraction: float, stage: str) -> None:
    """Report progress; raises Cancelled if the run should stop."""
    if run.should_stop():
        raise Cancelled
    run.progress(fraction, stage)


def read_and_inspect(
    files: list[SourceFile], inspect: Callable[[list[bytes | str]], list[T]]
) -> Iterator[tuple[SourceFile, bytes, T]]:
    """Yield every file, its bytes and the result of `inspect`, in order; in parallel if many.

    `inspect` maps a batch of contents to one result each. An unreadable file has no bytes; its
    content is the reason, a str.
    """
    if len(files) < PARALLEL_FROM:
        for file in files:
            content = _read(file)
            yield from _zip_batch([file], [content], inspect([content]))
        return
    batches = list(_batches(files))
    contents = ([_read(file) for file in batch] for batch in batches)
    for batch, (batch_contents, results) in zip(
        batches, parallel_map(inspect, contents), strict=True
    ):
        yield from _zip_batch(batch, batch_contents, results)


def _zip_batch(
    files: list[SourceFile], contents: list[bytes | str], results: list[T]
) -> Iterator[tuple[SourceFile, bytes, T]]:
    for file, content, result in zip(files, contents, results, strict=True):
        yield file, content if isinstance(content, bytes) else b"", result


def _read(file: SourceFile) -> bytes | str:
    """The bytes of a file, or the reason why it cannot be read."""
    try:
        return file.read()
    except ValueError as error:
        return str(error)


def _batches(files: list[SourceFile]) -> Iterator[list[SourceFile]]:
    """Split into batches of limited number and total size."""
    batch: list[SourceFile] = []
    for file in files:
        batch.append(file)
        if len(batch) == BATCH or sum(f.size for f in batch) > BATCH_BYTES:
            yield batch
            batch = []
    if batch:
        yield batch


def _write_near_duplicates(folder: Path, count: int, symmetries: Symmetries, run: Run) -> None:
    """Write the pairs of near-duplicates to `near.npz`, and remove the thumbnails."""
    size = THUMBNAIL**2

    def report(share: float) -> None:
        if run.should_stop():
            raise Cancelled
        run.progress(0.9 + 0.1 * share, f"looking for duplicates among {count} images")

    report(0.0)
    with (folder / "thumbnails").open("rb") as thumbnails:

        def read(rows: np.ndarray) -> np.ndarray:
            # not a memory map, whose pages would count as memory of this process
            blocks = (os.pread(thumbnails.fileno(), size, int(row) * size) for row in rows)
            return np.frombuffer(b"".join(blocks), np.uint8).reshape(-1, THUMBNAIL, THUMBNAIL)

        save_near_pairs(folder, near_pairs(read, count, allowed_symmetries(symmetries), report))
    (folder / "thumbnails").unlink()
