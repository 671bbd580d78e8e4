"""Sources as people bring them: what is taken, what is left out and why, and what is refused.

Each case is made by code, and gives the same answer as a folder and as a zip, to a dry run and to
an import.
"""

import csv
import io
import json
import os
import subprocess
import sys
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from commands import ROOT, command, printed
from PIL import Image
from sources import BARE, Files, contents, folders, import_source, pack, png, refusal, unpack

from rebalance_core.datasets.dataset import export_dataset, open_dataset
from rebalance_core.datasets.importing import import_job, save_upload
from rebalance_core.datasets.left_out import MAX_LISTED, count_by_class, fold, leave_out
from rebalance_core.datasets.manifest import read_manifest
from rebalance_core.datasets.preview import Preview, preview_source, preview_upload
from rebalance_core.datasets.source import ImportConfig, split_of
from rebalance_core.errors import UserError
from rebalance_core.runs.directory import RunDirectory, create_run
from rebalance_core.system.files import read_json
from rebalance_core.system.tables import csv_text
from rebalance_core.workspace import HOME_VARIABLE, Workspace

Counts = dict[str, dict[str, int]]
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:%064x\nsize 4153\n"
WEB_PAGE = b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head></html>"
MASK = "a mask of another image"
REPEATED = "a repetition of another file"
BESIDE = "an image in a folder beside the split folders"
OUTSIDE = "a link to outside of the folder"
LINKED = "a file that a link leads to"
HIDDEN, SYSTEM = "a hidden file", "a system file"
TEXT = "a file that is not an image (.txt)"
ARCHIVE = "an archive inside the source"
TABLE = "a CSV that is not used"
UNLISTED = "an image that the CSV does not list"


def encoded(form: str, value: int, **options: object) -> bytes:
    buffer = io.BytesIO()
    pixels = np.add.outer(np.arange(16), np.arange(16) * 3) % 64 + value
    Image.fromarray(pixels.astype(np.uint8)).save(buffer, form, **options)
    return buffer.getvalue()


def zip_of(files: Files) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def table(heading: str, lines: list[str]) -> bytes:
    return "\n".join([heading, *lines, ""]).encode()


def images(names: list[str]) -> Files:
    return {name: png(10 + number) for number, name in enumerate(names)}


def inside(folder: str, files: Files) -> Files:
    return {f"{folder}/{name}": data for name, data in files.items()}


@dataclass(frozen=True)
class Case:
    """The files of a source, and what becomes of them."""

    files: Files
    counts: Counts
    left_out: Counts = field(default_factory=dict)  # {class: {reason: count}}
    notes: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()


PETS = folders(BARE)
SPLITS = folders({"train/cat": 3, "train/dog": 2, "test/cat": 1, "val/dog": 1})
SPLIT_COUNTS = {
    "train": {"cat": 3, "dog": 2},
    "validation": {"cat": 0, "dog": 1},
    "test": {"cat": 1, "dog": 0},
}
TRAIN = {"train": BARE}
SHEET = [f"ISIC_{k:03d},{'nv' if k < 4 else 'df'},p{k // 2}" for k in range(7)]
LESIONS = {"train": {"df": 3, "nv": 4}}
LEVELS = [f"{k}_left,{0 if k < 3 else 4}" for k in range(5)]
NUMBERS = "The class names are numbers (0 and 4); check that they are not measurements."

