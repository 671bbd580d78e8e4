"""Zips and folders become datasets with exact counts; hostile ones leave nothing behind."""

import hashlib
import io
import resource
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sources import BARE, Files, folders, import_source, leftovers, pack, png, unpack

from rebalance_core.datasets.dataset import Dataset, list_datasets, open_dataset, remove_dataset
from rebalance_core.datasets.importing import import_dataset, import_job, remove_upload, save_upload
from rebalance_core.datasets.source import ImportConfig
from rebalance_core.errors import UserError
from rebalance_core.imaging.grid import png_bytes
from rebalance_core.runs.directory import RunDirectory, create_run
from rebalance_core.runs.executor import remove_run
from rebalance_core.runs.run import Cancelled, MemoryRun
from rebalance_core.runs.worker import execute
from rebalance_core.training_sets.config import SetConfig
from rebalance_core.training_sets.load import load_part
from rebalance_core.training_sets.resolve import make_set
from rebalance_core.workspace import Workspace

KAGGLE = {"Training/glioma": 3, "Training/notumor": 4, "Testing/glioma": 2, "Testing/notumor": 1}
KAGGLE_COUNTS = {"train": {"glioma": 3, "notumor": 4}, "test": {"glioma": 2, "notumor": 1}}


@pytest.mark.parametrize(
    ("layout", "counts"),
    [
        (KAGGLE, KAGGLE_COUNTS),
        ({f"Brain MRI (v2)/{name}": n for name, n in KAGGLE.items()}, KAGGLE_COUNTS),
        (BARE, {"train": BARE}),
        ({f"wrapper/{name}": n for name, n in BARE.items()}, {"train": BARE}),
        ({"cat/2023/may": 2, "cat/2024": 1, "dog": 2}, {"train": BARE}),
        ({"Training/cat": 3, "Training/dog": 2}, {"train": BARE}),
        ({"valid": 3, "invalid": 2}, {"train": {"invalid": 2, "valid": 3}}),
        (
            {"train/a": 2, "train/b": 1, "valid/a": 1, "valid/b": 3, "test/b": 2},
            {"train": {"a": 2, "b": 1}, "validation": {"a": 1, "b": 3}, "test": {"a": 0, "b": 2}},
        ),
    ],
    ids=[
        "kaggle",
        "wrapped kaggle",
        "bare",
        "wrapped bare",
        "deep",
        "training only",
        "a class valid",
        "three",
    ],
)
def test_a_zip_and_its_folder_give_the_same_dataset(
    workspace: Workspace, tmp_path: Path, layout: dict[str, int], counts: dict[str, dict[str, int]]
) -> None:
    files = folders(layout)
    zipped = import_source(workspace, pack(tmp_path / "source.zip", files), "zipped")
    plain = import_source(workspace, unpack(tmp_path / "source", files), "plain")
    assert zipped.counts() == plain.counts() == counts
    assert zipped.fingerprint == plain.fingerprint
    assert zipped.catalogue.equals(plain.catalogue)
    assert zipped.manifest.unreadable == []
    assert leftovers(workspace) == ["plain", "zipped"]


def test_the_wrapper_folder_is_not_part_of_the_ids(workspace: Workspace, tmp_path: Path) -> None:
    inside = import_source(workspace, pack(tmp_path / "a.zip", folders(KAGGLE)), "inside")
    files = {f"wrapper/{name}": data for name, data in folders(KAGGLE).items()}
    outside = import_source(workspace, pack(tmp_path / "b.zip", files), "outside")
    assert inside.fingerprint == outside.fingerprint
    assert inside.catalogue["image"][0] == "Testing/glioma/0.png"


def test_another_label_or_byte_changes_the_fingerprint(
    workspace: Workspace, tmp_path: Path
) -> None:
    files = folders(BARE)
    moved = {name.replace("cat/2", "dog/2"): data for name, data in files.items()}
    changed = files | {"cat/0.png": png(7)}
    prints = {
        import_source(workspace, pack(tmp_path / f"{k}.zip", each), f"d{k}").fingerprint
        for k, each in enumerate((files, moved, changed))
    }
    assert len(prints) == 3


