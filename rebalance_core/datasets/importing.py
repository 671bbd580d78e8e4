"""Zip, folder or built-in → a Dataset. What comes from outside is hostile until checked."""

import hashlib
import lzma
import os
import stat
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from rebalance_core.datasets.dataset import Dataset, fingerprint, open_dataset
from rebalance_core.datasets.source import ImportConfig, SourceFile
from rebalance_core.errors import UserError
from rebalance_core.files import folder_aside, write_json
from rebalance_core.images import IMAGE_SUFFIXES, is_gray, open_image
from rebalance_core.runs.run import Cancelled, Run, RunDirectory
from rebalance_core.workspace import Workspace, check_name

BUILT_IN = ("phantom", "digits")
SPLIT_FOLDERS = {
    "train": "train", "training": "train",
    "val": "validation", "valid": "validation", "validation": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip
MAX_FILES = 500_000
MAX_UNPACKED = 64 * 2**30  # bytes
MAX_RATIO = 200  # unpacked : packed, of one file of over a megabyte
GRAY_SHARE = 0.99  # of the images must be gray for the dataset to be kept gray


def import_dataset(workspace: Workspace, config: ImportConfig, run: Run) -> Dataset:
    """Import `config.source` as dataset `config.name`; leaves nothing behind on failure."""
    check_name(config.name, "dataset name")
    if (workspace.sets / f"{config.name}.json").exists():
        raise UserError(f"{config.name!r} is the name of a training set; choose another name.")
    with folder_aside(workspace.datasets / config.name) as aside, _files(config) as files:
        rows, unreadable = _import_files(files, aside, run)
        classes = sorted({row["class"] for row in rows})
        if len(classes) < 2:
            raise UserError(
                f"{config.source} holds {len(classes)} class folder(s) with readable images; "
                "at least two are needed: <class>/*.png, or Training|Testing/<class>/*.png."
            )
        gray_share = sum(row.pop("gray") for row in rows) / len(rows)
        pd.DataFrame(rows).to_csv(aside / "catalogue.csv", index=False)
        manifest = {
            "classes": classes,
            "channels": 1 if gray_share >= GRAY_SHARE else 3,
            "fingerprint": fingerprint(rows),
            "source": config.model_dump(mode="json"),
            "unreadable": unreadable,
            "created": time.time(),
        }
        write_json(aside / "manifest.json", manifest)
    return open_dataset(workspace, config.name)


def import_job(workspace: Workspace, run: RunDirectory) -> Mapping[str, Any]:
    config = ImportConfig.build(**run.config)
    dataset = import_dataset(workspace, config, run)
    if Path(config.source).is_relative_to(workspace.uploads):
        Path(config.source).unlink()  # an upload is ours, and the originals are kept
    return {"dataset": dataset.name}


def _import_files(
    files: list[SourceFile], folder: Path, run: Run
) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Copy and inspect every file; what cannot be read is listed with its reason."""
    rows: list[dict[str, Any]] = []
    unreadable: list[dict[str, str]] = []

    def take(file: SourceFile) -> dict[str, Any] | str:
        data = file.read()
        try:
            with open_image(data) as image:
                facts = {"width": image.width, "height": image.height, "gray": is_gray(image)}
        except ValueError as error:
            return f"{error}"
        target = folder / "originals" / file.image
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        named = {"image": file.image, "class": file.label, "split": file.split, "sha256": digest}
        return {**named, **facts, "pose": file.pose}

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(files), 64):
            batch = files[start : start + 64]
            if run.should_stop():
                raise Cancelled
            for file, taken in zip(batch, pool.map(take, batch), strict=True):
                if isinstance(taken, str):
                    unreadable.append({"image": file.image, "reason": taken})
                else:
                    rows.append(taken)
            run.progress((start + len(batch)) / len(files), f"reading {len(files)} images")
    return rows, unreadable


@contextmanager
def _files(config: ImportConfig) -> Iterator[list[SourceFile]]:
    """The source's images, sorted by id; an opened zip stays open meanwhile."""
    if config.source in BUILT_IN:
        from rebalance_core.datasets import builtin

        yield (
            builtin.phantom_files(config)
            if config.source == "phantom"
            else (builtin.digits_files())
        )
        return
    path = Path(config.source).expanduser()
    if not path.exists():
        raise UserError(
            f"{path} does not exist; name a zip, a folder, or one of {', '.join(BUILT_IN)}."
        )
    if path.is_dir():
        yield _label({p: _reader(path / p) for p in _walk(path)}, path)
        return
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise UserError(
            f"{path} is no readable zip ({error}); pack or download it again."
        ) from error
    with archive:
        yield _label(_check_zip(archive, path), path)


def _walk(folder: Path) -> list[str]:
    """Paths of all files below `folder`, links not followed."""
    found = []
    for root, _, names in os.walk(folder):
        for name in names:
            path = Path(root) / name
            if not path.is_symlink():
                found.append(path.relative_to(folder).as_posix())
    return found


def _reader(path: Path) -> Callable[[], bytes]:
    return path.read_bytes


def _check_zip(archive: zipfile.ZipFile, path: Path) -> dict[str, Callable[[], bytes]]:
    """{member name: reader} of a zip that is safe to unpack; raises UserError otherwise."""
    members = [m for m in archive.infolist() if not m.is_dir()]
    total = sum(m.file_size for m in members)
    if len(members) > MAX_FILES or total > MAX_UNPACKED:
        raise UserError(
            f"{path} holds {len(members)} files of {total / 2**30:.1f} GiB together, more than "
            f"the limits of {MAX_FILES} files and {MAX_UNPACKED // 2**30} GiB; split it."
        )
    for member in members:
        name = PurePosixPath(member.filename.replace("\\", "/"))
        if name.is_absolute() or ".." in name.parts or ":" in member.filename.partition("/")[0]:
            raise UserError(
                f"{path} is refused: its entry {member.filename!r} points outside the archive."
            )
        if stat.S_ISLNK(member.external_attr >> 16):
            raise UserError(f"{path} is refused: its entry {member.filename!r} is a link.")
        if member.flag_bits & 1:
            raise UserError(f"{path} is password-protected; unpack it and import the folder.")
        if member.file_size > max(2**20, MAX_RATIO * member.compress_size):
            raise UserError(
                f"{path} is refused: its entry {member.filename!r} unpacks to "
                f"{member.file_size} bytes from {member.compress_size}."
            )

    def reader(member: zipfile.ZipInfo) -> Callable[[], bytes]:
        def read() -> bytes:
            try:
                return archive.read(member)
            except NotImplementedError as error:
                raise UserError(
                    f"{path} is packed in a way that cannot be read ({error}); unpack it and "
                    "import the folder."
                ) from error
            except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, OSError, EOFError) as error:
                raise UserError(
                    f"{path} is damaged at {member.filename!r} ({error}); pack it again."
                ) from error

        return read

    return {str(PurePosixPath(m.filename.replace("\\", "/"))): reader(m) for m in members}


