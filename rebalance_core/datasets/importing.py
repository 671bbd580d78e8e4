"""Zip, folder, CSV, Kaggle or built-in → a Dataset. What comes from outside is hostile until
checked."""

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
from rebalance_core.datasets.duplicates import near_pairs
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
    is_label,
)
from rebalance_core.errors import UserError
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
GRAY_SHARE = 0.99  # of the images must be gray for the dataset to be kept gray
FEW = 512  # images that one process reads sooner than others start
BATCH = 64  # images handed to a process at once
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
        atomic_folder(workspace.datasets / config.name) as aside,
    ):
        table, unreadable = _read_source(config, aside, run)
        _find_near(aside, len(table), run)
        gray = table.pop("gray")
        catalogue = table.to_csv(index=False, lineterminator="\n").encode()
        (aside / "catalogue.csv").write_bytes(catalogue)
        manifest = Manifest(
            format=FORMAT,
            classes=sorted(set(table["class"])),
            channels=1 if gray.mean() >= GRAY_SHARE else 3,
            fingerprint=fingerprint(table),
            catalogue=hashlib.sha256(catalogue).hexdigest(),
            source=config.model_dump(mode="json"),
            unreadable=unreadable,
            created=time.time(),
        )
        write_json(aside / "manifest.json", manifest.model_dump(mode="json"))
        os.sync()  # what is there under its own name survives a power cut
    return open_dataset(workspace, config.name)


def check_name_available(workspace: Workspace, name: str) -> None:
    """Raises UserError unless a dataset can be given this name."""
    check_name(name, "dataset name")
    if (workspace.datasets / name).exists():
        raise UserError(f"Dataset {name!r} exists already; choose another name or remove it.")
    if (workspace.sets / f"{name}.json").exists():
        raise UserError(f"{name!r} is the name of a training set; choose another name.")


def check_import(workspace: Workspace, config: ImportConfig) -> None:
    """Raises UserError, before any work, for what cannot be imported."""
    check_name_available(workspace, config.name)


def import_job(workspace: Workspace, run: RunDirectory) -> Mapping[str, Any]:
    config = ImportConfig.build(**run.config)
    try:
        dataset = import_dataset(workspace, config, run)
    except UserError:
        remove_upload(workspace, config.source)
        raise
    remove_upload(workspace, config.source)  # the originals are kept
    return {"dataset": dataset.name}


def save_upload(workspace: Workspace, files: Sequence[tuple[str, BinaryIO]]) -> str:
    """Keep what the browser sent, [(name with folders, content), …]; returns the source to import.

    One zip, images with a CSV that labels them, or a folder's files. Raises UserError otherwise.
    """
    names = [PurePosixPath(name.replace("\\", "/")) for name, _ in files]
    outside = [n for n in names if n.is_absolute() or ".." in n.parts]
    if outside:
        raise UserError(f"File {str(outside[0])!r} points outside its folder; rename it.")
    odd = [n for n in names if "\0" in str(n)]
    if odd:
        raise UserError(f"File {str(odd[0])!r} has a name that no disk takes; rename it.")
    twice = [n for n, count in Counter(names).items() if count > 1]
    if twice:
        raise UserError(f"Two files are named {str(twice[0])!r}; rename one, or drop their folder.")
    folders = {n.parent for n in names if is_image(str(n))}
    tables = [n for n in names if n.suffix.lower() == ".csv" and len(n.parts) <= 2]
    tables = tables if len(folders) < 2 else []  # else it lies beside class folders
    zips = [n for n in names if n.suffix.lower() == ".zip" and len(n.parts) == 1]
    flat = all(len(n.parts) == 1 for n in names)
    if (zips and len(names) > 1) or len(tables) > 1 or (flat and not zips and not tables):
        raise UserError(
            "These files don't say which class is which; drop one zip, a folder of class folders, "
            "or images together with one CSV of their paths and labels."
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
            f"{error.filename} cannot be kept ({error.strerror}); rename it."
        ) from error
    return str(folder / next(iter(zips or tables), ""))


def remove_upload(workspace: Workspace, source: str) -> None:
    """Remove what the browser sent; other sources are not ours to remove."""
    path = Path(os.path.normpath(source))
    if path.is_absolute() and path.is_relative_to(workspace.uploads):
        inside = path.relative_to(workspace.uploads).parts
        if inside:
            shutil.rmtree(workspace.uploads / inside[0], ignore_errors=True)


