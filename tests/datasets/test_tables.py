"""A CSV of images: columns, separators and splits; errors are reported by line."""

from pathlib import Path

import pytest
from sources import BARE, folders, import_source, leftovers, png, unpack

from rebalance_core.datasets.dataset import Dataset
from rebalance_core.datasets.tables import table_files
from rebalance_core.errors import UserError
from rebalance_core.workspace import Workspace

CATS = [f"cat/{k}.png,cat" for k in range(3)]
OUTSIDE = "is outside the CSV's folder; put the CSV next to its images."
LONG = "n" * 300
EMPTY = "path or label is empty; fill it in."
RENAME = "rename one to 'path', or choose it with --column"
RENAME_LABEL = "rename one to 'label', or choose it with --column"
LINES = [*CATS, "dog/0.png,dog", "dog/1.png,dog"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three cats and two dogs, next to the CSVs of the tests."""
    return unpack(tmp_path / "pets", folders(BARE))


def written(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "table.csv"
    path.write_bytes(text.encode(encoding))
    return path


def table(folder: Path, headings: str, lines: list[str]) -> Path:
    return written(folder, "\n".join([headings, *lines]) + "\n")


def rows(dataset: Dataset) -> list[tuple[str, ...]]:
    columns = (dataset.catalogue[c] for c in ("image", "class", "split", "group"))
    return list(zip(*columns, strict=True))


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as excinfo:
        table_files(path)
    assert "\n" not in str(excinfo.value)
    return str(excinfo.value)


@pytest.mark.parametrize("path", ["path", "file", "filename", "image", " File ", "PATH"])
@pytest.mark.parametrize("label", ["label", "class", "Label"])
def test_path_and_label_columns_have_synonyms(folder: Path, path: str, label: str) -> None:
    files = table_files(table(folder, f"number,{path},{label}", [f"7,{line}" for line in LINES]))
    assert [(f.image, f.label, f.split, f.group) for f in files] == [
        ("cat/0.png", "cat", "train", ""),
        ("cat/1.png", "cat", "train", ""),
        ("cat/2.png", "cat", "train", ""),
        ("dog/0.png", "dog", "train", ""),
        ("dog/1.png", "dog", "train", ""),
    ]
    assert files[0].read() == png(100)
    assert files[0].size == len(png(100))


@pytest.mark.parametrize("group", ["group", "patient", "patient_id"])
def test_splits_and_groups_are_kept(workspace: Workspace, folder: Path, group: str) -> None:
    splits = ["Training", "val", "TEST", "", "testing"]
    lines = [
        f"{line},{split},p{k // 2}"
        for k, (line, split) in enumerate(zip(LINES, splits, strict=True))
    ]
    dataset = import_source(workspace, table(folder, f"path,label,split,{group}", lines))
    assert rows(dataset) == [
        ("cat/0.png", "cat", "train", "p0"),
        ("cat/1.png", "cat", "validation", "p0"),
        ("cat/2.png", "cat", "test", "p1"),
        ("dog/0.png", "dog", "train", "p1"),
        ("dog/1.png", "dog", "test", "p2"),
    ]


def test_labels_come_from_the_table_and_not_the_folder(workspace: Workspace, folder: Path) -> None:
    lines = ["dog/0.png,NA", "dog/1.png,007", "cat/0.png,NA", "./cat/../cat/1.png, 007 "]
    dataset = import_source(workspace, table(folder, "path,label", lines))
    assert rows(dataset) == [
        ("cat/0.png", "NA", "train", ""),
        ("cat/1.png", "007", "train", ""),
        ("dog/0.png", "NA", "train", ""),
        ("dog/1.png", "007", "train", ""),
    ]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_csv_dialects_of_spreadsheets_are_read(
    folder: Path, separator: str, encoding: str, end: str
) -> None:
    lines = ["path,label,split of old", "", *(f"{line},x" for line in LINES), "", ",,", ""]
    text = end.join(lines).replace(",", separator)
    files = table_files(written(folder, text, encoding))
    assert [(f.image, f.label) for f in files] == [tuple(line.split(",")) for line in LINES]


def test_quoted_commas_and_quotes_are_part_of_a_name(workspace: Workspace, tmp_path: Path) -> None:
    names = ['a, "b".png', "c;d.png", "e\nf.png", "g\th.png"]
    folder = unpack(tmp_path, {name: png(k) for k, name in enumerate(names)})
    lines = ['"a, ""b"".png","one, two"', 'c;d.png,"one, two"', '"e\nf.png",x', '"g\th.png",x']
    dataset = import_source(workspace, table(folder, "path,label", lines))
    assert list(dataset.catalogue["image"]) == names
    assert dataset.classes == ["one, two", "x"]
    assert [dataset.read_original(name) for name in names] == [png(k) for k in range(4)]


def test_missing_and_bad_files_are_listed_and_the_rest_imported(
    workspace: Workspace, folder: Path
) -> None:
    lines = [*LINES, "cat/9.png,cat", "cat,dog", "table.csv,dog", f"{LONG},dog"]
    dataset = import_source(workspace, table(folder, "path,label", lines))
    assert dataset.counts() == {"train": BARE}
    assert [file.model_dump() for file in dataset.manifest.unreadable] == [
        {"image": "cat", "reason": "cannot be read (Is a directory)"},
        {"image": "cat/9.png", "reason": "cannot be read (No such file or directory)"},
        {"image": LONG, "reason": "cannot be read (File name too long)"},
        {"image": "table.csv", "reason": "cannot identify image file"},
    ]


@pytest.mark.parametrize(
    ("headings", "lines", "sentence"),
    [
        ("path,label", ["../a.png,cat"], f"line 2: '../a.png' {OUTSIDE}"),
        ("path,label", ["..\\a.png,cat"], f"line 2: '..\\\\a.png' {OUTSIDE}"),
        ("path,label", [*CATS, "/etc/passwd,cat"], f"line 5: '/etc/passwd' {OUTSIDE}"),
        ("path,label", ["link.png,cat"], f"line 2: 'link.png' {OUTSIDE}"),
        (
            "path,label",
            ["a\0b.png,cat"],
            "line 2: 'a\\x00b.png' is not a valid file name; correct it.",
        ),
        (
            "path,label",
            [*CATS, "cat/./1.png,dog"],
            "line 5: 'cat/1.png' is listed twice; keep one line.",
        ),
        ("path,label", ["", *CATS, "dog/0.png,"], f"line 6: {EMPTY}"),
        ("path,label", [*CATS, "dog/0.png"], f"line 5: {EMPTY}"),
        ("path,label", [",cat"], f"line 2: {EMPTY}"),
        ("path,label", ['"cat/0.png",cat', '"cat/\n1.png",""'], f"line 4: {EMPTY}"),
        (
            "path,label,split",
            ["cat/0.png,cat,trian"],
            "line 2: split 'trian' is not valid; write train, validation or test.",
        ),
    ],
)
def test_errors_are_reported_by_line(
    folder: Path, tmp_path: Path, headings: str, lines: list[str], sentence: str
) -> None:
    (tmp_path / "a.png").write_bytes(png(1))
    (folder / "link.png").symlink_to(tmp_path / "a.png")
    path = table(folder, headings, lines)
    assert refusal(path) == f"{path}, {sentence}"


@pytest.mark.parametrize(
    ("headings", "lines", "sentence"),
    [
        ("path,label", [], "lists no images; it needs one line per image."),
        ("number,label", CATS, f"has no column 'path', only number, label; {RENAME} path=NAME."),
        ("path;kind", [], f"has no column 'label', only path, kind; {RENAME_LABEL} label=NAME."),
        ("path", ["cat/0.png"], f"has no column 'label', only path; {RENAME_LABEL} label=NAME."),
    ],
)
def test_missing_columns_and_lines_are_reported(
    folder: Path, headings: str, lines: list[str], sentence: str
) -> None:
    path = table(folder, headings, lines)
    assert refusal(path) == f"{path} {sentence}"


def test_other_files_are_refused(workspace: Workspace, folder: Path) -> None:
    path = written(folder, "")
    assert refusal(path) == f"{path} has no column 'path', only nothing; {RENAME} path=NAME."
    for text, encoding in (("path,label\nGröße.png,cat\n", "latin-1"), ("path,label\n", "utf-16")):
        path = written(folder, text, encoding)
        assert refusal(path).startswith(f"{path} is not readable as a CSV ('utf-8' codec can't ")
        assert refusal(path).endswith("); save it as UTF-8 with a header line.")
    path = written(folder, f'path,label\n"{"x" * 200_000}",cat\n')
    assert refusal(path) == (
        f"{path} is not readable as a CSV (field larger than field limit (131072)); save it as "
        "UTF-8 with a header line."
    )
    with pytest.raises(UserError):
        import_source(workspace, path)
    assert leftovers(workspace) == []