def _label(readers: dict[str, Callable[[], bytes]], source: Path) -> list[SourceFile]:
    """Read class and split off the paths: [wrapper/][Training|Testing/]<class>/…/file."""
    images = {
        name: PurePosixPath(name).parts
        for name in sorted(readers)
        if PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES
        and not any(p.startswith(".") or p == "__MACOSX" for p in PurePosixPath(name).parts)
    }
    if not images:
        raise UserError(f"{source} holds no images; put them into one folder a class.")
    first = {parts[0] for parts in images.values()}
    wrapped = len(first) == 1 and min(map(len, images.values())) > 2
    if wrapped and next(iter(first)).lower() in SPLIT_FOLDERS:
        wrapped = False
    inside = {name: parts[1:] if wrapped else parts for name, parts in images.items()}
    in_split = [len(p) > 1 and p[0].lower() in SPLIT_FOLDERS for p in inside.values()]
    deep = [len(p) > 2 for p in inside.values()]
    # `valid` beside `invalid` is a class; `train/x.png` beside `train/cat/y.png` has none.
    official = all(in_split) or any(s and d for s, d in zip(in_split, deep, strict=True))
    files = []
    for name, inner in inside.items():
        split = SPLIT_FOLDERS.get(inner[0].lower(), "") if official else ""
        below = inner[1:] if split else inner
        if len(below) < 2:
            raise UserError(
                f"{source}: image {name!r} lies in no class folder; the layout is "
                "<class>/*.png, or Training|Testing/<class>/*.png."
            )
        files.append(SourceFile("/".join(inner), below[0], split or "train", readers[name]))
    return files
