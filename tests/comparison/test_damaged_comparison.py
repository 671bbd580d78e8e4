"""Every field of a comparison's records, edited by hand: read as valid, or one sentence."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hostile import BYTES, corruptions, replace_file
from sets import synthetic_set
from test_study import CLASSIFIER

from rebalance_core.comparison.config import CompareConfig
from rebalance_core.comparison.job import best_classifier, compare_job
from rebalance_core.comparison.records import (
    Results,
    read_cells,
    read_kept_classifier,
    read_planned_cells,
    read_stored_results,
    read_synthetic_names,
)
from rebalance_core.comparison.table import table
from rebalance_core.datasets.importing import import_dataset
from rebalance_core.datasets.source import ImportConfig
from rebalance_core.errors import UserError
from rebalance_core.runs.directory import RunDirectory, create_run
from rebalance_core.runs.run import MemoryRun
from rebalance_core.system.files import read_json
from rebalance_core.workspace import Workspace

CONFIG: dict[str, Any] = {
    "set": "p",
    "arms": ("none", "oversample", "ddpm"),
    "amounts": "5",
    "schedules": ("always",),
    "seeds": (0, 1, 2),
    "classifier": {**CLASSIFIER, "network": "nets:tiny", "epochs": 2},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished comparison of three arms over three seeds."""
    workspace = Workspace(tmp_path_factory.mktemp("home"))
    import_dataset(
        workspace, ImportConfig(name="p", source="phantom", count=120, size=16), MemoryRun()
    )
    synthetic_set(workspace, "ddpm", "p", count=5)
    config = CompareConfig.from_preset("quick", **CONFIG)
    path = create_run(workspace, "compare", config.model_dump(mode="json"), name="compare")
    compare_job(workspace, RunDirectory(path))
    return path


def fields(value: Any, prefix: str = "") -> Iterator[str]:
    """Yield every field of a record as `a.b.0`; of a list, the first entry stands for all."""
    if isinstance(value, dict):
        entries = list(value.items())
    elif isinstance(value, list):
        entries = [(str(k), entry) for k, entry in enumerate(value[:1])]
    else:
        return
    for key, entry in entries:
        yield f"{prefix}{key}"
        yield from fields(entry, f"{prefix}{key}.")


def read_everything(run: Path) -> None:
    """Read the results and format their table, as the page and the report do."""
    results = read_stored_results(run / "result" / "results.json")
    if isinstance(results, Results):
        columns, lines = table(results.results)
        for line in lines:
            for column, value in zip(columns, line, strict=True):
                column.format(value)


def kept_classifier(run: Path) -> Path:
    folder = best_classifier(run)
    assert folder is not None
    return folder


RECORDS: dict[str, tuple[Callable[[Path], Path], Callable[[Path], object]]] = {
    "results": (lambda run: run / "result" / "results.json", read_everything),
    "cell": (lambda run: next((run / "result" / "cells").glob("*.json")), read_cells),
    "kept classifier": (
        lambda run: kept_classifier(run) / "cell.json",
        lambda run: [read_kept_classifier(f) for f in (run / "result" / "classifiers").iterdir()],
    ),
    "synthetic": (lambda run: run / "result" / "synthetic.json", read_synthetic_names),
}


@pytest.mark.parametrize("kind", RECORDS)
def test_every_field_edited_by_hand_is_read_or_told_in_one_sentence(
    run: Path, tmp_path: Path, kind: str
) -> None:
    copy = Path(shutil.copytree(run, tmp_path / run.name))
    find, read = RECORDS[kind]
    path = find(copy)
    record = read_json(path)
    read(copy)  # valid as it was written
    refused = 0
    for field in fields(record):
        for name, content in corruptions(record, field):
            replace_file(path, content)
            try:
                read(copy)
            except UserError as error:
                refused += 1
                assert str(path) in str(error), (field, name)
                assert "\n" not in str(error) and len(str(error)) < 600, (field, name)
    assert refused > 10 * len(list(fields(record)))
    for name, content in BYTES.items():
        replace_file(path, content)
        with pytest.raises(UserError, match=path.name):
            read(copy)
            pytest.fail(name)


def test_a_planned_cell_edited_by_hand_is_one_sentence(run: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(run, tmp_path / run.name))
    path = copy / "result" / "cells.json"
    record = {"cells": read_json(path)}
    for field in fields(record["cells"], "cells."):
        for name, content in corruptions(record, field):
            replace_file(path, content.removeprefix(b'{"cells": ').removesuffix(b"}"))
            try:
                read_planned_cells(copy)
                read_cells(copy)
            except UserError as error:
                assert str(path.parent) in str(error), (field, name)


def test_a_missing_record_of_the_chosen_sets_is_named(run: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(run, tmp_path / run.name))
    (copy / "result" / "synthetic.json").unlink()
    with pytest.raises(UserError, match=r"synthetic\.json does not exist; resume the comparison"):
        read_synthetic_names(copy)
