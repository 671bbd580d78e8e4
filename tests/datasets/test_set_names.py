"""Of two training sets made under one name at once, one is refused; none is replaced."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from rebalance_core.datasets.importing import import_dataset
from rebalance_core.datasets.source import ImportConfig
from rebalance_core.errors import UserError
from rebalance_core.runs.run import MemoryRun
from rebalance_core.training_sets import resolve
from rebalance_core.training_sets.config import SetConfig
from rebalance_core.training_sets.resolve import TrainingSet, make_set, open_set, resolve_set
from rebalance_core.workspace import Workspace


def test_of_two_sets_made_at_once_the_second_is_refused(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = ImportConfig(name="p", source="phantom", count=60, size=32)
    import_dataset(workspace, config, MemoryRun())
    both_checked = Barrier(2)

    def resolve_late(*args: object) -> TrainingSet:
        both_checked.wait(30)  # both have found the name free
        return resolve_set(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(resolve, "resolve_set", resolve_late)

    def make(skew: str) -> TrainingSet | str:
        try:
            return make_set(workspace, "s", SetConfig(dataset="p", skew=skew))
        except UserError as error:
            return str(error)

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(make, ("step:2", "step:4")))
    (made,) = (r for r in results if isinstance(r, TrainingSet))
    (refusal,) = (r for r in results if isinstance(r, str))
    assert refusal == "Another process created 's' in the meantime; choose another name."
    assert open_set(workspace, "s") == made