CASES = {
    # formats, by content
    "jfif and jpe": Case(
        PETS | {f"dog/{k}.{s}": encoded("JPEG", k) for k, s in ((7, "jfif"), (8, "jpe"))},
        {"train": {"cat": 3, "dog": 4}},
    ),
    "netpbm": Case(
        PETS
        | {"dog/7.pgm": encoded("PPM", 7), "dog/8.pnm": encoded("PPM", 8)}
        | {"dog/9.ppm": b"P6 4 4 255\n" + bytes(range(48))},
        {"train": {"cat": 3, "dog": 5}},
    ),
    "JPEG 2000 and AVIF": Case(
        PETS | {"dog/7.jp2": encoded("JPEG2000", 7), "dog/8.avif": encoded("AVIF", 8)},
        {"train": {"cat": 3, "dog": 4}},
    ),
    "no suffix at all": Case(
        {name.replace(".png", "").replace("/", "/IM"): data for name, data in PETS.items()}, TRAIN
    ),
    "a wrong suffix": Case(
        {name.replace(".png", ".bin"): data for name, data in PETS.items()}, TRAIN
    ),
    # files that are no images
    "notes, tables and annotations": Case(
        PETS | {"cat/notes.txt": b"P5 patients", "README.md": b"BM is", "dog/0.xml": b"<a/>"},
        TRAIN,
        {
            "": {"a file that is not an image (.md)": 1},
            "cat": {TEXT: 1},
            "dog": {"a file that is not an image (.xml)": 1},
        },
    ),
    "unsupported formats": Case(
        PETS
        | {"cat/7.heic": b"\0\0\0\x18ftypheic" + bytes(9), "cat/8.npy": b"\x93NUMPY"}
        | {"dog/9.nef": encoded("TIFF", 9)},
        TRAIN,
        {
            "cat": {
                "a file in an unsupported format (.heic)": 1,
                "a file in an unsupported format (.npy)": 1,
            },
            "dog": {"a file in an unsupported format (.nef)": 1},
        },
    ),
    "archives inside": Case(
        PETS
        | {"cat/more.zip": zip_of(PETS), "old.7z": b"7z\xbc\xaf'\x1c", "dog/x": zip_of(PETS)}
        | {"dog/a.tar.gz": b"\x1f\x8b\x08"},
        TRAIN,
        {"": {ARCHIVE: 1}, "cat": {ARCHIVE: 1}, "dog": {ARCHIVE: 2}},
    ),
    "hidden and system files": Case(
        PETS
        | {"cat/._0.png": b"fork", "cat/.thumbs/0.png": png(1), "cat/.thumbs/1.png": png(2)}
        | {"dog/Thumbs.db": b"db", "__MACOSX/cat/._0.png": b"fork", ".DS_Store": b""}
        | {".git/HEAD": b"ref"},
        TRAIN,
        {"": {SYSTEM: 2, HIDDEN: 1}, "cat": {HIDDEN: 3}, "dog": {SYSTEM: 1}},
    ),
    "a few LFS pointers": Case(
        PETS | {"cat/8.png": LFS % 8, "dog/9.jpg": WEB_PAGE},
        TRAIN,
        unreadable=("a Git LFS pointer", "a web page saved as an image"),
    ),
    "a folder of documents": Case(
        PETS | {"docs/about.md": b"x", "docs/license.txt": b"x", "docs/.DS_Store": b""},
        TRAIN,
        {"": {"a file that is not an image (.md)": 1, TEXT: 1, SYSTEM: 1}},
    ),
    # masks
    "masks beside": Case(
        PETS
        | {"cat/0_mask.png": png(1), "cat/0_mask_1.png": png(2), "cat/1-mask.png": png(3)}
        | {"cat/2_seg.bmp": encoded("BMP", 1), "dog/0_Segmentation.png": png(4)}
        | {"dog/1_annotation.png": png(5)},
        TRAIN,
        {"cat": {MASK: 4}, "dog": {MASK: 2}},
    ),
    "masks with spaces and numbers": Case(
        {
            f"{c}/{c} ({k}){m}.png": png(20 + k)
            for c in ("benign", "malignant")
            for k in (1, 2)
            for m in ("", "_mask", "_mask_1")
        },
        {"train": {"benign": 2, "malignant": 2}},
        {"benign": {MASK: 4}, "malignant": {MASK: 4}},
    ),
    "a folder of masks in a class": Case(
        PETS | {f"cat/masks/{k}.png": png(k) for k in range(3)}, TRAIN, {"cat": {MASK: 3}}
    ),
    "images and masks in each class": Case(
        {
            f"{c}/{f}/{k}.png": png(20 + k)
            for c in ("a", "b")
            for f in ("images", "masks")
            for k in range(3)
        },
        {"train": {"a": 3, "b": 3}},
        {"a": {MASK: 3}, "b": {MASK: 3}},
    ),
    "images and masks around the classes": Case(
        inside("images", PETS) | inside("masks", PETS), TRAIN, {"": {MASK: 5}}
    ),
    "people with and without masks": Case(
        folders({"mask": 3, "no_mask": 3}), {"train": {"mask": 3, "no_mask": 3}}
    ),
    "names of masks without an image": Case(
        images([f"{c}/{w}_mask_{k}.png" for c in "ab" for w in ("with", "worn") for k in (1, 2)]),
        {"train": {"a": 4, "b": 4}},
    ),
    # layouts
    "splits that repeat themselves": Case(
        inside("chest", SPLITS)
        | inside("chest/chest", SPLITS)
        | {"chest/__MACOSX/chest/train/cat/._0.png": b"fork"},
        SPLIT_COUNTS,
        {"": {REPEATED: 7, SYSTEM: 1}},
    ),
    "splits that repeat themselves twice": Case(
        SPLITS | inside("x", SPLITS) | inside("x/x", SPLITS), SPLIT_COUNTS, {"": {REPEATED: 14}}
    ),
    "classes beside a folder of both": Case(
        PETS | inside("pets", PETS), TRAIN, {"": {REPEATED: 5}}
    ),
    "classes beside a folder of some": Case(
        PETS | inside("pets", folders({"cat": 3})), TRAIN, {"": {REPEATED: 3}}
    ),
    "a split that holds its classes again": Case(
        SPLITS
        | inside("train/data", folders({"cat": 0}))
        | {f"train/data/{n.removeprefix('train/')}": d for n, d in SPLITS.items() if "train" in n},
        SPLIT_COUNTS,
        {"": {REPEATED: 5}},
    ),
    "a split folder around the classes": Case(
        {n.replace("train/", "train/train/"): d for n, d in SPLITS.items()}, SPLIT_COUNTS
    ),
    "an unlabelled folder beside splits": Case(
        SPLITS | folders({"test1": 4}), SPLIT_COUNTS, {"": {BESIDE: 4}}
    ),
    "another folder of classes beside splits": Case(
        SPLITS | folders({"extra/cat": 2, "extra/dog": 1}), SPLIT_COUNTS, {"": {BESIDE: 3}}
    ),
    "splits inside the classes": Case(
        folders({"cat/train": 3, "cat/test": 1, "dog/train": 2, "dog/val": 1}), SPLIT_COUNTS
    ),
    "named split folders": Case(
        {
            n.replace("train/", "Training_Set/").replace("test/", "test-images/"): d
            for n, d in SPLITS.items()
        },
        SPLIT_COUNTS,
    ),
    "several wrappers": Case(inside("archive/data (2)", SPLITS), SPLIT_COUNTS),
    "the same folders in each class": Case(
        folders({"original/cat": 2, "original/dog": 2, "augmented/cat": 2, "augmented/dog": 2}),
        {"train": {"augmented": 4, "original": 4}},
        notes=(
            "The classes augmented and original all contain the folders cat and dog; if these are "
            "the classes, import one of the outer folders.",
        ),
    ),
    # CSVs among the files
    "numbered parts with a CSV": Case(
        images([f"HAM_images_part_{1 + k % 2}/ISIC_{k:03d}.png" for k in range(7)])
        | {"HAM_metadata.csv": table("image_id,dx,lesion_id", SHEET)},
        LESIONS,
    ),
    "numbered folders with a CSV": Case(
        images([f"images_{k % 3:03d}/images/ISIC_{k:03d}.png" for k in range(7)])
        | {
            "entry.csv": table(
                "Image Index,Finding Labels,Patient ID",
                [line.replace(",", ".png,", 1) for line in SHEET],
            )
        },
        LESIONS,
    ),
    "numbered folders that may be classes": Case(
        images([f"fold{k % 2}/ISIC_{k:03d}.png" for k in range(7)])
        | {"labels.csv": table("name,diagnosis,patient", SHEET)},
        LESIONS,
    ),
    "one flat folder with a CSV": Case(
        images([f"train/{k}_left.png" for k in range(5)])
        | {"trainLabels.csv": table("image,level", LEVELS)},
        {"train": {"0": 3, "4": 2}},
        notes=(NUMBERS,),
    ),
    "flat images and a CSV in a wrapper": Case(
        inside(
            "eyes",
            images([f"{k}_left.png" for k in range(6)])
            | {"labels.csv": table("id_code,diagnosis", LEVELS)},
        ),
        {"train": {"0": 3, "4": 2}},
        {"": {UNLISTED: 1}},
        (NUMBERS,),
    ),
    "flat splits with a CSV": Case(
        images([f"train_images/{k}_left.png" for k in range(5)] + ["test_images/9_left.png"])
        | {
            "train.csv": table("id_code,diagnosis", LEVELS),
            "test.csv": table("id_code", ["9_left"]),
        },
        {"train": {"0": 3, "4": 2}},
        {"": {UNLISTED: 1, TABLE: 1}},
        (NUMBERS,),
    ),
    "class folders beside a CSV": Case(
        PETS
        | {
            "labels.csv": table("image,label", ["cat/2.png,x", "cat/1.png,y"]),
            "about.csv": table("a,b", ["x,y"]),
        },
        TRAIN,
        {"": {TABLE: 2}},
        ("labels.csv names 2 of the 5 images; the class folders were used instead.",),
    ),
    "labels of several classes": Case(
        images([f"{k}.png" for k in range(6)])
        | {
            "l.csv": table(
                "file,label", [f"{k}.png,{'A|B' if k % 3 == 0 else 'AB'[k % 2]}" for k in range(6)]
            )
        },
        {"train": {"A": 2, "A|B": 2, "B": 2}},
        notes=(
            "1 class name looks like several labels ('A|B'); each combination is a class of its "
            "own.",
        ),
    ),
}