def cleanup_import(workspace: Workspace, run_id: str, config: Mapping[str, Any]) -> None:
    """What an import keeps outside its run: an upload waits for a resume until now."""
    remove_upload(workspace, str(config.get("source", "")))


@contextmanager
def open_source(config: ImportConfig) -> Iterator[list[SourceFile]]:
    """The source's images, sorted by id; an opened zip stays open meanwhile."""
    if config.source in BUILT_IN:
        from rebalance_core.datasets import builtin

        phantom = config.source == "phantom"
        yield builtin.phantom_files(config) if phantom else builtin.digits_files()
        return
    path = _find(config.source)
    if path.is_dir():
        yield label_files(*walk_folder(path), path)
    elif path.suffix.lower() == ".csv":
        from rebalance_core.datasets.tables import table_files

        yield table_files(path)
    else:
        from rebalance_core.datasets.archives import open_archive

        with open_archive(path, config) as (entries, folders):
            yield label_files(entries, folders, path)


def _find(source: str) -> Path:
    if source == KAGGLE or source.startswith(f"{KAGGLE}:"):
        from rebalance_core.datasets.kaggle import download

        return download(source.partition(":")[2] or KAGGLE_STUDY)
    path = Path(source).expanduser()
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(
            f"{path} does not exist; name a zip, a folder, a CSV, or one of "
            f"{', '.join((*BUILT_IN, KAGGLE))}."
        ) from error
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}); allow access or choose another."
        ) from error
    return path


def _check_room(files: list[SourceFile], folder: Path) -> None:
    """Before anything is copied: originals, and thumbnails while duplicates are looked for."""
    needed = sum(file.size for file in files) + len(files) * THUMBNAIL**2
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"The import needs {needed / 2**20:,.0f} MB, but {folder.parent} has "
            f"{free / 2**20:,.0f} MB free; free some, or set REBALANCE_HOME to a folder on a "
            "larger disk."
        )


def _check_labels(files: list[SourceFile], source: str) -> None:
    """Labels become folder names, here and on other people's systems; names must be text."""
    for file in files:
        if not file.image.isascii() and any("\ud800" <= c <= "\udfff" for c in file.image):
            raise UserError(f"{source}: the name {file.image!r} is not in UTF-8; rename the file.")
    folded: dict[str, str] = {}
    for label in sorted({file.label for file in files}):
        if not is_label(label):
            raise UserError(
                f"{source}: class {label[:MAX_LABEL]!r} cannot be a folder's name; use up to "
                f"{MAX_LABEL} characters without slashes, control characters, "
                "`](` and a dot in front."
            )
        other = folded.setdefault(unicodedata.normalize("NFC", label).casefold(), label)
        if other != label:
            raise UserError(
                f"{source}: classes {other!r} and {label!r} differ only by case or by how "
                "accents are written; rename one, or join them."
            )


def _check_classes(
    files: list[SourceFile],
    columns: dict[str, list[str]],
    unreadable: list[UnreadableFile],
    source: str,
) -> None:
    labels = sorted({file.label for file in files})
    where = set(zip(columns["class"], columns["split"], strict=True))
    readable = Counter(columns["class"])
    if len(labels) < 2:
        raise UserError(
            f"{source} holds one class, {labels[0]!r}; at least two are needed: {LAYOUT}."
        )
    for label in labels:
        if readable[label] < 2:
            told = "no readable image" if not readable[label] else "a single readable image"
            within = {file.image for file in files if file.label == label}
            why = _main_reason([entry for entry in unreadable if entry.image in within])
            raise UserError(
                f"{source}: class {label!r} has {told}{why}; "
                "add images, at least two, or remove it."
            )
        if (label, "train") not in where:
            splits = sorted(split for c, split in where if c == label)
            raise UserError(
                f"{source}: class {label!r} has images in the {' and '.join(splits)} split only; "
                "add some to train on, or remove it."
            )