def test_hidden_and_foreign_files_are_ignored(workspace: Workspace, tmp_path: Path) -> None:
    files = folders(BARE) | {
        "__MACOSX/cat/._0.png": b"resource fork",
        "@eaDir/cat/0.png": png(1),
        "cat/._0.png": b"resource fork",
        ".git/cat/0.png": png(1),
        "cat/.thumbs/0.png": png(1),
        "cat/notes.txt": b"text",
        "README.md": b"text",
        ".DS_Store": b"",
    }
    for source in (pack(tmp_path / "a.zip", files), unpack(tmp_path / "a", files)):
        dataset = import_source(workspace, source, f"from {source.name}")
        assert dataset.counts() == {"train": BARE}
        assert dataset.manifest.unreadable == []


def test_the_catalogue_describes_each_image(workspace: Workspace, tmp_path: Path) -> None:
    files = folders({"007": 2, "NA": 2})
    dataset = import_source(workspace, pack(tmp_path / "a.zip", files))
    data, same = files["NA/0.png"], len(files["007/0.png"])
    assert dataset.classes == ["007", "NA"]
    assert dataset.catalogue.iloc[2].to_dict() == {
        "image": "NA/0.png",
        "class": "NA",
        "split": "train",
        "sha256": hashlib.sha256(data).hexdigest(),
        "bytes": len(data),
        "offset": len(data) + same,
        "width": 5,
        "height": 6,
        "mode": "L",
        "brightness": 102.0,
        "group": "",
        "pose": "",
    }
    assert dataset.read_original("NA/0.png") == data
    assert dataset.rows == {"007/0.png": 0, "007/1.png": 1, "NA/0.png": 2, "NA/1.png": 3}


@pytest.mark.parametrize(("colour", "channels"), [(False, 1), (True, 3)])
def test_gray_stays_gray_and_colour_colour(
    workspace: Workspace, tmp_path: Path, colour: bool, channels: int
) -> None:
    dataset = import_source(workspace, pack(tmp_path / "a.zip", folders(BARE, colour=colour)))
    assert dataset.channels == channels
    array = dataset.array(8)
    assert (array.shape, array.dtype) == ((5, 8, 8, channels), np.uint8)
    assert array[2, 4, 4].tolist() == [102, 0, 0][:channels]


def test_each_size_is_decoded_once_and_read_only(workspace: Workspace, tmp_path: Path) -> None:
    dataset = import_source(workspace, pack(tmp_path / "a.zip", folders(BARE)))
    first = dataset.array(8)
    with pytest.raises(ValueError, match="read-only"):
        first[0] = 0
    (dataset.path / "originals").unlink()
    assert np.array_equal(open_dataset(workspace, "taken").array(8), first)
    with pytest.raises(UserError, match=r"^Dataset taken is damaged \(originals: No such file"):
        dataset.array(16)
    assert [p.name for p in (dataset.path / "arrays").iterdir()] == ["8-pad.npy"]


def test_arrays_of_different_fits_are_cached_separately(
    workspace: Workspace, tmp_path: Path
) -> None:
    stripes = png_bytes(np.kron([[10, 20, 30, 40]] * 2, np.ones((2, 2))).astype(np.uint8))
    files = {f"{c}/{k}.png": stripes for c in "ab" for k in range(4)}
    dataset = import_source(workspace, pack(tmp_path / "a.zip", files))
    wide, middle = [10, 10, 20, 20, 30, 30, 40, 40], [[20, 20, 30, 30]] * 4
    padded = [[0] * 8] * 2 + [wide] * 4 + [[0] * 8] * 2
    assert dataset.array(8)[3, :, :, 0].tolist() == padded
    assert dataset.array(8, fit="stretch")[3, :, :, 0].tolist() == [wide] * 8
    assert dataset.array(4, fit="crop")[0, :, :, 0].tolist() == middle
    names = ["4-crop.npy", "8-pad.npy", "8-stretch.npy"]
    assert sorted(p.name for p in (dataset.path / "arrays").iterdir()) == names
    cropped = make_set(workspace, "cropped", SetConfig(dataset="taken", fit="crop"))
    assert load_part(dataset, cropped, "train", 4).images[0, :, :, 0].tolist() == middle


def test_one_unreadable_image_is_listed_and_the_rest_imported(
    workspace: Workspace, tmp_path: Path
) -> None:
    files = folders(BARE) | {"cat/9.jpg": b"no image", "dog/9.png": png(5)[:40]}
    dataset = import_source(workspace, pack(tmp_path / "a.zip", files))
    assert dataset.counts() == {"train": BARE}
    listed = dataset.manifest.unreadable
    assert [entry.image for entry in listed] == ["cat/9.jpg", "dog/9.png"]
    assert listed[0].reason.startswith("cannot identify image file")
    assert (dataset.path / "originals").read_bytes() == b"".join(
        files[name] for name in dataset.catalogue["image"]
    )


