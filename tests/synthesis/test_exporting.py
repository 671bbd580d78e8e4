"""Exported synthetic sets: the same files, all or none."""

import zipfile
from pathlib import Path

import pytest
from commands import command
from sets import synthetic_set

from rebalance_core.comparison.rebalanced import zip_rebalanced
from rebalance_core.datasets.dataset import Dataset
from rebalance_core.synthesis.exporting import export_synthetic, zip_synthetic
from rebalance_core.synthesis.synthetic_set import remove_synthetic
from rebalance_core.workspace import Workspace


@pytest.fixture
def name(workspace: Workspace, phantom: Dataset) -> str:
    return synthetic_set(workspace, "ddpm", "phantom", count=3)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_folder_and_zip_hold_the_set_with_its_provenance(
    workspace: Workspace, name: str, tmp_path: Path
) -> None:
    expected = contents(workspace.synthetic / name)
    assert len(expected) == 10
    assert contents(export_synthetic(workspace, name, tmp_path / "out")) == expected
    packed = export_synthetic(workspace, name, tmp_path / "out.zip")
    with zipfile.ZipFile(packed) as archive:
        assert {n: archive.read(n) for n in archive.namelist()} == {
            f"{name}/{file}": data for file, data in expected.items()
        }
    assert zip_synthetic(workspace, name).read_bytes() == packed.read_bytes(), "the same bytes"
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith("out")) == [
        "out",
        "out.zip",
    ]


def test_a_rebalanced_set_of_the_same_name_does_not_replace_the_zip(
    workspace: Workspace, name: str
) -> None:
    exported = zip_synthetic(workspace, name)
    before = exported.read_bytes()
    other = zip_rebalanced(workspace, "phantom", "ddpm")
    assert other.name == exported.name
    assert exported.read_bytes() == before != other.read_bytes()
    remove_synthetic(workspace, name)
    assert (exported.exists(), other.exists()) == (False, True)


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ("there", "already exists; choose another name"),
        ("home/synthetic/inside", "is inside the workspace's synthetic sets"),
        ("nowhere/out", "is not a folder; choose a target in an existing folder"),
    ],
)
def test_other_targets_are_refused(
    target: str, sentence: str, workspace: Workspace, name: str, tmp_path: Path
) -> None:
    (tmp_path / "there").mkdir()
    before = sorted(tmp_path.rglob("*"))
    done = command(workspace.root, "synthetic", "export", name, tmp_path / target)
    assert (done.returncode, sentence in done.stderr) == (2, True)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("bad", ["../runs", "nothing", "."])
def test_unknown_sets_are_refused(bad: str, workspace: Workspace, tmp_path: Path) -> None:
    done = command(workspace.root, "synthetic", "export", bad, tmp_path / "out")
    assert (done.returncode, f"no synthetic set {bad!r}" in done.stderr) == (2, True)
