"""Import a zip, folder, CSV, Kaggle dataset or built-in as a Dataset; sources are untrusted."""

import hashlib
import os
import secrets
import shutil
import time
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

import numpy as np

from rebalance_core.datasets.dataset import Dataset, fingerprint, open_dataset
from rebalance_core.datasets.duplicates import near_pairs, save_near_pairs
from rebalance_core.datasets.folders import LAYOUT, is_image, label_files, walk_folder
from rebalance_core.datasets.inspecting import THUMBNAIL, inspect_batch
from rebalance_core.datasets.manifest import FORMAT, Manifest, UnreadableFile
from rebalance_core.datasets.source import (
    BUILT_IN,
    KAGGLE,
    KAGGLE_STUDY,
    MAX_LABEL,
    ImportConfig,
    SourceFile,
    guess_symmetries,
    is_label,
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

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")
GRAY_SHARE = 0.99  # of images that must be gray for a dataset of one channel
PARALLEL_FROM = 512  # images, below which starting worker processes takes longer
BATCH = 64  # images per task of a worker process
BATCH_BYTES = 2**24
COLUMNS = (
    "image",
    "class",
    "split",
    "group",
    "pose",
    "sha256",
    "bytes",
    "offset",
    "width",
    "height",
    "mode",
    "brightness",
    "gray",
)


def import_dataset(workspace: Workspace, config: ImportConfig, run: Run) -> Dataset:
    """Import `config.source` as dataset `config.name`; leaves nothing behind on failure."""
    check_name_available(workspace, config.name)
    with (
        translate_disk_full(workspace.root),
        atomic_folder(workspace.datasets / config.name) as folder,
    ):
        table, unreadable = _read_source(config, folder, run)
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
            source=config.model_dump(mode="json"),
            unreadable=unreadable,
            created=time.time(),
            symmetries=symmetries,
        )
        write_json(folder / "manifest.json", manifest.model_dump(mode="json"))
        os.sync()  # before the rename, so that a complete dataset survives a power cut
    return open_dataset(workspace, config.name)


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
    except UserError:
        remove_upload(workspace, config.source)
        raise
    remove_upload(workspace, config.source)  # the dataset has the originals
    return {"dataset": dataset.name}


def save_upload(workspace: Workspace, files: Sequence[tuple[str, BinaryIO]]) -> str:
    """Save files uploaded by a browser, [(path, content), …], and return the source to import.

    Accepts one zip, images with a CSV of labels, or the files of a folder; raises UserError
    otherwise.
    """
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
    folders = {n.parent for n in names if is_image(str(n))}
    tables = [n for n in names if n.suffix.lower() == ".csv" and len(n.parts) <= 2]
    if len(folders) > 1:
        tables = []  # stray files next to class folders
    zips = [n for n in names if n.suffix.lower() == ".zip" and len(n.parts) == 1]
    is_flat = all(len(n.parts) == 1 for n in names)
    if (zips and len(names) > 1) or len(tables) > 1 or (is_flat and not zips and not tables):
        raise UserError(
            "The classes of these files are not given; drop one zip, a folder of class folders, or "
            "images together with one CSV of their paths and labels."
        )
    folder = workspace.uploads / secrets.token_hex(8)
    try:
        for name, (_, content) in zip(names, files, strict=True):
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as out:
                shutil.copyfileobj(content, out)
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        if error.errno in DISK_FULL:
            raise UserError(disk_full_message(workspace.root)) from error
        raise UserError(
            f"{error.filename} cannot be saved ({error.strerror}); rename it."
        ) from error
    return str(folder / next(iter(zips or tables), ""))


def remove_upload(workspace: Workspace, source: str) -> None:
    """Remove an upload; a source outside the uploads folder is left untouched."""
    path = Path(os.path.normpath(source))
    if path.is_absolute() and path.is_relative_to(workspace.uploads):
        parts = path.relative_to(workspace.uploads).parts
        if parts:
            shutil.rmtree(workspace.uploads / parts[0], ignore_errors=True)


def cleanup_import(workspace: Workspace, run_id: str, config: Mapping[str, Any]) -> None:
    """Remove what an import keeps outside its run: the upload, which a resumed run needs."""
    remove_upload(workspace, str(config.get("source", "")))


@contextmanager
def open_source(config: ImportConfig) -> Iterator[list[SourceFile]]:
    """The images of the source, sorted by id; a zip stays open within the context."""
    if config.source in BUILT_IN:
        from rebalance_core.datasets import builtin

        is_phantom = config.source == "phantom"
        yield builtin.phantom_files(config) if is_phantom else builtin.digits_files()
        return
    path = _resolve_path(config.source)
    if path.is_dir():
        yield label_files(*walk_folder(path), path)
    elif path.suffix.lower() == ".csv":
        from rebalance_core.datasets.tables import table_files

        yield table_files(path)
    else:
        from rebalance_core.datasets.archives import open_archive

        with open_archive(path, config) as (entries, folders):
            yield label_files(entries, folders, path)