def test_two_entries_of_one_name_are_refused(workspace: Workspace, tmp_path: Path) -> None:
    """`./cat/0.png` is `cat/0.png`: one of the two would be lost silently."""
    path = pack(tmp_path / "a.zip", folders(BARE) | {"./cat/0.png": png(9)})
    with pytest.raises(UserError) as excinfo:
        import_source(workspace, path)
    assert (
        str(excinfo.value) == f"{path} contains 'cat/0.png' twice; pack it again with one of them."
    )
    assert leftovers(workspace) == []


def symlink(name: str, target: str) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(name)
    member.create_system = 3
    member.external_attr = (stat.S_IFLNK | 0o777) << 16
    return member


def with_link(path: Path) -> None:
    pack(path, folders(BARE))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(symlink("cat/link.png", "/etc/passwd"), "/etc/passwd")


def headers(data: bytes, local: int, central: int, value: int) -> bytes:
    """The zip with a 16-bit field of every local and central header set."""
    edited = bytearray(data)
    for signature, offset in ((b"PK\x03\x04", local), (b"PK\x01\x02", central)):
        at = -1
        while (at := edited.find(signature, at + 1)) >= 0:
            struct.pack_into("<H", edited, at + offset, value)
    return bytes(edited)


def encrypted(path: Path) -> None:
    path.write_bytes(headers(pack(path, folders(BARE)).read_bytes(), 6, 8, 1))


def of_unknown_method(path: Path) -> None:
    """Deflate64, which Windows writes for large files and Python doesn't read."""
    path.write_bytes(headers(pack(path, folders(BARE)).read_bytes(), 8, 10, 9))


def damaged(path: Path) -> None:
    data = bytearray(pack(path, folders(BARE)).read_bytes())
    start = data.index(b"cat/0.png") + len("cat/0.png")
    data[start : start + 10] = b"\xff" * 10
    path.write_bytes(data)


