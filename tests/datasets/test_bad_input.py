"""Every bad input, through the importer and through the command line.

Each gets its one sentence and exit code 2, and leaves the workspace as it was, byte for byte.
"""

import io
import json
import os
import random
import re
import shutil
import stat
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import ROOT, Done, command, process
from PIL import Image
from sources import BARE, Files, contents, folders, import_source, pack, png, refusal, unpack

from rebalance_core.datasets.dataset import (
    Dataset,
    export_dataset,
    list_datasets,
    open_dataset,
    remove_dataset,
)
from rebalance_core.datasets.duplicates import NEAR
from rebalance_core.errors import UserError
from rebalance_core.imaging.grid import png_bytes
from rebalance_core.runs.executor import list_runs
from rebalance_core.training_sets.config import SetConfig
from rebalance_core.training_sets.resolve import make_set
from rebalance_core.workspace import HOME_VARIABLE, Workspace

MORE = "add images, at least two, or remove it."
OUTSIDE = "points outside the archive; pack it again from inside its folder."
LAYOUT = "<class>/*.png, or Training|Testing/<class>/*.png"
NO_IMAGES = (
    "{path} contains no images (1 file that is not an image (.txt), first cat/a.txt); put them "
    "into one folder per class."
)
HUGE_REASON = "it has more than 50000000 pixels"