def dry_run(source: Path, **options: object) -> Preview:
    return preview_source(ImportConfig.build(name="new", source=str(source), **options), 2)


@pytest.mark.parametrize("kind", CASES)
@pytest.mark.parametrize("as_zip", [False, True])
def test_what_is_taken_and_left_out(
    workspace: Workspace, tmp_path: Path, kind: str, as_zip: bool
) -> None:
    case = CASES[kind]
    source = (pack if as_zip else unpack)(tmp_path / ("a.zip" if as_zip else "a"), case.files)
    preview = dry_run(source)
    assert not workspace.root.exists()
    dataset = import_source(workspace, source)
    manifest = dataset.manifest
    assert dataset.counts() == case.counts
    assert count_by_class(manifest.left_out) == case.left_out
    assert manifest.notes == list(case.notes)
    assert [file.reason for file in manifest.unreadable] == list(case.unreadable)
    assert (preview.counts, preview.left_out) == (case.counts, manifest.left_out)
    assert (preview.notes, preview.unreadable) == (manifest.notes, manifest.unreadable)
    assert sorted(preview.pictures) == dataset.classes
    tables = sum(name.endswith(".csv") for name in case.files) - sum(
        reasons.get(TABLE, 0) for reasons in case.left_out.values()
    )
    left_out = sum(file.count for file in manifest.left_out)
    assert len(case.files) == len(dataset.catalogue) + len(manifest.unreadable) + left_out + tables