def wrong_checksum(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, image in folders(BARE).items():
            archive.writestr(name, image)
    data = bytearray(path.read_bytes())
    data[data.index(b"IEND")] ^= 1
    path.write_bytes(data)


def bomb(path: Path) -> None:
    pack(path, folders(BARE) | {"cat/x.png": bytes(100 * 2**20)})


def containing(files: Files) -> Callable[[Path], object]:
    return lambda path: pack(path, files)


HOSTILE: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (
        lambda path: None,
        "{path} does not exist; choose a zip, a folder, a CSV, or one of",
    ),
    "no zip": (lambda path: path.write_bytes(b"PKno"), "{path} is not a readable zip ("),
    "half a zip": (
        lambda path: path.write_bytes(pack(path, folders(BARE)).read_bytes()[:-60]),
        "{path} is not a readable zip (",
    ),
    "climbing": (
        containing(folders(BARE) | {"cat/../../../x.png": png(1)}),
        "{path} is refused: its entry 'cat/../../../x.png' points outside the archive; pack "
        "it again from inside its folder.",
    ),
    "climbing backwards": (
        containing(folders(BARE) | {"cat\\..\\..\\x.png": png(1)}),
        "{path} is refused: its entry 'cat\\\\..\\\\..\\\\x.png' points outside the archive; pack "
        "it again from inside its folder.",
    ),
    "absolute": (
        containing(folders(BARE) | {"/tmp/x.png": png(1)}),
        "{path} is refused: its entry '/tmp/x.png' points outside the archive; pack "
        "it again from inside its folder.",
    ),
    "drive": (
        containing(folders(BARE) | {"C:/x.png": png(1)}),
        "{path} is refused: its entry 'C:/x.png' points outside the archive; pack "
        "it again from inside its folder.",
    ),
    "link": (
        with_link,
        "{path} is refused: its entry 'cat/link.png' is a link; pack the files instead.",
    ),
    "encrypted": (encrypted, "{path} is password-protected; unpack it and import the folder."),
    "bomb": (bomb, "{path} is refused: its entry 'cat/x.png' unpacks to 104857600 bytes from "),
    "damaged": (damaged, "{path} is damaged at 'cat/0.png' ("),
    "wrong checksum": (wrong_checksum, "{path} is damaged at 'cat/0.png' ("),
    "unknown method": (of_unknown_method, "{path}"),
    "empty": (containing({}), "{path} contains no images; put them into one folder per class."),
    "no images": (
        containing({"cat/a.txt": b"a"}),
        "{path} contains no images (1 file that is not an image (.txt), first cat/a.txt); put them "
        "into one folder per class.",
    ),
    "one class": (
        containing(folders({"cat": 3})),
        "{path} contains one class, 'cat'; at least two are needed: ",
    ),
    "one readable class": (
        containing(folders({"cat": 3}) | {"dog/0.png": b"text"}),
        "{path}: class 'dog' has no readable image (1 of 1: cannot identify image file, first "
        "dog/0.png); add images, at least two, or remove it.",
    ),
    "no readable image": (
        containing({"cat/0.png": b"text", "dog/0.png": b"text"}),
        "{path}: class 'cat' has no readable image (1 of 1: cannot identify image file, first "
        "cat/0.png); add images, at least two, or remove it.",
    ),
    "no class": (
        containing(folders(BARE) | {"x.png": png(1)}),
        "{path}: image 'x.png' is not in a class folder; the layout is",
    ),
    "no class in Training": (
        containing(folders(KAGGLE) | {"Training/x.png": png(1)}),
        "{path}: image 'Training/x.png' is not in a class folder; the layout is",
    ),
    "no classes at all": (
        containing(folders({"Training": 3, "Testing": 2})),
        "{path}: image 'Testing/0.png' is not in a class folder; the layout is",
    ),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_source_is_refused_and_leaves_nothing(
    workspace: Workspace, tmp_path: Path, kind: str
) -> None:
    make, sentence = HOSTILE[kind]
    path = tmp_path / "source.zip"
    make(path)
    with pytest.raises(UserError) as excinfo:
        import_source(workspace, path)
    assert str(excinfo.value).startswith(sentence.format(path=path))
    assert "\n" not in str(excinfo.value)
    assert leftovers(workspace) == []
    assert {p.name for p in tmp_path.iterdir()} <= {"source.zip", "home"}


def test_a_link_that_leads_outside_is_not_followed(workspace: Workspace, tmp_path: Path) -> None:
    source = unpack(tmp_path / "source", folders(BARE))
    (tmp_path / "secret.png").write_bytes(png(1))
    (source / "cat" / "9.png").symlink_to(tmp_path / "secret.png")
    dataset = import_source(workspace, source)
    assert dataset.counts() == {"train": BARE}
    assert [file.model_dump() for file in dataset.manifest.left_out] == [
        {
            "file": "cat/9.png",
            "label": "cat",
            "reason": "a link to outside of the folder",
            "count": 1,
        }
    ]


@pytest.mark.parametrize("name", ["", ".hidden", "../out", "a/b", "a\\b", "dot.", "x" * 65, "a\nb"])
def test_a_bad_name_is_refused(workspace: Workspace, name: str) -> None:
    with pytest.raises(UserError) as excinfo:
        import_source(workspace, "digits", name)
    assert str(excinfo.value).startswith(f"{name!r} cannot be used as a dataset name: use up to 64")
    assert leftovers(workspace) == []


def test_an_existing_name_is_refused_and_the_dataset_unchanged(
    workspace: Workspace, tmp_path: Path
) -> None:
    first = import_source(workspace, pack(tmp_path / "a.zip", folders(BARE)))
    with pytest.raises(UserError) as excinfo:
        import_source(workspace, pack(tmp_path / "b.zip", folders(KAGGLE)))
    assert str(excinfo.value) == (
        "Dataset 'taken' already exists; choose another name or remove it."
    )
    assert leftovers(workspace) == ["taken"]
    assert open_dataset(workspace, "taken").fingerprint == first.fingerprint


def test_the_name_of_a_training_set_is_refused_too(workspace: Workspace, tmp_path: Path) -> None:
    """The name of a dataset is also that of its training set, so names are unique."""
    source = pack(tmp_path / "a.zip", folders({"cat": 8, "dog": 8}))
    import_source(workspace, source, "pets")
    make_set(workspace, "pets-skewed", SetConfig(dataset="pets"))
    with pytest.raises(UserError, match="pets-skewed"):
        import_source(workspace, source, "pets-skewed")
    assert leftovers(workspace) == ["pets"]


def test_an_import_that_is_stopped_leaves_nothing(workspace: Workspace, tmp_path: Path) -> None:
    config = ImportConfig(
        name="x", source=str(pack(tmp_path / "a.zip", folders({"a": 70, "b": 1})))
    )
    with pytest.raises(Cancelled):
        import_dataset(workspace, config, MemoryRun(stop_after=1))
    assert leftovers(workspace) == []


def import_run(workspace: Workspace, source: str) -> RunDirectory:
    config = ImportConfig(name="pets", source=source)
    return RunDirectory(create_run(workspace, "import", config.model_dump(), name="import pets"))


def uploaded(workspace: Workspace, files: Files) -> Path:
    return Path(save_upload(workspace, [(n, io.BytesIO(data)) for n, data in files.items()]))


def zipped(files: Files, tmp_path: Path) -> Files:
    return {"pets.zip": pack(tmp_path / "pets.zip", files).read_bytes()}


@pytest.mark.parametrize("as_zip", [True, False])
def test_an_upload_is_removed_once_it_is_imported(
    workspace: Workspace, tmp_path: Path, as_zip: bool
) -> None:
    files = {f"pets/{name}": data for name, data in folders(BARE).items()}
    source = uploaded(workspace, zipped(files, tmp_path) if as_zip else files)
    other = uploaded(workspace, files)
    assert import_job(workspace, import_run(workspace, str(source))) == {"dataset": "pets"}
    assert open_dataset(workspace, "pets").counts() == {"train": BARE}
    assert list(workspace.uploads.iterdir()) == [other]


def test_an_upload_is_removed_once_it_is_refused(workspace: Workspace, tmp_path: Path) -> None:
    source = uploaded(workspace, zipped(folders({"cat": 3}), tmp_path))
    with pytest.raises(UserError, match=r" contains one class, 'cat'; "):
        import_job(workspace, import_run(workspace, str(source)))
    assert list(workspace.uploads.iterdir()) == []
    assert leftovers(workspace) == []


def test_the_upload_of_a_cancelled_import_is_removed_with_its_run(
    workspace: Workspace, tmp_path: Path
) -> None:
    source = uploaded(workspace, zipped(folders({"cat": 40, "dog": 40}), tmp_path))
    run = import_run(workspace, str(source))
    (run.path / "cancel").touch()
    with pytest.raises(Cancelled):
        execute(workspace, run)
    assert source.exists()
    remove_run(workspace, run.id)
    assert list(workspace.uploads.iterdir()) == []


def test_a_file_outside_the_uploads_is_kept_after_its_import(
    workspace: Workspace, tmp_path: Path
) -> None:
    source = pack(tmp_path / "a.zip", folders(BARE))
    import_job(workspace, import_run(workspace, str(source)))
    assert source.exists()


def test_only_uploads_are_removed(workspace: Workspace) -> None:
    for folder in (workspace.uploads / "a", workspace.runs / "b"):
        folder.mkdir(parents=True)
    for source in (".", "..", "../runs", "a/../../runs/b", "../uploads"):
        remove_upload(workspace, f"{workspace.uploads}/{source}")
    remove_upload(workspace, "uploads/a")
    assert (workspace.uploads / "a").exists()
    assert (workspace.runs / "b").exists()
    remove_upload(workspace, f"{workspace.uploads}/../uploads/a/b.zip")
    assert not (workspace.uploads / "a").exists()


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (["../a.png", "b/c.png"], "File '../a.png' points outside its folder; rename it."),
        (["a\\..\\..\\b.png"], "File 'a/../../b.png' points outside its folder; rename it."),
        (["/a.png"], "File '/a.png' points outside its folder; rename it."),
        (["a.zip", "b.zip"], "The classes of these files are not given; drop one zip, "),
        (["a.csv", "b.csv"], "The classes of these files are not given; drop one zip, "),
        (["a.png", "b.png"], "The classes of these files are not given; drop one zip, "),
    ],
)
def test_an_upload_that_cannot_be_a_dataset_is_refused(
    workspace: Workspace, names: list[str], sentence: str
) -> None:
    with pytest.raises(UserError) as excinfo:
        uploaded(workspace, dict.fromkeys(names, b"x"))
    assert str(excinfo.value).startswith(sentence)
    assert not workspace.uploads.exists()


