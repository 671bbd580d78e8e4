"""A damaged clustering is one sentence that names the file; the remedies it names work."""

import io
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from commands import command
from hostile import BYTES, corruptions, replace_file
from streamlit.testing.v1 import AppTest

from rebalance_core.datasets.dataset import Dataset, open_dataset
from rebalance_core.datasets.importing import import_dataset
from rebalance_core.datasets.source import ImportConfig
from rebalance_core.errors import UserError
from rebalance_core.plots.poses import elbow_plot, silhouette_plot
from rebalance_core.poses.clustering import (
    cluster_poses,
    has_clustering,
    may_have_corrections,
    move_cluster,
    open_clustering,
    recluster,
    rename_pose,
    summary,
)
from rebalance_core.poses.config import PosesConfig
from rebalance_core.poses.pictures import cluster_images
from rebalance_core.poses.records import ClusteringRecord
from rebalance_core.poses.versions import can_undo, undo_change
from rebalance_core.runs.run import MemoryRun
from rebalance_core.system.files import read_json, write_json
from rebalance_core.workspace import Workspace

ROOT = Path(__file__).resolve().parents[2]
FIELDS = (
    "config",
    "config.dataset",
    "config.k",
    "config.restarts",
    "config.seed",
    "extractor",
    "k",
    "ks",
    "ks.glioma",
    "elbow",
    "elbows",
    "elbows.glioma",
    "tried",
    "tried.0",
    "inertia",
    "inertia.glioma",
    "inertia.glioma.0",
    "silhouettes",
    "silhouettes.glioma",
    "silhouettes.glioma.1",
    "silhouette",
    "silhouette.glioma",
    "stability",
    "stability.glioma",
    "variance_kept",
    "agreement",
    "agreement.classes",
    "agreement.classes.glioma",
    "agreement.same_name",
    "corrections",
    "corrections.0",
)


