"""The guide's example of the API runs as it stands."""

import re
from pathlib import Path
from typing import Any

import pytest

from rebalance_core.runs.executor import list_runs
from rebalance_core.workspace import Workspace

GUIDE = Path(__file__).parents[1] / "docs/guide.md"


@pytest.mark.usefixtures("smote")
def test_the_guides_example_runs(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    section = GUIDE.read_text().split("\n## From Python\n", 1)[1]
    (example,) = re.findall(r"```python\n(.*?)```", section.split("\n## ", 1)[0], re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(example, str(GUIDE), "exec"), names)
    runs = [(view.kind, view.name, view.status) for view in list_runs(workspace)][::-1]
    assert runs == [
        ("import", "import heads", "done"),
        ("train", "smote on rare", "done"),
        ("sample", "sample blends", "done"),
        ("compare", "compare on rare", "done"),
    ]
    assert capsys.readouterr().out.startswith(
        "With 1 seed (skew and generator fixed) nothing can be tested"
    )