def test_a_dataset_is_removed_completely(workspace: Workspace, tmp_path: Path) -> None:
    import_source(workspace, pack(tmp_path / "a.zip", folders(BARE)))
    remove_dataset(workspace, "taken")
    assert leftovers(workspace) == []
    with pytest.raises(UserError) as excinfo:
        open_dataset(workspace, "taken")
    assert str(excinfo.value) == (
        "There is no dataset 'taken' (there is: none yet); add it with `datasets add`."
    )


def test_the_digits_have_their_counts(workspace: Workspace) -> None:
    dataset = import_source(workspace, "digits", "digits")
    rare = {"7": 20, "8": 20, "9": 20}
    assert dataset.counts() == {
        "train": dict.fromkeys("0123456789", 120) | rare,
        "test": dict.fromkeys("0123456789", 45),
    }
    assert dataset.channels == 1
    sizes = dataset.catalogue[["width", "height"]].drop_duplicates().values.tolist()
    assert sizes == [[8, 8]]
    assert dataset.catalogue["image"].is_unique
    assert list_datasets(workspace) == ["digits"]


def test_the_phantom_has_its_counts_and_true_poses(phantom: Dataset) -> None:
    assert phantom.counts() == {
        "train": {"glioma": 11, "meningioma": 11, "notumor": 57, "pituitary": 11},
        "test": {"glioma": 8, "meningioma": 8, "notumor": 7, "pituitary": 7},
    }
    assert phantom.channels == 1
    assert set(phantom.catalogue["pose"]) == {"axial", "coronal", "sagittal"}