def _main_reason(unreadable: list[UnreadableFile]) -> str:
    """The commonest reason, how many files it holds for and the first of them; "" for none."""
    if not unreadable:
        return ""
    reason, count = Counter(entry.reason for entry in unreadable).most_common(1)[0]
    first = next(entry.image for entry in unreadable if entry.reason == reason)
    return f" ({count} of {len(unreadable)} unreadable files, {first!r} first: {reason})"


def _read_source(
    config: ImportConfig, folder: Path, run: Run
) -> "tuple[pd.DataFrame, list[UnreadableFile]]":
    """Copy and inspect every file of the source: the catalogue, and what cannot be read.

    Leaves `originals` and `thumbnails` (64 × 64 bytes each, in the catalogue's order) in `folder`.
    """
    import pandas as pd

    with (
        open_source(config) as files,
        (folder / "originals").open("wb") as originals,
        (folder / "thumbnails").open("wb") as thumbnails,
    ):
        _check_labels(files, config.source)
        _check_room(files, folder)
        columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
        unreadable: list[UnreadableFile] = []
        kept: dict[str, int] = {}  # SHA-256 → where its bytes begin
        for number, (file, data, found) in enumerate(
            read_and_inspect(files, inspect_batch), start=1
        ):
            if found.reason:
                unreadable.append(UnreadableFile(image=file.image, reason=found.reason))
            else:
                digest = found.facts["sha256"]
                if digest not in kept:
                    kept[digest] = originals.tell()
                    originals.write(data)
                named = {"image": file.image, "class": file.label, "split": file.split}
                known = {"group": file.group or found.facts["group"], "pose": file.pose}
                row = {**named, **found.facts, **known, "offset": kept[digest]}
                for name, column in columns.items():
                    column.append(row[name])
                thumbnails.write(found.thumbnail)
            if number % 32 == 0:
                if run.should_stop():
                    raise Cancelled
                run.progress(0.9 * number / len(files), f"reading {len(files)} images")
        _check_classes(files, columns, unreadable, config.source)
    return pd.DataFrame(columns), unreadable


def read_and_inspect(
    files: list[SourceFile], look: Callable[[list[bytes | str]], list[T]]
) -> Iterator[tuple[SourceFile, bytes, T]]:
    """Every file, its bytes and what `look` says of them (or of the reason why there are none), in
    order; by processes where there are many."""
    if len(files) < FEW:
        for file in files:
            data = _read(file)
            yield from _told([file], [data], look([data]))
        return
    batches = list(_batches(files))
    contents = ([_read(file) for file in batch] for batch in batches)
    for batch, (read, found) in zip(batches, parallel_map(look, contents), strict=True):
        yield from _told(batch, read, found)


def _told(
    files: list[SourceFile], contents: list[bytes | str], found: list[T]
) -> Iterator[tuple[SourceFile, bytes, T]]:
    for file, data, each in zip(files, contents, found, strict=True):
        yield file, data if isinstance(data, bytes) else b"", each


def _read(file: SourceFile) -> bytes | str:
    """Its bytes, or the reason why there are none."""
    try:
        return file.read()
    except ValueError as error:
        return str(error)


def _batches(files: list[SourceFile]) -> Iterator[list[SourceFile]]:
    """Neither many files nor many bytes at once."""
    batch: list[SourceFile] = []
    for file in files:
        batch.append(file)
        if len(batch) == BATCH or sum(f.size for f in batch) > BATCH_BYTES:
            yield batch
            batch = []
    if batch:
        yield batch


def _find_near(folder: Path, count: int, run: Run) -> None:
    """Find near-duplicates among the thumbnails, which go then, and keep the pairs."""
    size = THUMBNAIL**2

    def told(share: float) -> None:
        if run.should_stop():
            raise Cancelled
        run.progress(0.9 + 0.1 * share, f"looking for duplicates among {count} images")

    told(0.0)
    with (folder / "thumbnails").open("rb") as thumbnails, (folder / "near.npz").open("wb") as file:

        def read(rows: np.ndarray) -> np.ndarray:
            # Not a memory map: what it touched would count as memory taken.
            found = (os.pread(thumbnails.fileno(), size, int(row) * size) for row in rows)
            return np.frombuffer(b"".join(found), np.uint8).reshape(-1, THUMBNAIL, THUMBNAIL)

        pairs, difference = near_pairs(read, count, told)
        np.savez(file, pairs=pairs, difference=difference)
    (folder / "thumbnails").unlink()