@pytest.fixture(scope="module")
def clustered(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    workspace = Workspace(tmp_path_factory.mktemp("home"))
    config = ImportConfig(name="p", source="phantom", count=60, size=32)
    dataset = import_dataset(workspace, config, MemoryRun())
    cluster_poses(dataset, PosesConfig(dataset="p", k=2, restarts=2), MemoryRun())
    rename_pose(dataset, "pose 1", "axial")
    return dataset


@pytest.fixture
def restored(clustered: Dataset, workspace: Workspace) -> Dataset:
    """A copy of the clustered dataset, to be damaged."""
    shutil.copytree(clustered.path, workspace.datasets / "p", symlinks=True)
    return open_dataset(workspace, "p")


def use(dataset: Dataset) -> None:
    """Do with the clustering what pages, commands and reports do."""
    clustering = open_clustering(dataset)
    record = clustering.record
    json.dumps(summary(clustering))
    elbow_plot(record.tried, record.inertia, record.elbows, record.ks).to_json()
    silhouette_plot(record.tried, record.silhouettes, record.ks).to_json()
    for label in dataset.classes:
        cluster_images(clustering, label, 3)
    text = f"{record.variance_kept:.0%} {'; '.join(clustering.corrections)}"
    assert "\n" not in text


def check_sentence(error: UserError, path: Path, what: str) -> None:
    sentence = str(error)
    assert sentence.startswith((f"{path} is damaged (", f"{path} does not exist; ")), what
    assert sentence.endswith(
        "; go back with `poses undo p`, or cluster again with `poses cluster p "
        "--discard-corrections`."
    ), what
    assert "\n" not in sentence and len(sentence) < 1000, what


def damaged_records(path: Path) -> Iterator[tuple[str, bytes]]:
    yield from BYTES.items()
    record = read_json(path)
    for field in FIELDS:
        for what, content in corruptions(record, field):
            yield f"{field} {what}", content
    curves = record["inertia"] | {"glioma": record["inertia"]["glioma"][:-1]}
    yield "a short curve", json.dumps(record | {"inertia": curves}).encode()
    yield "a class twice", json.dumps(record | {"ks": record["ks"] | {"x": 2}}).encode()
    renamed = json.dumps(record).replace('"glioma"', '"x"')
    yield "another class", renamed.encode()
    many = dict.fromkeys(record["ks"], 10**6)
    yield "too many clusters", json.dumps(record | {"ks": many, "k": 10**6}).encode()


def test_a_damaged_record_is_one_sentence(clustered: Dataset) -> None:
    path = open_clustering(clustered).path / "clustering.json"
    original = path.read_bytes()
    cases = list(damaged_records(path))
    refused = []
    try:
        for what, content in cases:
            replace_file(path, content)
            try:
                use(clustered)
            except UserError as error:
                check_sentence(error, path, what)
                refused.append(what)
                assert may_have_corrections(clustered), what
    finally:
        replace_file(path, original)
    assert len(refused) > len(cases) / 2
    assert refused[-4:] == ["a short curve", "a class twice", "another class", "too many clusters"]


def test_an_older_record_without_newer_keys_is_read(restored: Dataset) -> None:
    path = open_clustering(restored).path / "clustering.json"
    record = read_json(path)
    for key in ("agreement", "corrections"):
        del record[key]
    del record["config"]["precision"]
    write_json(path, record | {"newer": 1, "config": record["config"] | {"newer": 1}})
    clustering = open_clustering(restored)
    assert clustering.record.agreement is None and clustering.corrections == []
    assert clustering.record.config.precision == "auto"
    assert recluster(restored, 3).record.ks == dict.fromkeys(restored.classes, 3)


def test_a_record_is_written_as_it_is_read(clustered: Dataset) -> None:
    clustering = open_clustering(clustered)
    stored = read_json(clustering.path / "clustering.json")
    assert clustering.record == ClusteringRecord.model_validate(stored)
    assert clustering.record.model_dump(mode="json") == stored


def edited(**columns: Callable[[pd.Series], object]) -> Callable[[bytes], bytes]:
    def edit(content: bytes) -> bytes:
        table = pd.read_csv(io.BytesIO(content), keep_default_na=False)
        for name, change in columns.items():
            table[name] = change(table[name])
        return table.to_csv(index=False).encode()

    return edit


TABLES: dict[str, Callable[[bytes], bytes]] = {
    **{name: lambda _, content=content: content for name, content in BYTES.items()},
    "no rows": lambda content: content.splitlines(keepends=True)[0],
    "a row less": lambda content: b"".join(content.splitlines(keepends=True)[:-1]),
    "no pose": lambda content: content.replace(b"pose,", b"", 1),
    "an open quote": lambda content: content + b'"',
    "a long cell": lambda content: content + b"x" * 10**6,
    "NULs": lambda content: content.replace(b",", b"\0"),
    "another order": edited(image=lambda c: c[::-1].to_numpy()),
    "another class": edited(**{"class": lambda c: "x"}),
    "another split": edited(split=lambda c: "test"),
    "a cluster too many": edited(cluster=lambda c: 2),
    "a negative cluster": edited(cluster=lambda c: -1),
    "half a cluster": edited(cluster=lambda c: 0.5),
    "a cluster in words": edited(cluster=lambda c: "x"),
    "a huge cluster": edited(cluster=lambda c: "9" * 5000),
    "no distance": edited(distance=lambda c: ""),
    "NaN": edited(distance=lambda c: "nan"),
    "an infinite x": edited(x=lambda c: "inf"),
    "a huge x": edited(x=lambda c: "1e999"),
    "no names": edited(pose=lambda c: ""),
    "a comma": edited(pose=lambda c: "a,b"),
    "a line break": edited(pose=lambda c: "a\nb"),
    "a long name": edited(pose=lambda c: "x" * 65),
}


@pytest.mark.parametrize("what", TABLES)
def test_damaged_assignments_are_one_sentence(restored: Dataset, what: str) -> None:
    path = open_clustering(restored).path / "assignments.csv"
    replace_file(path, TABLES[what](path.read_bytes()))
    with pytest.raises(UserError) as excinfo:
        use(restored)
    check_sentence(excinfo.value, path, what)
    with pytest.raises(UserError):
        move_cluster(restored, "glioma", 0, "other")
    undo_change(restored.path)
    assert open_clustering(restored).poses == ["pose 1", "pose 2"]


@pytest.mark.parametrize("name", ["clustering.json", "assignments.csv"])
@pytest.mark.parametrize("kind", ["missing", "folder"])
def test_a_missing_file_is_one_sentence(restored: Dataset, name: str, kind: str) -> None:
    path = open_clustering(restored).path / name
    path.unlink()
    if kind == "folder":
        path.mkdir()
    with pytest.raises(UserError) as excinfo:
        use(restored)
    check_sentence(excinfo.value, path, kind)


def header(shape: str, kind: str = "<f4") -> bytes:
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}"
    return b"\x93NUMPY\x01\x00\x76\x00" + text.encode().ljust(117) + b"\n"