def test_an_invalid_phantom_is_refused(workspace: Workspace) -> None:
    config = ImportConfig(name="phantom", source="phantom", count=39)
    with pytest.raises(UserError, match=r"^The phantom cannot be generated: .* \(got 39\)\.$"):
        import_dataset(workspace, config, MemoryRun())
    assert leftovers(workspace) == []


def test_two_dropped_files_of_one_name_are_refused(workspace: Workspace) -> None:
    table = b"path,label\n1.png,cat\n"
    files = [(n, io.BytesIO(d)) for n, d in (("1.png", b"a"), ("1.png", b"b"), ("t.csv", table))]
    with pytest.raises(UserError, match=r"^Two files are named '1.png'; rename one, or drop"):
        save_upload(workspace, files)
    assert not workspace.uploads.exists()


def test_a_dropped_folder_of_classes_may_contain_a_table(workspace: Workspace) -> None:
    files = folders(BARE) | {"metadata.csv": b"anything", "cat/more.zip": b"anything"}
    path = save_upload(workspace, [(f"pets/{n}", io.BytesIO(d)) for n, d in files.items()])
    assert import_source(workspace, path).counts() == {"train": BARE}


def test_a_dropped_folder_of_one_folder_uses_its_table(workspace: Workspace) -> None:
    lines = [f"all/{k}.png,{'cat' if k % 2 else 'dog'}" for k in range(6)]
    files = {f"pets/all/{k}.png": png(40 * k) for k in range(6)}
    files["pets/labels.csv"] = "\n".join(["path,label", *lines]).encode()
    path = save_upload(workspace, [(n, io.BytesIO(d)) for n, d in files.items()])
    assert import_source(workspace, path).counts() == {"train": {"cat": 3, "dog": 3}}


def test_other_patients_change_the_fingerprint(workspace: Workspace, tmp_path: Path) -> None:
    prints = set()
    for patients in ("uvwx", "uvww"):
        lines = [f"{k}.png,{'ab'[k % 2]},{p}" for k, p in enumerate(patients)]
        files = {f"{k}.png": png(60 * k) for k in range(4)}
        folder = unpack(tmp_path / patients, files)
        (folder / "t.csv").write_text("\n".join(["path,label,group", *lines]))
        prints.add(import_source(workspace, folder / "t.csv", patients).fingerprint)
    assert len(prints) == 2


def test_a_zip_with_a_wrong_length_is_not_unpacked_completely(
    workspace: Workspace, tmp_path: Path
) -> None:
    """1,000 bytes according to the directory, but 128 MB of zeros."""
    for method, refusal in (
        (zipfile.ZIP_BZIP2, "uses a compression method whose size cannot be checked"),
        (zipfile.ZIP_DEFLATED, "is damaged at 'cat/0.png'"),
    ):
        path = tmp_path / f"{method}.zip"
        with zipfile.ZipFile(path, "w", method) as archive:
            archive.writestr("cat/0.png", bytes(2**27))
        data = bytearray(path.read_bytes())
        for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
            data[(at := data.index(signature) + offset) : at + 4] = struct.pack("<I", 1000)
        path.write_bytes(data)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with pytest.raises(UserError, match=refusal):
            import_source(workspace, path)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**16  # KB
