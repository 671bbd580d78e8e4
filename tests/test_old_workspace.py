"""A workspace of the version before opens: lists, commands, lineage and every page.

`workspace-0.1.tar.xz` was written by commit d2b6a4f: a phantom of 120 images, its poses, a
training set, a SMOTE and a BAGAN-GP, images, a score, a filter, an interpolation, a comparison of
three seeds and a classified image. Weights, caches and the report were removed for their size.
"""

import json
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parent / "pages"))
from commands import command
from opening import opened

from rebalance_core.datasets.dataset import export_dataset, open_dataset
from rebalance_core.poses.clustering import open_clustering
from rebalance_core.removal import run_dependents
from rebalance_core.runs.executor import list_runs
from rebalance_core.runs.lineage import parents
from rebalance_core.synthesis.synthetic_set import open_all_synthetic
from rebalance_core.training_sets.resolve import open_set, open_sets
from rebalance_core.workspace import Workspace

SHOWN = {
    "home": "phantom",
    "data": "phantom",
    "poses": "Silhouette",
    "generators": "Last step **3**",
    "samples": "4 flagged as near-copies",
    "comparison": "seeds",
    "runs": "done",
    "settings": "environment",
}

pytestmark = pytest.mark.usefixtures("smote")


@pytest.fixture
def old(workspace: Workspace) -> Workspace:
    with tarfile.open(Path(__file__).parent / "workspace-0.1.tar.xz") as archive:
        archive.extractall(workspace.root, filter="data")
    return workspace


def printed(workspace: Workspace, *words: str) -> dict[str, Any]:
    done = command(workspace.root, *words, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    value: dict[str, Any] = json.loads(done.stdout)
    return value


def test_nothing_in_it_counts_as_damaged(old: Workspace) -> None:
    assert {view.status for view in list_runs(old)} == {"done"}
    sets, damaged_sets = open_sets(old)
    synthetic, damaged_synthetic = open_all_synthetic(old)
    assert ([s.name for s in sets], damaged_sets) == (["s"], {})
    assert (sorted(s.name for s in synthetic), damaged_synthetic) == (["kept", "s-smote"], {})
    assert open_set(old, "s").counts == {
        "glioma": 9,
        "meningioma": 9,
        "notumor": 48,
        "pituitary": 9,
    }


def test_its_lineage_now_has_the_interpolation(old: Workspace) -> None:
    views = list_runs(old)
    names = {view.id: view.name for view in views}
    named = {names[k]: sorted(names[p] for p in v) for k, v in parents(old, views).items()}
    assert named == {
        "import phantom": [],
        "poses of phantom": ["import phantom"],
        "smote on s": ["import phantom"],
        "bagan-gp on s": ["import phantom"],
        "sample s-smote": ["smote on s"],
        "glioma to pituitary": ["bagan-gp on s"],  # without a parent in that version
        "score s-smote": ["sample s-smote"],
        "filter s-smote to kept": ["sample s-smote"],
        "compare on s": ["import phantom", "sample s-smote"],
        "classify by compare on s": ["compare on s"],
    }
    trained = next(view for view in views if view.name == "bagan-gp on s")
    assert [run.kind for run in run_dependents(old, trained.id).runs] == ["interpolate"]


def test_commands_show_all_of_it(old: Workspace, tmp_path: Path) -> None:
    assert set(printed(old, "datasets", "list")["datasets"]) == {"phantom"}
    assert printed(old, "datasets", "show", "phantom")["channels"] == 1
    assert len(open_clustering(open_dataset(old, "phantom")).assignments) == 120
    for view in list_runs(old):
        assert printed(old, "runs", "show", view.id)["status"] == "done"
    (compared,) = (view for view in list_runs(old) if view.kind == "compare")
    result = printed(old, "runs", "show", compared.id)["result"]
    assert [row["arm"] for row in result["results"]] == ["none", "smote"]
    assert result["results"][0]["macro_f1"] == pytest.approx(0.0945945978)
    export_dataset(open_dataset(old, "phantom"), tmp_path / "exported")
    assert len(list((tmp_path / "exported").rglob("*.png"))) == 120


@pytest.mark.parametrize("page", SHOWN)
def test_every_page_renders_it(old: Workspace, page: str) -> None:
    app = opened(page)
    assert SHOWN[page] in "\n".join(str(each.value) for each in [*app.markdown, *app.caption])
    assert [e.value for e in app.exception] == []
    assert [e.value for e in app.error] == []