POINTS: dict[str, bytes] = {
    **BYTES,
    "a zip": b"PK\x03\x04zz",
    "a pickle": b"\x80\x04abc",
    "terabytes": header("(1000000000000, 50)"),
    "negative": header("(-1, 50)"),
    "beyond integers": header(f"({10**30}, 50)"),
    "objects": header("(1, 50)", "|O"),
    "open brackets": b"\x93NUMPY\x01\x00\x76\x00" + b"(" * 117 + b"\n",
    "an image less": header("(59, 1)") + bytes(4 * 59),
    "one dimension": header("(60,)") + bytes(4 * 60),
    "integers": header("(60, 1)", "<i4") + bytes(4 * 60),
    "NaN": header("(60, 1)") + np.full(60, np.nan, "<f4").tobytes(),
}


@pytest.mark.parametrize("what", POINTS)
def test_damaged_points_are_one_sentence(restored: Dataset, what: str) -> None:
    path = open_clustering(restored).path / "points.npy"
    replace_file(path, POINTS[what])
    with pytest.raises(UserError) as excinfo:
        recluster(restored, 3, discard_corrections=True)
    check_sentence(excinfo.value, path, what)
    use(restored)  # the assignments are whole


def test_foreign_files_among_the_versions_change_nothing(restored: Dataset) -> None:
    versions = restored.path / "pose-versions"
    for name in ("notes", "²", "Thumbs.db", "1e3", "-1"):
        (versions / name).mkdir()
    assert can_undo(restored.path)
    assert rename_pose(restored, "axial", "other").path.name == "0003"
    undo_change(restored.path)
    assert open_clustering(restored).path.name == "0002"
    assert (versions / "notes").exists()


@pytest.mark.parametrize("target", ["..", "pose-versions", "pose-versions/notes", "poses", "none"])
def test_a_link_to_no_version_counts_as_no_clustering(restored: Dataset, target: str) -> None:
    (restored.path / "pose-versions" / "notes").mkdir()
    link = restored.path / "poses"
    link.unlink()
    link.symlink_to(target)
    assert not has_clustering(restored)
    with pytest.raises(UserError, match="has no poses yet; run `poses cluster p`"):
        open_clustering(restored)
    with pytest.raises(UserError, match="have no earlier version"):
        undo_change(restored.path)
    cluster_poses(restored, PosesConfig(dataset="p", k=2, restarts=2), MemoryRun())
    use(restored)


def test_commands_name_the_damage_and_both_remedies_work(
    restored: Dataset, workspace: Workspace
) -> None:
    path = open_clustering(restored).path / "clustering.json"
    replace_file(path, BYTES["deep"])
    for words in (
        ("poses", "show", "p"),
        ("poses", "rename", "p", "axial", "x"),
        ("poses", "cluster", "p", "--k", "2"),
        ("sets", "make", "s", "p", "--poses", "axial"),
    ):
        refused = command(workspace.root, *words)
        assert (refused.returncode, refused.stdout) == (2, ""), words
        assert refused.stderr.startswith(f"{path} is damaged ("), words
        assert len(refused.stderr.splitlines()) == 1, words
    undone = command(workspace.root, "poses", "undo", "p", "--json")
    assert json.loads(undone.stdout)["poses"] == ["pose 1", "pose 2"]
    replace_file(open_clustering(restored).path / "clustering.json", b"{}")
    again = command(
        workspace.root, "poses", "cluster", "p", "--k", "2", "--discard-corrections", "--json"
    )
    assert again.returncode == 0, again.stderr
    use(restored)


def test_the_page_names_the_damage_and_clusters_again(
    restored: Dataset, workspace: Workspace
) -> None:
    shutil.copytree(restored.path, workspace.datasets / "sound", symlinks=True)
    path = open_clustering(restored).path / "clustering.json"
    replace_file(path, BYTES["deep"])
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60).run()
    app.query_params["dataset"] = "p"
    app.switch_page("pages/poses.py").run()
    assert not app.exception
    (error,) = app.error
    assert error.value.startswith(f"{path} is damaged (")
    start = next(b for b in app.button if b.label == "Cluster by pose")
    assert start.disabled, "the corrections that may be lost are not confirmed"
    app.checkbox[0].check().run()
    assert not next(b for b in app.button if b.label == "Cluster by pose").disabled
    app.selectbox[0].select("sound").run()
    assert not app.exception and not app.error
    assert "pose 2" in next(box.options for box in app.selectbox if "rename" in box.label)