def jpeg(size: int = 64) -> bytes:
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (size, size), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, "JPEG")
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def huge_png(side: int = 30_000) -> bytes:
    """Black, one bit per pixel: 112 MB of pixels in 110 kB."""
    packer = zlib.compressobj(1)
    row = bytes(1 + side // 8)
    data = b"".join(packer.compress(row * 100) for _ in range(side // 100)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


TWO_PIXELS = png_bytes(np.zeros((1, 2), np.uint8))
CLIPPED = jpeg()[:-700]


CRC = [0] * 256
for _k in range(256):
    CRC[_k] = _k
    for _ in range(8):
        CRC[_k] = CRC[_k] >> 1 ^ (0xEDB88320 if CRC[_k] & 1 else 0)


def zip_crypto(data: bytes, password: bytes) -> bytes:
    """The zip format's traditional encryption (APPNOTE 6.1), under a header of zeros."""
    keys = [0x12345678, 0x23456789, 0x34567890]

    def update(byte: int) -> None:
        keys[0] = keys[0] >> 8 ^ CRC[(keys[0] ^ byte) & 0xFF]
        keys[1] = ((keys[1] + (keys[0] & 0xFF)) * 134775813 + 1) & 0xFFFFFFFF
        keys[2] = keys[2] >> 8 ^ CRC[(keys[2] ^ keys[1] >> 24) & 0xFF]

    for byte in password:
        update(byte)
    out = bytearray()
    for byte in bytes(11) + bytes([zlib.crc32(data) >> 24]) + data:
        mixed = keys[2] | 2
        out.append(byte ^ (mixed * (mixed ^ 1) >> 8 & 0xFF))
        update(byte)
    return bytes(out)


def encrypted(path: Path, files: Files) -> Path:
    """A zip that opens only with its password."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, image in files.items():
            archive.writestr(name, zip_crypto(image, b"secret"))
    data = bytearray(path.read_bytes())
    for signature, flags, sums in ((b"PK\x03\x04", 6, 14), (b"PK\x01\x02", 8, 16)):
        at = -1
        for image in files.values():
            at = data.index(signature, at + 1)
            struct.pack_into("<H", data, at + flags, 1)
            struct.pack_into(
                "<III", data, at + sums, zlib.crc32(image), len(image) + 12, len(image)
            )
    path.write_bytes(data)
    with zipfile.ZipFile(path) as archive:
        assert {name: archive.read(name, b"secret") for name in files} == files
    return path


def with_link(path: Path) -> Path:
    pack(path, folders(BARE))
    member = zipfile.ZipInfo("cat/link.png")
    member.create_system = 3
    member.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(member, "/etc/passwd")
    return path


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def with_folder(path: Path, name: str) -> Path:
    """An empty folder, in a zip or next to the files."""
    if path.suffix != ".zip":
        (path / name).mkdir()
        return path
    with zipfile.ZipFile(path, "a") as archive:
        archive.mkdir(name)
    return path


def not_utf8(path: Path) -> Path:
    unpack(path, folders(BARE))
    (path / "cat" / os.fsdecode(b"caf\xe9.png")).write_bytes(png(1))
    return path


@dataclass(frozen=True)
class Bad:
    """How to create a source, the expected sentence ('…' matches anything), and the limits."""

    make: Callable[[Path], Path]
    sentence: str
    limits: dict[str, float] = field(default_factory=dict)

    def matches(self, path: Path, sentence: str) -> bool:
        expected = self.sentence.format(path=path)
        return bool(re.fullmatch(".*".join(map(re.escape, expected.split("…"))), sentence))


def zipped(files: Files) -> Callable[[Path], Path]:
    return lambda path: pack(path / "source.zip", files)


def plain(files: Files) -> Callable[[Path], Path]:
    return lambda path: unpack(path / "source", files)


def table(text: str) -> Callable[[Path], Path]:
    return lambda path: write(unpack(path, folders(BARE)) / "source.csv", text.encode())


def only(data: bytes, name: str = "0.png") -> Callable[[Path], Path]:
    """A folder whose class `fox` has only this file."""
    return plain(folders(BARE) | {f"fox/{name}": data})


def unreadable(name: str, reason: str) -> str:
    """The sentence if class `fox` has one file, which cannot be read."""
    files = f"(1 of 1: {reason}, first fox/{name})"
    return f"{{path}}: class 'fox' has no readable image {files}; {MORE}"


BAD = {
    "missing path": Bad(
        lambda path: path / "none",
        "{path} does not exist; choose a zip, a folder, a CSV, or one of phantom, digits, kaggle.",
    ),
    "a name too long for the disk": Bad(
        lambda path: path / ("n" * 300),
        "{path} cannot be read (File name too long); allow access or choose another.",
    ),
    "no zip": Bad(
        lambda path: write(path / "source.zip", b"PKtext"),
        "{path} is not a readable zip (File is not a zip file); pack or download it again.",
    ),
    "an image alone": Bad(
        lambda path: write(path / "scan.png", png(1)),
        "{path} is not a readable zip (File is not a zip file); pack or download it again.",
    ),
    "zip cut off": Bad(
        lambda path: write(path / "cut.zip", zipped(folders(BARE))(path).read_bytes()[:-60]),
        "{path} is not a readable zip (File is not a zip file); pack or download it again.",
    ),
    "zip with ../": Bad(
        zipped(folders(BARE) | {"cat/../../x.png": png(1)}),
        f"{{path}} is refused: its entry 'cat/../../x.png' {OUTSIDE}",
    ),
    "zip with an absolute name": Bad(
        zipped(folders(BARE) | {"/tmp/x.png": png(1)}),
        f"{{path}} is refused: its entry '/tmp/x.png' {OUTSIDE}",
    ),
    "zip with a link": Bad(
        lambda path: with_link(path / "source.zip"),
        "{path} is refused: its entry 'cat/link.png' is a link; pack the files instead.",
    ),
    "bomb by count": Bad(
        zipped(folders({"cat": 3, "dog": 3})),
        "{path} contains 6 files of 0.0 GiB in total, more than the limits of 5 files and 64 GiB; "
        "split it, or raise --max-files or --max-gib.",
        {"max_files": 5},
    ),
    "bomb by size": Bad(
        zipped(folders(BARE)),
        "{path} contains 5 files of 0.0 GiB in total, more than the limits of 500000 files and "
        "1e-07 GiB; split it, or raise --max-files or --max-gib.",
        {"max_gib": 1e-7},
    ),
    "bomb by ratio": Bad(
        zipped(folders(BARE) | {"cat/x.png": bytes(2**23)}),
        "{path} is refused: its entry 'cat/x.png' unpacks to 8388608 bytes from …, over 200 : 1; "
        "if you trust it, raise --max-ratio.",
    ),
    "password": Bad(
        lambda path: encrypted(path / "source.zip", folders(BARE)),
        "{path} is password-protected; unpack it and import the folder.",
    ),
    "zip without images": Bad(zipped({"cat/a.txt": b"a"}), NO_IMAGES),
    "folder without images": Bad(plain({"cat/a.txt": b"a"}), NO_IMAGES),
    "one class": Bad(
        plain(folders({"cat": 3})),
        f"{{path}} contains one class, 'cat'; at least two are needed: {LAYOUT}.",
    ),
    "empty class in a zip": Bad(
        lambda path: with_folder(zipped(folders(BARE))(path), "fox"),
        "{path}: class folder 'fox' contains no images; fill it or remove it.",
    ),
    "empty class in a folder": Bad(
        lambda path: with_folder(plain(folders(BARE))(path), "fox"),
        "{path}: class folder 'fox' contains no images; fill it or remove it.",
    ),
    "class with one image": Bad(
        plain(folders(BARE | {"fox": 1})),
        f"{{path}}: class 'fox' has a single readable image; {MORE}",
    ),
    "class of a two-pixel image": Bad(
        only(TWO_PIXELS),
        unreadable("0.png", "2×1 pixels is too small; at least 4 per side are needed"),
    ),
    "class of a zero-byte file": Bad(only(b""), unreadable("0.png", "the file is empty")),
    "class of text named .jpg": Bad(
        only(b"This is text.", "0.jpg"), unreadable("0.jpg", "cannot identify image file")
    ),
    "class of a cut JPEG": Bad(
        only(CLIPPED, "0.jpg"),
        unreadable("0.jpg", "image file is truncated (1 bytes not processed)"),
    ),
    "class of a huge image": Bad(
        lambda path: only(huge_png())(path), unreadable("0.png", HUGE_REASON)
    ),
    "class of three faults": Bad(
        plain(folders(BARE) | {"fox/0.png": b"", "fox/1.png": b"text", "fox/2.png": b"more"}),
        "{path}: class 'fox' has no readable image (2 of 3: cannot identify image file, "
        f"first fox/1.png); {MORE}",
    ),
    "class of one image and a fault": Bad(
        plain(folders(BARE | {"fox": 1}) | {"fox/x.png": b""}),
        "{path}: class 'fox' has a single readable image (1 of 2: the file is empty, first "
        f"fox/x.png); {MORE}",
    ),
    "classes differing by case": Bad(
        zipped(folders({"cat": 2, "Cat": 2})),
        "{path}: classes 'Cat' and 'cat' differ only in case or in how accents are encoded; "
        "rename one, or merge them.",
    ),
    "classes differing by accents": Bad(
        zipped(folders({"cafe\u0301": 2, "caf\u00e9": 2})),
        "{path}: classes 'cafe\u0301' and 'caf\u00e9' differ only in case or in how accents are "
        "encoded; rename one, or merge them.",
    ),
    "name not in UTF-8": Bad(
        lambda path: not_utf8(path / "source"),
        "{path}: the name 'cat/caf\\udce9.png' is not in UTF-8; rename the file.",
    ),
    "class named ..": Bad(
        table("path,label\ncat/0.png,cat\ncat/1.png,cat\ndog/0.png,..\ndog/1.png,..\n"),
        "{path}: class '..' is not a valid folder name; use up to 100 characters without slashes, "
        "control characters, `](` and a leading dot.",
    ),
    "CSV of images elsewhere": Bad(
        table("path,label\n../a.png,cat\n"),
        "{path}, line 2: '../a.png' is outside the CSV's folder; put the CSV next to its images.",
    ),
}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a dataset and a set; copied, never written to."""
    home = tmp_path_factory.mktemp("kept")
    workspace = Workspace(home)
    source = unpack(tmp_path_factory.mktemp("pets"), folders({"cat": 9, "dog": 5}))
    import_source(workspace, source, "kept")
    make_set(workspace, "kept-set", SetConfig(dataset="kept", skew="step:2"))
    open_dataset(workspace, "kept").array(8)
    return home


@pytest.fixture
def home(template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(template, tmp_path / "home"))


def add(home: Path, source: object, name: str = "new", **more: object) -> list[object]:
    options = [
        part for key, value in more.items() for part in (f"--{key.replace('_', '-')}", value)
    ]
    return ["datasets", "add", name, source, *options, "--json"]


def failed(home: Path, done: Done) -> str:
    """The sentence of a failed import: on stderr, in the state of its run and in its log."""
    (run,) = list_runs(Workspace(home), "import")
    sentence = str(run.state.reason)
    assert run.status == "failed"
    assert refusal(done) == f"Run {run.id} failed: {sentence}"
    assert (run.path / "log.txt").read_text() == f"{sentence}\n"
    return sentence


@pytest.fixture(scope="module")
def results(
    template: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Path, Path, Done]]:
    """{kind: (source, workspace, result of the command)}, in parallel."""
    folders_ = [tmp_path_factory.mktemp("bad") for _ in BAD]
    with ProcessPoolExecutor(os.cpu_count(), get_context("fork")) as pool:
        return dict(zip(BAD, pool.map(attempt, BAD, folders_, repeat(template)), strict=True))


def attempt(kind: str, folder: Path, template: Path) -> tuple[Path, Path, Done]:
    """Run in a forked process, which need not import anything."""
    home = Path(shutil.copytree(template, folder / "home"))
    source = BAD[kind].make(folder)
    return source, home, command(home, *add(home, source, **BAD[kind].limits))


@pytest.mark.parametrize("kind", BAD)
def test_bad_input_is_one_sentence_from_the_importer_and_changes_nothing(
    home: Path, tmp_path: Path, kind: str
) -> None:
    source, before = BAD[kind].make(tmp_path), contents(home)
    with pytest.raises(UserError) as raised:
        import_source(Workspace(home), source, **BAD[kind].limits)
    assert BAD[kind].matches(source, str(raised.value)), raised.value
    assert contents(home) == before


@pytest.mark.parametrize("kind", BAD)
def test_bad_input_is_the_same_sentence_from_the_command_line(
    template: Path, results: dict[str, tuple[Path, Path, Done]], kind: str
) -> None:
    source, home, done = results[kind]
    sentence = failed(home, done)
    assert BAD[kind].matches(source, sentence), sentence
    assert contents(home) == contents(template)


@pytest.mark.parametrize(
    ("kind", "limits"),
    [
        ("bomb by count", {"max_files": 6}),
        ("bomb by size", {"max_gib": 1e-5}),
        ("bomb by ratio", {"max_ratio": 2000}),
    ],
)
def test_a_raised_limit_lets_a_large_zip_through(
    home: Path, tmp_path: Path, kind: str, limits: dict[str, float]
) -> None:
    dataset = import_source(Workspace(home), BAD[kind].make(tmp_path), **limits)
    assert len(dataset.catalogue) == {"bomb by count": 6}.get(kind, 5)


# What is bad in one file only is listed, and the rest imported.

LONG = "n" * 195 + ".png"  # 199 and 200 characters, all that a Linux disk takes is 255 bytes
NAMES = [
    "Größe.png",
    "脳腫瘍.png",
    "with space.png",
    " led and trailed .png",
    'it\'s "quoted".png',
    "a,b.png",
    "line\nfeed.png",
    "return\rhere.png",
    "tab\there.png",
    "=1+1.png",
    "NA.png",
    LONG,
    "scan.png",
    "Scan.png",
    "SCAN.PNG",
    "e\u0301.png",
    "\u00e9.png",
    "😀.png",
]
LISTED = {
    "cat/cut.jpg": (CLIPPED, r"image file is truncated \(\d+ bytes not processed\)"),
    "cat/huge.png": (huge_png(), HUGE_REASON),
    "cat/text.jpg": (b"This is text.", "cannot identify image file"),
    "cat/two.png": (TWO_PIXELS, "2×1 pixels is too small; at least 4 per side are needed"),
    "cat/zero.png": (b"", "the file is empty"),
}


@pytest.mark.parametrize("as_zip", [False, True])
def test_bad_images_are_listed_with_their_reason_and_the_rest_imported(
    home: Path, tmp_path: Path, as_zip: bool
) -> None:
    good = {f"cat/{name}": png(k) for k, name in enumerate(NAMES)}
    good |= {f"dog/{name}": png(50 + k) for k, name in enumerate(NAMES)}
    if as_zip:
        good["dog/" + "脳" * 200 + ".png"] = png(99)  # 604 bytes
    files = good | {name: data for name, (data, _) in LISTED.items()}
    source = (zipped if as_zip else plain)(files)(tmp_path)
    before = contents(home)
    done = command(home, *add(home, source))
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert shown["counts"] == {"train": {"cat": len(NAMES), "dog": len(good) - len(NAMES)}}
    assert [entry["image"] for entry in shown["unreadable"]] == list(LISTED)
    for entry in shown["unreadable"]:
        assert re.fullmatch(LISTED[entry["image"]][1], entry["reason"])
    dataset = open_dataset(Workspace(home), "new")
    assert {name: dataset.read_original(name) for name in dataset.catalogue["image"]} == good
    after = contents(home)
    assert {name: after[name] for name in before} == before
    if not as_zip:
        export_dataset(dataset, tmp_path / "out")
        assert {
            str(p.relative_to(tmp_path / "out")): p.read_bytes()
            for p in (tmp_path / "out").rglob("*.*")
        } == good
    else:
        with pytest.raises(
            UserError, match=r"^'dog/脳+\.png' cannot be written to .* \(File name too long\); "
        ):
            export_dataset(dataset, tmp_path / "out")
        assert not (tmp_path / "out").exists()


def test_damaged_bytes_of_a_zip_are_read_or_refused_and_nothing_else(
    home: Path, tmp_path: Path
) -> None:
    """Any other exception would be a traceback instead of a sentence."""
    workspace, draw = Workspace(home), random.Random(0)
    whole = pack(tmp_path / "whole.zip", folders({"cat": 2, "dog": 2})).read_bytes()
    before, path = contents(home), tmp_path / "damaged.zip"
    refused = 0
    for _ in range(400):
        data = bytearray(whole)
        for _ in range(draw.randint(1, 4)):
            data[draw.randrange(len(data))] = draw.randrange(256)
        path.write_bytes(data)
        try:
            import_source(workspace, path, "fuzzed")
        except UserError as error:
            refused += 1
            assert "\n" not in str(error)
        else:
            remove_dataset(workspace, "fuzzed")
    assert refused > 200
    assert contents(home) == before


# What the machine forbids

# Root may read anything; without these two capabilities it is like other users.
BOUND = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]

IMPORT = """
import sys
from rebalance_core.datasets.importing import import_dataset
from rebalance_core.datasets.source import ImportConfig
from rebalance_core.errors import UserError
from rebalance_core.runs.run import MemoryRun
from rebalance_core.workspace import Workspace
config = ImportConfig(name="new", source=sys.argv[1])
try:
    import_dataset(Workspace.from_environment(), config, MemoryRun())
except UserError as error:
    print(error)
"""


def run_unprivileged(home: Path, *arguments: object) -> Done:
    """Run Python without root's file permissions; skip if that is not possible."""
    start = []
    if os.geteuid() == 0:
        if not shutil.which("setpriv") or subprocess.run([*BOUND, "true"]).returncode:
            pytest.skip("root cannot give up its rights here (setpriv is missing or refused)")
        start = BOUND
    environment = {**os.environ, HOME_VARIABLE: str(home), "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [*start, sys.executable, *map(str, arguments)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=180,
    )


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[list[Path]]:
    """Paths that become inaccessible for the test."""
    paths: list[Path] = []
    yield paths
    for path in reversed(paths):
        path.chmod(0o700)


def lock(path: Path, locked: list[Path]) -> None:
    path.chmod(0)
    locked.append(path)


def test_an_unreadable_directory_is_refused(home: Path, tmp_path: Path, locked: list[Path]) -> None:
    before = contents(home)
    source = unpack(tmp_path / "source", folders(BARE | {"fox": 2}))
    lock(source / "fox", locked)
    sentence = f"{source}/fox cannot be read (Permission denied); allow access or move it."
    done = run_unprivileged(home, "-c", IMPORT, source)
    assert (done.stdout, done.stderr) == (f"{sentence}\n", "")
    done = run_unprivileged(home, "-m", "rebalance_core", *add(home, source))
    assert failed(home, done) == sentence

    lock(source, locked)
    done = run_unprivileged(home, "-c", IMPORT, source)
    assert done.stdout == f"{source} cannot be read (Permission denied); allow access or move it.\n"
    done = run_unprivileged(home, "-c", IMPORT, source / "fox")
    assert done.stdout == (
        f"{source}/fox cannot be read (Permission denied); allow access or choose another.\n"
    )
    assert contents(home) == before


def test_an_unreadable_file_is_listed_and_a_hidden_folder_not_entered(
    home: Path, tmp_path: Path, locked: list[Path]
) -> None:
    source = unpack(tmp_path / "source", folders(BARE | {".trash": 1}))
    lock(source / "cat" / "1.png", locked)
    lock(source / ".trash", locked)
    done = run_unprivileged(home, "-m", "rebalance_core", *add(home, source))
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert shown["counts"] == {"train": {"cat": 2, "dog": 2}}
    assert shown["unreadable"] == [
        {"image": "cat/1.png", "reason": "cannot be read (Permission denied)"}
    ]


DECODE = """
from rebalance_core.datasets.dataset import open_dataset
from rebalance_core.errors import UserError
from rebalance_core.workspace import Workspace
try:
    open_dataset(Workspace.from_environment(), "kept").array(1024)
except UserError as error:
    print(error)
"""


@pytest.fixture
def small_disk(template: Path, tmp_path: Path) -> Iterator[Path]:
    """A workspace on a separate disk of 2 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    done = subprocess.run(mount, capture_output=True, text=True) if shutil.which("mount") else None
    if done is None or done.returncode:
        pytest.skip(f"no disk can be mounted here: {done.stderr if done else 'no mount command'}")
    try:
        yield Path(shutil.copytree(template, disk / "home"))
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_a_full_disk_is_one_sentence_and_changes_nothing(small_disk: Path, tmp_path: Path) -> None:
    home = small_disk
    workspace, before = Workspace(home), contents(home)
    mend = "set REBALANCE_HOME to a folder on a larger disk."
    noise = np.random.default_rng(0).integers(0, 256, (12, 500, 500), dtype=np.uint8)
    files = {f"{'ab'[k % 2]}/{k}.png": png_bytes(image) for k, image in enumerate(noise)}
    source = unpack(tmp_path / "large", files)
    seen = re.compile(
        rf"The import needs 3 MB, but {re.escape(str(home))}/datasets has [12] MB free; free some "
        rf"space, or {mend}"
    )
    with pytest.raises(UserError) as excinfo:
        import_source(workspace, source)
    assert seen.fullmatch(str(excinfo.value))
    assert seen.fullmatch(failed(home, command(home, *add(home, source))))
    assert contents(home) == before

    # The size of a built-in's files is known only once they are written.
    full = f"The disk of {home} is full; free some space, or {mend}"
    with pytest.raises(UserError) as excinfo:
        import_source(workspace, "phantom", "new", count=400)
    assert str(excinfo.value) == full
    assert contents(home) == before
    done = command(home, *add(home, "phantom", count=400))
    assert refusal(done).endswith(f" failed: {full}")
    assert contents(home) == before

    # Through a memory map, a full disk would kill the process.
    decoded = subprocess.run(
        [sys.executable, "-c", DECODE],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=180,
        env={**os.environ, HOME_VARIABLE: str(home)},
    )
    assert (decoded.returncode, decoded.stdout, decoded.stderr) == (0, f"{full}\n", "")
    assert contents(home) == before
    assert open_dataset(workspace, "kept").array(16).shape == (14, 16, 16, 1)

    (home / "ballast").write_bytes(bytes(shutil.disk_usage(home).free))
    before = contents(home)
    assert refusal(command(home, *add(home, source))) == full
    assert contents(home) == before


def test_of_two_processes_that_add_one_name_at_once_one_wins(home: Path, tmp_path: Path) -> None:
    sources = [
        unpack(tmp_path / folder, folders({f"{folder}/{c}": 60 for c in ("cat", "dog")}))
        for folder in ("one", "two")
    ]
    before = contents(home)
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda source: process(home, *add(home, source)), sources))
    assert sorted(each.returncode for each in done) == [0, 2], [each.stderr for each in done]
    won = done[0].returncode != 0
    assert re.fullmatch(
        r"(Run \S+ failed: )?(Another process created new in the meantime; choose another name"
        r"|Dataset 'new' already exists; choose another name or remove it"
        r"|new already exists in \S+; choose another name)\.",
        refusal(done[1 - won]),
    )
    workspace = Workspace(home)
    alone = import_source(workspace, sources[won], "alone")
    assert open_dataset(workspace, "new").fingerprint == alone.fingerprint
    assert json.loads(done[won].stdout)["fingerprint"] == alone.fingerprint
    assert list_datasets(workspace) == ["alone", "kept", "new"]
    after = contents(home)
    assert {name: after[name] for name in before} == before
    hidden = [name for name in after if any(part.startswith(".") for part in Path(name).parts)]
    assert hidden == []


# A dataset's directory edited by hand afterwards


def edit(name: str, change: Callable[[bytes], bytes | None]) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        changed = change((path / name).read_bytes())
        if changed is None:
            (path / name).unlink()
        else:
            (path / name).write_bytes(changed)

    return make


def without(key: str) -> Callable[[bytes], bytes]:
    return lambda data: json.dumps({k: v for k, v in json.loads(data).items() if k != key}).encode()


def with_value(key: str, value: object) -> Callable[[bytes], bytes]:
    return lambda data: json.dumps({**json.loads(data), key: value}).encode()


def arrays(**values: Any) -> Callable[[bytes], bytes]:
    def make(_: bytes) -> bytes:
        buffer = io.BytesIO()
        np.savez(buffer, **{name: np.array(value) for name, value in values.items()})
        return buffer.getvalue()

    return make


def pairs(record: tuple[int, int, int, float]) -> Callable[[bytes], bytes]:
    return arrays(near=np.array([record], NEAR))


DAMAGED = "Dataset kept is damaged ({}); remove it and import it again."
NO_MANIFEST = DAMAGED.format("manifest.json cannot be read")
CHANNELS = DAMAGED.format("manifest.json: channels: input should be 1 or 3")
NO_NEAR = DAMAGED.format("its near-duplicates cannot be read")
OTHER_NEAR = DAMAGED.format("its near-duplicates are those of another dataset")
OTHER_FORMAT = (
    "Dataset kept was imported by another version of the studio; remove it and import it again."
)
CHANGED = DAMAGED.format("its catalogue was changed by hand")
EDITS: dict[str, tuple[Callable[[Path], None], str]] = {
    "catalogue changed": (
        edit("catalogue.csv", lambda data: data.replace(b",cat,", b",dog,", 1)),
        CHANGED,
    ),
    "catalogue cut off": (edit("catalogue.csv", lambda data: data[:-9]), CHANGED),
    "catalogue gone": (
        edit("catalogue.csv", lambda data: None),
        DAMAGED.format("its catalogue cannot be read: No such file or directory"),
    ),
    "manifest cut off": (edit("manifest.json", lambda data: data[:-9]), NO_MANIFEST),
    "manifest gone": (edit("manifest.json", lambda data: None), NO_MANIFEST),
    "manifest of nothing": (
        edit("manifest.json", lambda data: b"[]"),
        DAMAGED.format("manifest.json: it should be an object"),
    ),
    "manifest of another format": (edit("manifest.json", with_value("format", 1)), OTHER_FORMAT),
    "manifest without classes": (
        edit("manifest.json", without("classes")),
        DAMAGED.format("manifest.json: classes: field required"),
    ),
    "manifest without a digest": (
        edit("manifest.json", without("catalogue")),
        DAMAGED.format("manifest.json: catalogue: field required"),
    ),
    "manifest of channels in words": (edit("manifest.json", with_value("channels", "x")), CHANNELS),
    "manifest with another class": (
        edit("manifest.json", with_value("classes", ["cat"])),
        DAMAGED.format("manifest.json names other classes than its catalogue"),
    ),
    "manifest with two channels": (edit("manifest.json", with_value("channels", 2)), CHANNELS),
    "duplicates cut off": (edit("near.npz", lambda data: data[:-30]), NO_NEAR),
    "duplicates emptied": (edit("near.npz", lambda data: b""), NO_NEAR),
    "duplicates gone": (edit("near.npz", lambda data: None), NO_NEAR),
    "duplicates beyond": (edit("near.npz", pairs((0, 14, 0, 0.1))), OTHER_NEAR),
    "duplicates below 0": (edit("near.npz", pairs((-1, 3, 0, 0.1))), OTHER_NEAR),
    "duplicates of itself": (edit("near.npz", pairs((3, 3, 0, 0.1))), OTHER_NEAR),
    "duplicates of no symmetry": (edit("near.npz", pairs((1, 2, 8, 0.1))), OTHER_NEAR),
    "duplicates too different": (edit("near.npz", pairs((1, 2, 0, 0.5))), OTHER_NEAR),
    "duplicates of NaN": (edit("near.npz", pairs((1, 2, 0, float("nan")))), OTHER_NEAR),
    "duplicates without a pair": (edit("near.npz", arrays(difference=[0.1])), NO_NEAR),
    "duplicates in words": (edit("near.npz", arrays(near=["x"])), OTHER_NEAR),
    "duplicates of a number": (edit("near.npz", arrays(near=0.1)), OTHER_NEAR),
    "manifest of another symmetry": (
        edit("manifest.json", with_value("symmetries", "some")),
        DAMAGED.format("manifest.json: symmetries: input should be 'all', 'mirror' or 'none'"),
    ),
    "originals cut off": (
        edit("originals", lambda data: data[:-9]),
        DAMAGED.format("'dog/4.png' was changed by hand"),
    ),
    "an original changed": (
        edit("originals", lambda data: b"x" + data[1:]),
        DAMAGED.format("'cat/0.png' was changed by hand"),
    ),
    "originals gone": (
        edit("originals", lambda data: None),
        DAMAGED.format("originals: No such file or directory"),
    ),
}


def use_all(workspace: Workspace, folder: Path) -> None:
    """Read everything in the directory of a dataset."""
    from rebalance_core.cli import show_dataset

    dataset = open_dataset(workspace, "kept")
    show_dataset(dataset)
    export_dataset(dataset, folder / "out")


@pytest.mark.parametrize("kind", EDITS)
def test_a_dataset_edited_by_hand_is_refused_and_can_be_removed(
    home: Path, tmp_path: Path, kind: str
) -> None:
    change, sentence = EDITS[kind]
    workspace = Workspace(home)
    use_all(workspace, tmp_path / "before")
    change(workspace.datasets / "kept")
    edited = contents(home)
    with pytest.raises(UserError) as excinfo:
        use_all(workspace, tmp_path / "after")
    assert str(excinfo.value) == sentence
    assert not (tmp_path / "after" / "out").exists()
    if "original" in kind:
        with pytest.raises(UserError) as excinfo:
            open_dataset(workspace, "kept").array(12)
        assert str(excinfo.value) == sentence
    assert contents(home) == edited
    remove_dataset(workspace, "kept")
    assert list_datasets(workspace) == []


def test_the_command_line_refuses_a_dataset_edited_by_hand_and_removes_it(
    template: Path, tmp_path: Path
) -> None:
    kinds = ["catalogue changed", "manifest cut off", "duplicates cut off", "originals gone"]

    for kind in kinds:
        home = Path(shutil.copytree(template, tmp_path / kind / "home"))
        EDITS[kind][0](home / "datasets" / "kept")
        out = ["export", "kept", tmp_path / kind / "out"] if kind == "originals gone" else None
        results = refusal(command(home, "datasets", *(out or ["show", "kept"]), "--json"))
        assert results == EDITS[kind][1]
    home = tmp_path / kinds[1] / "home"
    done = command(home, "datasets", "remove", "kept", "--yes", "--json")
    assert json.loads(done.stdout) == {"removed": "kept", "left": "training sets kept-set"}
    assert list((home / "datasets").iterdir()) == []


@pytest.mark.parametrize("data", [b"", b"cut", None])
def test_an_array_edited_by_hand_is_decoded_again(home: Path, data: bytes | None) -> None:
    dataset: Dataset = open_dataset(Workspace(home), "kept")
    path = dataset.path / "arrays" / "8-pad.npy"
    whole = path.read_bytes()
    assert np.load(path).shape == (14, 8, 8, 1)
    path.write_bytes(whole[:-1] if data is None else data)
    assert np.array_equal(dataset.array(8), np.load(io.BytesIO(whole)))
    assert path.read_bytes() == whole
