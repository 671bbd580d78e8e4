"""Shared fixtures: an empty workspace, a small phantom, isolation of `__main__`."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rebalance_core.datasets.dataset import Dataset
from rebalance_core.datasets.importing import import_dataset
from rebalance_core.datasets.source import ImportConfig
from rebalance_core.generators.spec import generator_specs
from rebalance_core.runs.run import MemoryRun
from rebalance_core.workspace import HOME_VARIABLE, Workspace


@pytest.fixture(autouse=True)
def own_main() -> Iterator[None]:
    """Restore `__main__`, which Streamlit's AppTest replaces by its script: spawned processes
    would run that."""
    main = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = main


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """An empty workspace, also for the command line and the app."""
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    return Workspace.from_environment()


@pytest.fixture
def phantom(workspace: Workspace) -> Dataset:
    """A phantom of 120 images: 90 training (11/11/57/11), 30 test."""
    config = ImportConfig(name="phantom", source="phantom", count=120, size=32)
    return import_dataset(workspace, config, MemoryRun())


@pytest.fixture
def smote() -> str:
    """The generator that tests take where they need one that trains in no time."""
    if "smote" not in generator_specs():
        pytest.skip("there is no generator smote")
    return "smote"


SLOW = (
    "test_bad_input",
    "test_killed_import",
    "test_chaos",
    "test_bagan_killed",
    "test_grid_killed",
    "test_study_job",
    "test_api_example",
    "test_pages",
    "test_study",
    "test_phantom_band",
    "browser",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run fast tests first and browser tests last, otherwise in order."""
    items.sort(key=lambda item: next((n for n, s in enumerate(SLOW, 1) if s in item.nodeid), 0))
