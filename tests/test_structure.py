"""The house: who may import whom, and what stays out of the way to the first page."""

import ast
import json
import re
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


# The folders and top-level modules of rebalance_core, in the order in which data flows. A module
# imports only from its own folder and from those above it, lazily or not.
ORDER = (
    "errors",
    "system",
    "config",
    "workspace",
    "imaging",
    "training",
    "plots",
    "runs",
    "datasets",
    "poses",
    "training_sets",
    "classifiers",
    "generators",
    "synthesis",
    "comparison",
    "study",
    "removal",
    "doctor",
    "cli",
    "testing",
)
ANYWHERE = ("catalogue", "__init__", "__main__")  # name modules of every folder, lazily
DOTTED = re.compile(r"\brebalance_core(?:\.\w+)+(?=[:.]?\w*)")


def core_modules() -> list[Path]:
    return sorted((ROOT / "rebalance_core").rglob("*.py"))


def place_of(path: Path) -> str:
    """The folder, or top-level module, of a module of the core."""
    return path.relative_to(ROOT / "rebalance_core").parts[0].removesuffix(".py")


def named_places(path: Path) -> set[str]:
    """Folders of the core that a module names: in imports, lazy ones too, and in strings."""
    places = set()
    tree = ast.parse(path.read_text())
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    docstrings = {ast.get_docstring(n, False) for n in ast.walk(tree) if isinstance(n, documented)}
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names = [] if node.value in docstrings else DOTTED.findall(node.value)
        places |= {name.split(".")[1] for name in names if name.startswith("rebalance_core.")}
    return places & set(ORDER)


def test_every_folder_of_the_core_has_a_place_in_the_order() -> None:
    assert {place_of(path) for path in core_modules()} == {*ORDER, *ANYWHERE}


@pytest.mark.parametrize("path", core_modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_names_only_folders_above_its_own(path: Path) -> None:
    place = place_of(path)
    if place in ANYWHERE:
        return
    below = {name for name in named_places(path) if ORDER.index(name) > ORDER.index(place)}
    assert below == set()


def first_page() -> dict[str, list[str]]:
    done = subprocess.run(
        [sys.executable, "-c", DRAW_FIRST_PAGE, str(ROOT / "app.py"), *HEAVY],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
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
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout == "[]\n"
