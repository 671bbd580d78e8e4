"""What a run came from and what came of it: data → poses → generator → samples → comparison."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Any

from rebalance_core.errors import UserError
from rebalance_core.runs.executor import RunView
from rebalance_core.system.files import read_json
from rebalance_core.workspace import Workspace

FILLS = {"done": "#dcefe3", "failed": "#f7dcdc", "running": "#dbe9f7"}  # readable on any ground


@dataclass(frozen=True)
class Family:
    """Runs around one, and which came from which: (parent's id, child's id)."""

    members: tuple[RunView, ...]
    links: tuple[tuple[str, str], ...]

    def dot(self, chosen: str) -> str:
        """The graph in Graphviz's language, from left to right, `chosen` with a thick frame."""
        lines = [
            "digraph {",
            'rankdir=LR; bgcolor="transparent"; nodesep=0.25; ranksep=0.35;',
            'node [shape=box, style="rounded,filled", fontname="sans-serif", fontsize=11, '
            'color="#7a8591", fontcolor="#1b1f24"];',
            'edge [color="#7a8591", arrowsize=0.7];',
        ]
        for view in self.members:
            fill = FILLS.get(view.status, "#eceff2")
            width = 3 if view.id == chosen else 1
            label = f"{view.kind}\n{_short(view.name)}\n{view.status}"
            lines.append(
                f'{_quoted(view.id)} [label={_quoted(label)}, fillcolor="{fill}", '
                f"penwidth={width}];"
            )
        lines += [f"{_quoted(parent)} -> {_quoted(child)};" for parent, child in self.links]
        return "\n".join([*lines, "}"])


def _short(text: str, most: int = 32) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _quoted(text: str) -> str:
    """A string of Graphviz's, whatever somebody called a run."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def parents(workspace: Workspace, views: Sequence[RunView]) -> dict[str, list[str]]:
    """{run id: ids of the runs that it came from}, as far as they are still there."""
    there = {view.id for view in views}
    oldest_first = sorted(views, key=lambda view: view.id)
    imports = {v.config.get("name"): v.id for v in oldest_first if v.kind == "import"}
    samples = {
        v.config.get("name"): v.id for v in oldest_first if v.kind in ("sample", "bring", "filter")
    }
    posed: dict[str, str] = {}  # dataset → the newest run that clustered it so far
    of_set = cache(partial(_of_set, workspace))  # asked once, not for each run
    found: dict[str, list[str]] = {}
    for view in oldest_first:
        came: list[str | None] = [*view.parents]
        if view.kind == "poses":
            dataset = str(view.config.get("dataset"))
            came.append(imports.get(dataset))
            posed[dataset] = view.id
        elif view.kind in ("train", "bring", "compare"):
            dataset, with_poses = of_set(str(view.config.get("set")))
            came.append(posed.get(dataset) if with_poses else imports.get(dataset))
        if view.kind in ("sample", "denoise", "interpolate"):
            came.append(view.config.get("run"))
        if view.kind in ("score", "filter"):
            came.append(samples.get(view.config.get("synthetic")))
        if view.kind == "compare":
            came += [samples.get(name) for name in _synthetic(view).values()]
        known = [run for run in came if run in there and run != view.id]
        found[view.id] = list(dict.fromkeys(run for run in known if run is not None))
    return found


def family(workspace: Workspace, views: Sequence[RunView], chosen: str) -> Family:
    """What `chosen` came from, all the way back, and all that came of it."""
    up = parents(workspace, views)
    down: dict[str, list[str]] = {}
    for child, came in up.items():
        for parent in came:
            down.setdefault(parent, []).append(child)
    members = _reached(chosen, up) | _reached(chosen, down)
    links = [(p, c) for c, came in up.items() for p in came if p in members and c in members]
    ordered = sorted((v for v in views if v.id in members), key=lambda view: view.id)
    return Family(tuple(ordered), tuple(sorted(links)))


def _reached(start: str, neighbours: Mapping[str, Sequence[str]]) -> set[str]:
    reached, waiting = {start}, [start]
    while waiting:
        new = [run for run in neighbours.get(waiting.pop(), ()) if run not in reached]
        reached.update(new)
        waiting += new
    return reached


def _synthetic(view: RunView) -> dict[str, str]:
    """{arm: synthetic set} that a comparison was told to take, or took."""
    named: dict[str, str] = view.config.get("synthetic") or {}
    taken = _read_object(view.path / "result" / "synthetic.json") if not named else {}
    return named or {arm: name for arm, name in taken.items() if isinstance(name, str)}


def _of_set(workspace: Workspace, name: str) -> tuple[str, bool]:
    """The dataset of a training set, and whether poses were chosen for it."""
    path = workspace.sets / f"{Path(name).name}.json"
    if not path.exists():
        return name, False  # a dataset's name stands for its own set
    config = _set_config(path, path.stat().st_mtime_ns)
    return str(config.get("dataset", name)), bool(config.get("poses"))


@lru_cache(maxsize=256)
def _set_config(path: Path, changed: int) -> dict[str, Any]:
    """A set names all its images: read once, not once a run and look."""
    config = _read_object(path).get("config")
    return config if isinstance(config, dict) else {}


def _read_object(path: Path) -> dict[str, Any]:
    """A JSON object; empty where it is missing or damaged, so that the other runs are linked."""
    try:
        found = read_json(path)
    except UserError:
        return {}
    return found if isinstance(found, dict) else {}