def _resolve_path(source: str) -> Path:
    if source == KAGGLE or source.startswith(f"{KAGGLE}:"):
        from rebalance_core.datasets.kaggle import download

        return download(source.partition(":")[2] or KAGGLE_STUDY)
    path = Path(source).expanduser()
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(
            f"{path} does not exist; choose a zip, a folder, a CSV, or one of "
            f"{', '.join((*BUILT_IN, KAGGLE))}."
        ) from error
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}); allow access or choose another."
        ) from error
    return path


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


def _check_labels(files: list[SourceFile], source: str) -> None:
    """Raise UserError for labels that are not valid folder names, or names that are not UTF-8."""
    for file in files:
        if not file.image.isascii() and any("\ud800" <= c <= "\udfff" for c in file.image):
            raise UserError(f"{source}: the name {file.image!r} is not in UTF-8; rename the file.")
    folded: dict[str, str] = {}
    for label in sorted({file.label for file in files}):
        if not is_label(label):
            raise UserError(
                f"{source}: class {label[:MAX_LABEL]!r} is not a valid folder name; use up to "
                f"{MAX_LABEL} characters without slashes, control characters, "
                "`](` and a leading dot."
            )
        other = folded.setdefault(unicodedata.normalize("NFC", label).casefold(), label)
        if other != label:
            raise UserError(
                f"{source}: classes {other!r} and {label!r} differ only in case or in how "
                "accents are encoded; rename one, or merge them."
            )


def _check_classes(
    files: list[SourceFile],
    columns: dict[str, list[str]],
    unreadable: list[UnreadableFile],
    source: str,
) -> None:
    labels = sorted({file.label for file in files})
    pairs = set(zip(columns["class"], columns["split"], strict=True))
    counts = Counter(columns["class"])
    if len(labels) < 2:
        raise UserError(
            f"{source} contains one class, {labels[0]!r}; at least two are needed: {LAYOUT}."
        )
    for label in labels:
        if counts[label] < 2:
            number = "no readable image" if not counts[label] else "a single readable image"
            images = {file.image for file in files if file.label == label}
            reason = _main_reason([entry for entry in unreadable if entry.image in images])
            raise UserError(
                f"{source}: class {label!r} has {number}{reason}; "
                "add images, at least two, or remove it."
            )
        if (label, "train") not in pairs:
            splits = sorted(split for c, split in pairs if c == label)
            raise UserError(
                f"{source}: class {label!r} has images only in the {' and '.join(splits)} split; "
                "add training images, or remove it."
            )


def _main_reason(unreadable: list[UnreadableFile]) -> str:
    """The most frequent reason, its number of files and the first of these; "" for no files."""
    if not unreadable:
        return ""
    reason, count = Counter(entry.reason for entry in unreadable).most_common(1)[0]
    first = next(entry.image for entry in unreadable if entry.reason == reason)
    return f" ({count} of {len(unreadable)} unreadable files, {first!r} first: {reason})"


def _read_source(
    config: ImportConfig, folder: Path, run: Run
) -> "tuple[pd.DataFrame, list[UnreadableFile]]":
    """Copy and inspect all files of the source: the catalogue, and the unreadable files.

    Writes `originals` and `thumbnails` (64 × 64 bytes each, in the catalogue's order) to `folder`.
    """
    import pandas as pd

    with (
        open_source(config) as files,
        (folder / "originals").open("wb") as originals,
        (folder / "thumbnails").open("wb") as thumbnails,
    ):
        _check_labels(files, config.source)
        _check_disk_space(files, folder)
        columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
        unreadable: list[UnreadableFile] = []
        offsets: dict[str, int] = {}  # SHA-256 → start of its bytes
        results = read_and_inspect(files, inspect_batch)
        for number, (file, data, inspection) in enumerate(results, start=1):
            if inspection.reason:
                unreadable.append(UnreadableFile(image=file.image, reason=inspection.reason))
            else:
                digest = inspection.columns["sha256"]
                if digest not in offsets:
                    offsets[digest] = originals.tell()
                    originals.write(data)
                row = {
                    **inspection.columns,
                    "image": file.image,
                    "class": file.label,
                    "split": file.split,
                    "group": file.group or inspection.columns["group"],
                    "pose": file.pose,
                    "offset": offsets[digest],
                }
                for name, column in columns.items():
                    column.append(row[name])
                thumbnails.write(inspection.thumbnail)
            if number % 32 == 0:
                if run.should_stop():
                    raise Cancelled
                run.progress(0.9 * number / len(files), f"reading {len(files)} images")
        _check_classes(files, columns, unreadable, config.source)
    return pd.DataFrame(columns), unreadable


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
