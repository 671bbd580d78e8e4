"""Atomic writes, and JSON from untrusted files."""

import errno
import json
import os
import re
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from rebalance_core.errors import UserError
from rebalance_core.system.files import (
    atomic_folder,
    create_json,
    read_json,
    remove_folder,
    remove_stale_temporaries,
    replace_folder,
    temp_path,
    write_bytes,
    write_json,
)

ROOT = Path(__file__).resolve().parents[1]
SIZE = 1 << 20
WRITE_FOREVER = """
import sys
from pathlib import Path
from rebalance_core.system.files import write_bytes
while True:
    for letter in (b"a", b"b"):
        write_bytes(Path(sys.argv[1]), letter * int(sys.argv[2]))
"""


@contextmanager
def full_disk(free: int) -> Iterator[None]:
    """Limit files of this process to `free` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (free, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_write_that_fails_midway_leaves_the_old_content_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    write_bytes(path, b"old")
    with full_disk(free=4096), pytest.raises(OSError, match="File too large"):
        write_bytes(path, b"n" * 100_000)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_value_that_is_not_json_leaves_the_old_content(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    write_json(path, {"step": 1})
    with pytest.raises(TypeError):
        write_json(path, {"step": object()})
    assert read_json(path) == {"step": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_reader_sees_only_complete_contents_of_a_killed_writer(tmp_path: Path) -> None:
    path = tmp_path / "data.bin"
    writer = subprocess.Popen([sys.executable, "-c", WRITE_FOREVER, str(path), str(SIZE)], cwd=ROOT)
    try:
        deadline = time.monotonic() + 30
        while not path.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        whole = {b"a" * SIZE, b"b" * SIZE}
        seen = {path.read_bytes() for _ in range(200)}
    finally:
        writer.kill()
        writer.wait()
    assert seen | {path.read_bytes()} <= whole


def test_a_new_file_has_the_permissions_of_the_umask(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    write_bytes(tmp_path / "ours", b"")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_parent_folders_are_created(tmp_path: Path) -> None:
    write_json(tmp_path / "a" / "b" / "c.json", {"name": "Größe"})
    assert (tmp_path / "a" / "b" / "c.json").read_bytes() == '{\n "name": "Größe"\n}\n'.encode()


def test_a_missing_or_broken_file_is_one_sentence(tmp_path: Path) -> None:
    missing, broken, binary = (tmp_path / name for name in ("missing", "broken", "binary"))
    broken.write_text('{"status": "runn')
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError) as excinfo:
        read_json(missing)
    assert str(excinfo.value) == f"{missing} does not exist."
    for path in (broken, binary):
        with pytest.raises(UserError) as excinfo:
            read_json(path)
        assert str(excinfo.value).startswith(f"{path} is not readable as JSON (")
        assert str(excinfo.value).endswith("); restore or remove it.")
        assert "\n" not in str(excinfo.value)


@pytest.mark.parametrize(
    "data",
    [
        "[" * 200_000 + "]" * 200_000,
        '{"a": ' + "[" * 150 + "]" * 150 + "}",
        "9" * 5000,
        '["\\ud800"]',
        "[1] x",
    ],
    ids=["deep", "rather deep", "huge integer", "half a character", "more than one value"],
)
def test_hostile_json_is_one_sentence(tmp_path: Path, data: str) -> None:
    path = tmp_path / "hostile"
    path.write_text(data)
    with pytest.raises(UserError) as excinfo:
        read_json(path)
    assert str(excinfo.value).startswith(f"{path} is not readable as JSON (")
    assert "\n" not in str(excinfo.value)


def test_an_unreadable_file_is_one_sentence(tmp_path: Path) -> None:
    circle = tmp_path / "circle"
    circle.symlink_to(circle)
    for path in (tmp_path, tmp_path / "circle", tmp_path / ("x" * 300)):
        with pytest.raises(UserError, match=r" cannot be read \(.*\); restore or remove it\.$"):
            read_json(path)


def test_json_within_the_depth_limit_is_read(tmp_path: Path) -> None:
    path = tmp_path / "whole"
    path.write_text(json.dumps([{"a": [[["\ud83d\ude00"]]]}] * 200))
    assert read_json(path)[0] == {"a": [[["😀"]]]}


def test_a_folder_appears_complete_and_readable(tmp_path: Path) -> None:
    target = tmp_path / "sets" / "made"
    with atomic_folder(target) as temporary:
        (temporary / "a.txt").write_text("a")
        assert not target.exists()
    assert (target / "a.txt").read_text() == "a"
    assert list(target.parent.iterdir()) == [target]
    assert target.stat().st_mode & 0o777 == 0o755


def test_an_exception_leaves_no_folder_behind(tmp_path: Path) -> None:
    with (
        pytest.raises(RuntimeError, match="halfway"),
        atomic_folder(tmp_path / "made") as temporary,
    ):
        (temporary / "a.txt").write_text("a")
        raise RuntimeError("halfway")
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_refused_and_unchanged(tmp_path: Path) -> None:
    target = tmp_path / "made"
    target.mkdir()
    (target / "old.txt").write_text("old")
    with pytest.raises(UserError) as excinfo, atomic_folder(target):
        raise AssertionError("must not begin")
    assert str(excinfo.value) == f"made already exists in {tmp_path}; choose another name."
    assert [p.name for p in tmp_path.rglob("*")] == ["made", "old.txt"]


def test_of_two_writers_of_one_folder_one_wins(tmp_path: Path) -> None:
    target = tmp_path / "made"
    with pytest.raises(UserError) as excinfo, atomic_folder(target) as late:
        (late / "late.txt").write_text("late")
        with atomic_folder(target) as early:
            (early / "early.txt").write_text("early")
    assert str(excinfo.value) == (
        "Another process created made in the meantime; choose another name."
    )
    assert [p.name for p in tmp_path.rglob("*")] == ["made", "early.txt"]


@pytest.mark.parametrize("there", [False, True])
def test_a_folder_is_replaced_atomically(tmp_path: Path, there: bool) -> None:
    target, temporary = tmp_path / "poses", tmp_path / ".poses.new"
    if there:
        target.mkdir()
        (target / "old.txt").write_text("old")
    temporary.mkdir()
    (temporary / "new.txt").write_text("new")
    replace_folder(temporary, target)
    assert [os.fspath(p.relative_to(tmp_path)) for p in sorted(tmp_path.rglob("*"))] == [
        "poses",
        "poses/new.txt",
    ]


FILL_AND_WAIT = """
import sys, time
from pathlib import Path
from rebalance_core.system.files import atomic_folder
with atomic_folder(Path(sys.argv[1])) as aside:
    (aside / "half.txt").write_text("half")
    print(aside.name, flush=True)
    time.sleep(600)