@pytest.mark.parametrize(
    "kind",
    [
        "splits that repeat themselves",
        "numbered parts with a CSV",
        "masks beside",
        "class folders beside a CSV",
    ],
)
def test_an_upload_is_previewed_in_memory(workspace: Workspace, tmp_path: Path, kind: str) -> None:
    case = CASES[kind]
    config = ImportConfig(name="new", source="")
    loose = [(f"up/{name}", io.BytesIO(data)) for name, data in case.files.items()]
    packed = [("up.zip", io.BytesIO(zip_of(case.files)))]
    for files in (loose, packed):
        preview = preview_upload(files, config, 1)
        assert preview.counts == case.counts
        assert count_by_class(preview.left_out) == case.left_out
        assert not workspace.root.exists()
        assert (
            import_source(workspace, save_upload(workspace, files), "new").counts() == case.counts
        )
        open_dataset(workspace, "new")
        subprocess.run(["rm", "-r", workspace.root], check=True)


# Refusals: one sentence that says what is there, and exit code 2

NO_FOLDERS = "put them into one folder per class."
REFUSED: dict[str, tuple[Files, str]] = {
    "LFS pointers": (
        {f"{c}/{k}.png": LFS % k for c in "ab" for k in range(4)},
        "{path}: class 'a' has no readable image (4 of 4: a Git LFS pointer, first a/0.png); fetch "
        "the images with `git lfs pull`.",
    ),
    "git-annex pointers": (
        {f"{c}/{k}.jpg": b"/annex/objects/SHA256E-s4--%d.jpg\n" % k for c in "ab" for k in (1, 2)},
        "{path}: class 'a' has no readable image (2 of 2: a git-annex pointer, first a/1.jpg); "
        "fetch the images with `git annex get .`.",
    ),
    "web pages": (
        PETS | {f"fox/{k}.jpg": WEB_PAGE for k in range(3)} | {"fox/x.jpg": b""},
        "{path}: class 'fox' has no readable image (3 of 4: a web page saved as an image, first "
        "fox/0.jpg); download the images again; the server may require a login.",
    ),
    "an unsupported class": (
        PETS | {f"fox/{k}.npy": b"\x93NUMPY" for k in range(4)},
        "{path}: class folder 'fox' contains no images (4 files in an unsupported format (.npy), "
        "first fox/0.npy); fill it or remove it.",
    ),
    "mostly unsupported": (
        PETS | {"fox/0.png": png(1)} | {f"fox/{k}.heic": b"x" for k in range(1, 4)},
        "{path}: class 'fox' has a single readable image (3 of 4: a file in an unsupported format "
        "(.heic), first fox/1.heic); add images, at least two, or remove it.",
    ),
    "a zip in a zip": (
        {"pets.zip": zip_of(PETS), "readme.txt": b"x"},
        "{path} contains no images (1 archive inside the source, first pets.zip, and 1 other "
        "file); unpack it first.",
    ),
    "volumes": (
        {f"{c}/{k}.mha": b"ObjectType = Image" for c in "ab" for k in range(2)},
        "{path} contains no images (4 files in an unsupported format (.mha), first a/0.mha); "
        + NO_FOLDERS,
    ),
    "a repetition with other images": (
        PETS | inside("pets", folders({"cat": 4, "dog": 2})),
        "{path}: folder 'pets' contains folders of the same names as those beside it (cat and "
        "dog), but other images (such as 'pets/cat/3.png'); import that folder alone, or move it "
        "elsewhere.",
    ),
    "splits inside again, with other images": (
        SPLITS | inside("more", {n: d + b"x" for n, d in SPLITS.items()}),
        "{path}: folder 'more' contains folders of the same names as those beside it (test and "
        "train and val), but other images (such as 'more/test/cat/0.png'); import that folder "
        "alone, or move it elsewhere.",
    ),
    "parts without a CSV": (
        folders({"images_001": 3, "images_002": 3}),
        "{path}: folder 'images_001' looks like a numbered part rather than a class; add the CSV "
        "that labels its images, or use one folder per class.",
    ),
    "a CSV with other columns": (
        images(["1.png", "2.png"]) | {"l.csv": table("picture,kind", ["1.png,a", "2.png,b"])},
        "{path}: l.csv has no column 'path', only picture, kind; rename one to 'path', or choose "
        "it with --column path=NAME.",
    ),
    "two CSVs of different labels": (
        images(["1.png", "2.png"])
        | {"a.csv": table("file,label", ["1.png,a", "2.png,b"])}
        | {"b.csv": table("file,label", ["1.png,b", "2.png,b"])},
        "{path}: a.csv and b.csv give the same images different labels; import the path of one of "
        "them, or remove the other.",
    ),
    "two CSVs of different images": (
        images(["1.png", "2.png"])
        | {"a.csv": table("file,label", ["1.png,a"]), "b.csv": table("file,label", ["2.png,b"])},
        "{path}: a.csv and b.csv label different images; join them in one CSV, or import the path "
        "of one of them.",
    ),
    "several folders of splits": (
        inside("v1", SPLITS) | inside("v2", SPLITS),
        "{path}: folders v1 and v2 all contain split folders; import one of them.",
    ),
    "an emptied class": (
        PETS | {"fox/.DS_Store": b""},
        "{path}: class folder 'fox' contains no images (1 system file, first fox/.DS_Store); fill "
        "it or remove it.",
    ),
    "an unlabelled split": (
        folders({"train/cat": 2, "train/dog": 2, "test": 2}),
        "{path}: image 'test/0.png' is not in a class folder; the layout is <class>/*.png, or "
        "Training|Testing/<class>/*.png.",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.parametrize("as_zip", [False, True])
def test_what_is_refused(workspace: Workspace, tmp_path: Path, kind: str, as_zip: bool) -> None:
    files, sentence = REFUSED[kind]
    source = (pack if as_zip else unpack)(tmp_path / ("a.zip" if as_zip else "a"), files)
    expected = sentence.format(path=source)
    done = command(workspace.root, "datasets", "add", "new", source, "--dry-run", "--json")
    assert refusal(done) == expected
    with pytest.raises(UserError) as excinfo:
        import_source(workspace, source)
    assert str(excinfo.value) == expected


# Links


def link(path: Path, target: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(os.path.relpath(target, path.parent))


def left_out(source: Path) -> Counts:
    return count_by_class(dry_run(source).left_out)


def test_links_into_a_store_beside_the_classes_are_followed(tmp_path: Path) -> None:
    source = unpack(tmp_path / "a", images([f"store/{k}.png" for k in range(5)]))
    for k in range(5):
        link(source / ("cat" if k < 3 else "dog") / f"{k}.png", source / "store" / f"{k}.png")
    assert dry_run(source).counts == TRAIN
    assert left_out(source) == {"": {LINKED: 5}}


def test_links_to_folders_of_a_hidden_store_are_followed(tmp_path: Path) -> None:
    source = unpack(tmp_path / "a", inside(".dvc/cache", PETS))
    for label in BARE:
        link(source / label, source / ".dvc" / "cache" / label)
    assert dry_run(source).counts == TRAIN
    assert left_out(source) == {"": {HIDDEN: 5}}


def test_an_absolute_link_within_the_tree_is_followed(tmp_path: Path) -> None:
    source = unpack(tmp_path / "a", PETS | inside("pool", folders({"fox": 2})))
    (source / "fox").symlink_to(source / "pool" / "fox")
    preview = dry_run(source)
    assert preview.counts == {"train": BARE | {"fox": 2}}
    assert count_by_class(preview.left_out) == {"": {LINKED: 2}}


def test_circular_links_are_left_out(tmp_path: Path) -> None:
    source = unpack(tmp_path / "a", PETS)
    link(source / "cat" / "up", source)
    link(source / "dog" / "self", source / "dog")
    (source / "cat" / "me.png").symlink_to("me.png")
    assert dry_run(source).counts == TRAIN
    circular = "a link to a folder that is followed already"
    assert left_out(source) == {"cat": {circular: 1, "a broken link": 1}, "dog": {circular: 1}}


def test_links_outside_are_counted_by_class(workspace: Workspace, tmp_path: Path) -> None:
    source = unpack(tmp_path / "a", PETS)
    secret = unpack(tmp_path / "pool", images(["8.png", "9.png"]))
    (source / "dog" / "8.png").symlink_to(secret / "8.png")
    (source / "dog" / "9.png").symlink_to(secret / "9.png")
    (source / "fox").symlink_to(secret)
    assert import_source(workspace, source).counts() == TRAIN
    assert left_out(source) == {"": {OUTSIDE: 1}, "dog": {OUTSIDE: 2}}


@pytest.mark.parametrize("exists", [True, False])
def test_a_tree_of_links_outside_says_so(tmp_path: Path, exists: bool) -> None:
    pool = unpack(tmp_path / "pool", PETS if exists else {})
    for name in PETS:
        (tmp_path / "a" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "a" / name).symlink_to(pool / name)
    with pytest.raises(UserError) as excinfo:
        dry_run(tmp_path / "a")
    assert str(excinfo.value) == (
        f"{tmp_path / 'a'} contains no images (5 links to outside of the folder, first cat/0.png); "
        "copy the files themselves (`cp -rL`), or choose the folder that contains both."
    )


def test_annex_links_without_content_say_so(tmp_path: Path) -> None:
    for name in PETS:
        (tmp_path / "a" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "a" / name).symlink_to("../.git/annex/objects/x/SHA256E-s1.png")
    with pytest.raises(UserError, match=r"\(5 git-annex links without their? content|5 git-annex"):
        dry_run(tmp_path / "a")


# A CSV as the source


def lines_of(labels: str, form: str) -> list[str]:
    return [f"{form.format(k)},{label}" for k, label in enumerate(labels)]


@pytest.mark.parametrize(
    "form",
    [
        "C:\\data\\{}.png",
        "D:\\Users\\me\\pets\\all\\{}.png",
        "/old/place/all/{}.png",
        "../elsewhere/{}.png",
        "all\\{}.png",
        "{}",
        "all/{}",
        "pets/all/{}.png",
        "\\\\server\\share\\{}.png",
    ],
)
def test_moved_and_shortened_paths_of_a_csv_are_found(tmp_path: Path, form: str) -> None:
    folder = unpack(tmp_path / "pets", images([f"all/{k}.png" for k in range(5)]))
    (folder / "l.csv").write_bytes(table("path,label", lines_of("xxxyy", form)))
    preview = dry_run(folder / "l.csv")
    assert (preview.counts, preview.unreadable) == ({"train": {"x": 3, "y": 2}}, [])


def test_a_missing_file_of_a_csv_is_not_taken_from_another_folder(tmp_path: Path) -> None:
    """`/old/dog/9.png` is missing, although there is a `cat/9.png` that no line lists."""
    folder = unpack(tmp_path, PETS | {"cat/9.png": png(9)})
    lines = [f"/old/{name},{name[:3]}" for name in PETS]
    for extra in ("/old/dog/9.png,dog", "dog/9.png,dog"):
        names = lines if extra.startswith("/old") else [line[5:] for line in lines]
        (folder / "l.csv").write_bytes(table("path,label", [*names, extra]))
        preview = dry_run(folder / "l.csv")
        assert preview.counts == TRAIN
        missing = extra.removeprefix("/").removesuffix(",dog")
        assert [file.image for file in preview.unreadable] == [missing]


def test_a_line_of_a_csv_that_could_be_two_files_is_refused(tmp_path: Path) -> None:
    folder = unpack(tmp_path, PETS)
    (folder / "l.csv").write_bytes(table("path,label", ["0.png,cat"]))
    with pytest.raises(UserError) as excinfo:
        dry_run(folder / "l.csv")
    assert str(excinfo.value) == (
        f"{folder}/l.csv, line 2: '0.png' could be 'cat/0.png' or 'dog/0.png'; write its folder "
        "too."
    )


@pytest.mark.parametrize(
    ("heading", "columns"),
    [
        ("image_id,dx", {}),
        ("Image Index,Finding Labels", {}),
        ("id-code,Diagnosis", {}),
        ("picture,kind", {"path": "picture", "label": "kind"}),
        ("label,path", {"path": "label", "label": "path"}),
        ("File Name,Kind Of", {"label": "kind of"}),
    ],
)
def test_columns_are_recognised_or_chosen(
    workspace: Workspace, tmp_path: Path, heading: str, columns: dict[str, str]
) -> None:
    folder = unpack(tmp_path / "pets", images([f"{k}.png" for k in range(5)]))
    (folder / "l.csv").write_bytes(table(heading, lines_of("xxxyy", "{}.png")))
    for source in (folder, folder / "l.csv"):
        assert dry_run(source, columns=columns).counts == {"train": {"x": 3, "y": 2}}
    dataset = import_source(workspace, folder / "l.csv", columns=columns)  # type: ignore[arg-type]
    text = ", ".join(f"{column}={name}" for column, name in columns.items())
    assert dataset.manifest.source["columns"] == text


def test_a_chosen_column_that_is_missing_is_refused(workspace: Workspace, tmp_path: Path) -> None:
    folder = unpack(tmp_path / "pets", images(["1.png", "2.png"]))
    (folder / "l.csv").write_bytes(table("path,kind", ["1.png,x", "2.png,y"]))
    add = ["datasets", "add", "new", folder / "l.csv", "--dry-run", "--column"]
    assert refusal(command(workspace.root, *add, "label=dx")) == (
        f"{folder}/l.csv has no column 'dx', only path, kind; choose one of these for label."
    )
    assert refusal(command(workspace.root, *add, "labels=kind")) == (
        "--column takes path, label, split or group=HEADING, not 'labels=kind'."
    )


def test_a_group_of_lesions_and_the_split_folder_are_kept(
    workspace: Workspace, tmp_path: Path
) -> None:
    names = [f"{'test' if k == 6 else 'train'}/ISIC_{k:03d}.png" for k in range(7)]
    source = unpack(tmp_path, images(names) | {"m.csv": table("image_id,dx,lesion_id", SHEET)})
    dataset = import_source(workspace, source)
    assert dataset.counts() == {"train": {"df": 2, "nv": 4}, "test": {"df": 1, "nv": 0}}
    assert list(dataset.catalogue["image"]) == sorted(names)
    assert set(dataset.catalogue["group"]) == {"p0", "p1", "p2", "p3"}


# Records and output


def test_a_dataset_of_before_has_nothing_left_out(workspace: Workspace, tmp_path: Path) -> None:
    dataset = import_source(workspace, unpack(tmp_path / "a", PETS))
    path = dataset.path / "manifest.json"
    value = read_json(path)
    for key in ("left_out", "notes"):
        del value[key]
    path.write_text(json.dumps(value))
    manifest = read_manifest(dataset.path)
    assert (manifest.left_out, manifest.notes) == ([], [])


def test_the_command_line_shows_what_was_left_out(workspace: Workspace, tmp_path: Path) -> None:
    source = unpack(tmp_path / "a", PETS | {"dog/a.txt": b"x", "dog/b.txt": b"x"})
    before = contents(workspace.root)
    tried = command(workspace.root, "datasets", "add", "new", source, "--dry-run", "--json")
    assert (tried.returncode, contents(workspace.root)) == (0, before)
    added = command(workspace.root, "datasets", "add", "new", source, "--json")
    shown = command(workspace.root, "datasets", "show", "new", "--json")
    for done in (tried, added, shown):
        value = json.loads(done.stdout)
        assert value["counts"] == TRAIN
        assert value["left_out"] == [
            {"file": f"dog/{name}.txt", "class": "dog", "reason": TEXT, "count": 1} for name in "ab"
        ]
        assert value["left_out_counts"] == {"dog": {TEXT: 2}}
        assert value["notes"] == []


def test_many_files_of_one_reason_are_counted_in_one_entry() -> None:
    files = [leave_out(f"cat/{k:04d}.txt", TEXT, "cat") for k in range(MAX_LISTED + 20)]
    folded = fold([*files, leave_out("a.txt", TEXT)])
    assert len(folded) == MAX_LISTED + 2
    assert count_by_class(folded) == {"": {TEXT: 1}, "cat": {TEXT: MAX_LISTED + 20}}


def test_a_dry_run_downloads_nothing(workspace: Workspace) -> None:
    done = command(workspace.root, "datasets", "add", "new", "kaggle", "--dry-run")
    assert refusal(done) == (
        "A dry run does not download from Kaggle; download the dataset, and try its path."
    )


@pytest.mark.parametrize(
    ("folder", "split"),
    [
        ("Train", "train"),
        ("train_set", "train"),
        ("Training Data", "train"),
        ("valid-images", "validation"),
        ("testset", "test"),
        ("test1", ""),
        ("trained", ""),
        ("invalid", ""),
        ("cat_images", ""),
    ],
)
def test_split_folders(folder: str, split: str) -> None:
    assert split_of(folder) == split


# Names and encodings


class OldName(zipfile.ZipInfo):
    """An entry whose name is written as code page 437 says, without the flag of UTF-8."""

    def _encodeFilenameFlags(self) -> tuple[bytes, int]:  # noqa: N802
        return self.filename.encode("cp437"), self.flag_bits & ~0x800


def old_zip(path: Path, labels: list[str], encoding: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for number, label in enumerate(labels):
            for k in range(2):
                name = f"{label}/{k}.png".encode(encoding).decode("cp437")
                archive.writestr(OldName(name), png(10 * number + k))
    return path


@pytest.mark.parametrize(
    ("labels", "encoding"),
    [
        (["正常", "胶质瘤"], "gbk"),
        (["正常", "表情"], "shift_jis"),
        (["정상", "종양"], "euc_kr"),
        (["норма", "опухоль"], "cp1251"),
        (["Größe", "café"], "cp1252"),
    ],
)
def test_names_of_a_code_page_are_asked_for(
    workspace: Workspace, tmp_path: Path, labels: list[str], encoding: str
) -> None:
    source = old_zip(tmp_path / "old.zip", labels, encoding)
    done = command(workspace.root, "datasets", "add", "new", source, "--dry-run")
    sentence = refusal(done)
    assert sentence.startswith(f"{source} has names that are in an unknown code page; choose ")
    assert f"{encoding}: {', '.join(labels)}" in sentence
    preview = dry_run(source, encoding=encoding)
    assert preview.counts == {"train": dict.fromkeys(sorted(labels), 2)}
    dataset = import_source(workspace, source, encoding=encoding)  # type: ignore[arg-type]
    assert dataset.classes == sorted(labels)


def test_names_without_the_flag_that_are_utf_8_are_read(tmp_path: Path) -> None:
    source = old_zip(tmp_path / "old.zip", ["脳", "Größe"], "utf-8")
    assert dry_run(source).classes == ["Größe", "脳"]


def test_a_wrong_or_unknown_encoding_is_refused(workspace: Workspace, tmp_path: Path) -> None:
    source = old_zip(tmp_path / "old.zip", ["正常", "胶质瘤"], "gbk")
    add = ["datasets", "add", "new", source, "--dry-run", "--encoding"]
    wrong = refusal(command(workspace.root, *add, "ascii"))
    assert wrong.startswith(f"{source} has names that are not in ascii; choose theirs with")
    assert "no such text encoding" in refusal(command(workspace.root, *add, "klingon"))


def test_a_csv_may_be_in_another_encoding(tmp_path: Path) -> None:
    folder = unpack(tmp_path, images(["ä1.png", "ä2.png", "ö1.png", "ö2.png"]))
    lines = [f"{name},{name[0]}" for name in ("ä1.png", "ä2.png", "ö1.png", "ö2.png")]
    for encoding in ("cp1252", "utf-16"):
        (folder / "l.csv").write_bytes("\n".join(["path,label", *lines]).encode(encoding))
        assert dry_run(folder / "l.csv", encoding=encoding).classes == ["ä", "ö"]


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_a_console_of_any_encoding_shows_every_class(
    workspace: Workspace, tmp_path: Path, encoding: str
) -> None:
    import_source(workspace, unpack(tmp_path / "a", folders({"胶质瘤": 2, "正常": 2})), "new")
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONPATH": str(ROOT)}
    for flags in ([], ["--json"]):
        done = subprocess.run(
            [sys.executable, "-m", "rebalance_core", "datasets", "show", "new", *flags],
            cwd=ROOT,
            env=environment | {HOME_VARIABLE: str(workspace.root)},
            capture_output=True,
            timeout=60,
        )
        assert (done.returncode, done.stderr) == (0, b"")
        if flags:
            assert json.loads(done.stdout.decode("ascii"))["classes"] == ["正常", "胶质瘤"]


def test_the_home_folder_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv(HOME_VARIABLE, "~/studio")
    assert Workspace.from_environment().root == tmp_path / "studio"
    monkeypatch.setenv(HOME_VARIABLE, "~nobody-of-this-name/studio")
    with pytest.raises(UserError, match=r"has no such home folder; write the whole path\.$"):
        Workspace.from_environment()


ODD = ["a\rb", "c\nd", "e\tf", "\rg", "h\r\ni", 'j"k', "=1+1", "-m", "@n", "+o", "\tp", "q,r"]


def test_control_characters_in_names_go_all_the_way(home: Path, tmp_path: Path) -> None:
    """Import, poses, a training set, and both exports."""
    files = {
        f"{c}/{name}.png": encoded("PNG", 10 * k + 5 * (c == "dog"))
        for c in ("cat", "dog")
        for k, name in enumerate(ODD)
    }
    source = unpack(tmp_path / "a", files)
    printed(home, "datasets", "add", "odd", source)
    dataset = open_dataset(Workspace(home), "odd")
    assert list(dataset.catalogue["image"]) == sorted(files)
    printed(home, "poses", "cluster", "odd", "--k", "2", "--extractor", "hog")
    assert printed(home, "poses", "show", "odd")["dataset"] == "odd"
    export_dataset(dataset, tmp_path / "out")
    written = {p.relative_to(tmp_path / "out").as_posix() for p in tmp_path.glob("out/*/*")}
    assert written == set(files)
    printed(home, "rebalance", "odd", "none", tmp_path / "rebalanced")
    with (tmp_path / "rebalanced" / "manifest.csv").open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert {line["source"] for line in lines} <= set(files)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def test_formulas_in_exported_tables_are_text() -> None:
    cells = ["=1+1", "+a", "-b", "@c", "\td", "\re", "-0.5", "a=b", ""]
    lines = [{"name": cell, "number": -1.5, "none": None} for cell in cells]
    rows = list(csv.reader(io.StringIO(csv_text(lines, ("number",)), newline="")))
    assert rows[0] == ["number", "name", "none"]
    assert [row[1] for row in rows[1:]] == [
        *("'=1+1", "'+a", "'-b", "'@c", "'\td", "'\re", "-0.5", "a=b", "")
    ]
    assert {(row[0], row[2]) for row in rows[1:]} == {("-1.5", "")}


# Uploads


def test_more_than_300_files_are_not_uploaded(workspace: Workspace) -> None:
    files = [(f"pets/{k % 2}/{k}.png", io.BytesIO(b"x")) for k in range(301)]
    with pytest.raises(UserError) as excinfo:
        save_upload(workspace, files)
    assert str(excinfo.value) == (
        "301 files are too many for an upload, whose time grows with the square of their number; "
        "above 300, upload them as one zip, or enter the path of their folder under “From a path”."
    )
    assert not workspace.root.exists()
    save_upload(workspace, files[:300])


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        (
            {"scans.zip": zip_of(folders({"cat": 3}))},
            "scans.zip contains one class, 'cat'; at least two are needed: <class>/*.png, or "
            "Training|Testing/<class>/*.png.",
        ),
        (
            inside("pets", PETS | {"fox/0.jpg": b"", "fox/1.jpg": b""}),
            "The upload: class 'fox' has no readable image (2 of 2: the file is empty, first "
            "fox/0.jpg); add images, at least two, or remove it.",
        ),
        (
            {"t.zip": b"PKno"},
            "t.zip is not a readable zip (File is not a zip file); pack or download it again.",
        ),
    ],
)
def test_the_failure_of_an_upload_names_the_uploaded_file(
    workspace: Workspace, files: Files, sentence: str
) -> None:
    source = save_upload(workspace, [(name, io.BytesIO(data)) for name, data in files.items()])
    config = ImportConfig(name="new", source=source)
    run = RunDirectory(create_run(workspace, "import", config.model_dump(), name="import new"))
    with pytest.raises(UserError) as excinfo:
        import_job(workspace, run)
    assert str(excinfo.value) == sentence
