"""The house: who may import whom, and what stays out of the way to the first page."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from rebalance_core.datasets.dataset import Dataset
from rebalance_core.workspace import Workspace

ROOT = Path(__file__).resolve().parents[1]
MAY_IMPORT = {
    "app": {"pages"},
    "pages": {"pages", "rebalance_core"},
    "rebalance_core": {"rebalance_core", "models"},
    "models": {"models"},
}
FOREIGN = {"streamlit": {"app", "pages"}}  # who may import it
HEAVY = ("torch", "torchvision", "diffusers", "accelerate")

DRAW_FIRST_PAGE = """
import json, sys
from streamlit.testing.v1 import AppTest
app = AppTest.from_file(sys.argv[1], default_timeout=60).run()
print(json.dumps({
    "exceptions": [e.message for e in app.exception],
    "errors": [e.value for e in app.error],
    "titles": [t.value for t in app.title],
    "buttons": [b.label for b in app.button],
    "markdown": [m.value for m in app.markdown],
    "heavy": [m for m in sys.argv[2:] if m in sys.modules],
}))
"""


def modules() -> list[Path]:
    folders = (ROOT / name for name in MAY_IMPORT if name != "app")
    return [ROOT / "app.py", *(path for folder in folders for path in sorted(folder.rglob("*.py")))]


def imported(path: Path) -> set[str]:
    """First names of everything that the file imports, at its top or inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports relatively"
            found.add(str(node.module).partition(".")[0])
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way(path: Path) -> None:
    part = path.relative_to(ROOT).parts[0].removesuffix(".py")
    names = imported(path)
    assert names & set(MAY_IMPORT) <= MAY_IMPORT[part]
    assert not {name for name in names & set(FOREIGN) if part not in FOREIGN[name]}


def test_every_part_of_the_house_is_looked_at() -> None:
    parts = {path.relative_to(ROOT).parts[0].removesuffix(".py") for path in modules()}
    assert parts == set(MAY_IMPORT)


def first_page() -> dict[str, list[str]]:
    done = subprocess.run(
        [sys.executable, "-c", DRAW_FIRST_PAGE, str(ROOT / "app.py"), *HEAVY],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told: dict[str, list[str]] = json.loads(done.stdout.splitlines()[-1])
    return told


def test_the_first_page_draws_without_torch_in_an_empty_workspace(workspace: Workspace) -> None:
    told = first_page()
    assert (told["exceptions"], told["errors"], told["heavy"]) == ([], [], [])
    assert told["titles"] == ["Rebalance Studio"]
    assert told["buttons"] == ["Add the phantom"]
    assert not workspace.root.exists()


def test_the_first_page_draws_without_torch_over_a_dataset(phantom: Dataset) -> None:
    told = first_page()
    assert (told["exceptions"], told["errors"], told["heavy"]) == ([], [], [])
    assert told["buttons"] == []
    assert ":green[:material/check:] phantom" in told["markdown"]


@pytest.mark.parametrize("module", ["rebalance_core.cli", "rebalance_core.runs.worker"])
def test_command_line_and_worker_start_light(module: str) -> None:
    script = f"import sys, {module}; print([m for m in sys.argv[1:] if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", script, *HEAVY, "streamlit", "sklearn", "scipy", "pandas"],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert done.stdout == "[]\n"