"""


def test_temporaries_of_a_killed_process_are_removed_and_those_of_a_live_one_kept(
    tmp_path: Path,
) -> None:
    unrelated = [
        ".pets.elsewhere-1-1-abcd",
        ".hidden",
        ".pets.notes",
        ".device.lock",
        "pets.x-1-1-abcd",
    ]
    for name in unrelated:
        (tmp_path / name).mkdir()
    command = [sys.executable, "-c", FILL_AND_WAIT]
    fillers = [
        subprocess.Popen([*command, str(tmp_path / name)], cwd=ROOT, stdout=subprocess.PIPE)
        for name in ("dead", "live")
    ]
    try:
        temporaries = [process.stdout.readline().decode().strip() for process in fillers]
        fillers[0].kill()
        fillers[0].wait()
        assert sorted(p.name for p in tmp_path.iterdir()) == sorted([*unrelated, *temporaries])
        remove_stale_temporaries(tmp_path)
        assert sorted(p.name for p in tmp_path.iterdir()) == sorted([*unrelated, temporaries[1]])
        assert (tmp_path / temporaries[1] / "half.txt").read_text() == "half"
        # The pid is alive, but belongs to another process.
        stale = re.sub(r"-\d+-\w+-", f"-{os.getpid()}-1-", temporaries[1])
        (tmp_path / stale).mkdir()
        remove_stale_temporaries(tmp_path)
        assert not (tmp_path / stale).exists()
    finally:
        for process in fillers:
            process.kill()
            process.wait()
    with atomic_folder(tmp_path / "next"):
        assert not (tmp_path / temporaries[1]).exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([*unrelated, "next"])


CLEAN_AFTER_A_STEP_OF_THE_CLOCK = """
import sys
from pathlib import Path
import psutil
original = psutil.Process.create_time
psutil.Process.create_time = lambda process: original(process) + 3600
from rebalance_core.system.files import remove_stale_temporaries
remove_stale_temporaries(Path(sys.argv[1]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a start without the clock")
def test_setting_the_clock_leaves_the_files_of_a_live_process(tmp_path: Path) -> None:
    """It moves the start times of all processes, as other processes see them."""
    with atomic_folder(tmp_path / "made") as temporary:
        (temporary / "half.txt").write_text("half")
        command = [sys.executable, "-c", CLEAN_AFTER_A_STEP_OF_THE_CLOCK, str(tmp_path)]
        subprocess.run(command, cwd=ROOT, check=True)
        assert (temporary / "half.txt").read_text() == "half"
    assert [p.name for p in tmp_path.iterdir()] == ["made"]


def test_temporaries_of_earlier_versions_are_told_by_their_start_time(tmp_path: Path) -> None:
    mine = temp_path(tmp_path / "pets").name
    started = psutil.Process().create_time()
    kept = re.sub(r"-\d+-\w+-", f"-{os.getpid()}-{started:.0f}-", mine)
    stale = re.sub(r"-\d+-\w+-", f"-{os.getpid()}-{started - 5:.0f}-", mine)
    for name in (kept, stale):
        (tmp_path / name).touch()
    remove_stale_temporaries(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == [kept]


def test_a_folder_is_removed(tmp_path: Path) -> None:
    write_bytes(tmp_path / "pets" / "a" / "b.bin", b"x")
    remove_folder(tmp_path / "pets")
    assert list(tmp_path.iterdir()) == []


def test_of_many_writers_of_a_new_file_exactly_one_succeeds(tmp_path: Path) -> None:
    path, barrier = tmp_path / "sets" / "s.json", threading.Barrier(16)

    def create(number: int) -> bool:
        barrier.wait()
        try:
            create_json(path, {"number": number})
        except FileExistsError:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        created = list(pool.map(create, range(16)))
    assert created.count(True) == 1
    assert read_json(path) == {"number": created.index(True)}
    assert [p.name for p in path.parent.iterdir()] == ["s.json"]


def test_a_new_file_is_created_without_hard_links_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    create_json(tmp_path / "s.json", {"a": 1})
    with pytest.raises(FileExistsError):
        create_json(tmp_path / "s.json", {"a": 2})
    assert read_json(tmp_path / "s.json") == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["s.json"]
