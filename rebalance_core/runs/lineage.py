"""What a run came from and what came of it: data → poses → generator → samples → comparison."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rebalance_core.config import Target
from rebalance_core.runs.executor import RunView
from rebalance_core.runs.spec import NamedReference, job_specs, set_references
from rebalance_core.workspace import Workspace

FILLS = {"done": "#dcefe3", "failed": "#f7dcdc", "running": "#dbe9f7"}  # readable on any ground


@dataclass(frozen=True)
class Lineage:
    """Runs around one, and which came from which: (parent's id, child's id)."""

    members: tuple[RunView, ...]
    links: tuple[tuple[str, str], ...]

    def to_dot(self, chosen: str) -> str:
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


@dataclass(frozen=True)
class Link:
    """A child came from a parent, which it refers to as `target`: a dataset, a run …"""

    parent: str  # run id
    child: str
    target: Target


def links(workspace: Workspace, views: Sequence[RunView]) -> list[Link]:
    """Which run came from which, by the references of their configs, as far as they are there.

    Whatever a run refers to was made by the newest run before it that makes this.
    """
    existing = {view.id for view in views}
    makers: dict[tuple[Target, str], str] = {}
    found: dict[tuple[str, str], Link] = {}
    for view in sorted(views, key=lambda view: view.id):  # oldest first
        named = run_references(workspace, view)
        uses: list[tuple[Target, str]] = [("run", run) for run in view.parents]
        uses += [(r.target, name) for r, name in named if not r.creates]
        for target, name in uses:
            parent = name if target == "run" else makers.get((target, name))
            if parent in existing and parent != view.id:
                found.setdefault((str(parent), view.id), Link(str(parent), view.id, target))
        makers |= {(r.target, name): view.id for r, name in named if r.creates}
    return list(found.values())


def run_references(workspace: Workspace, view: RunView) -> list[NamedReference]:
    """What a run refers to, and what it makes; a training set stands for what it was cut from."""
    spec = job_specs().get(view.kind)
    named: list[NamedReference] = []
    for reference, name in spec.references_of(view) if spec is not None else ():
        named.append((reference, name))
        if reference.target == "set":
            named += set_references(workspace, name)
    return named


def parents(workspace: Workspace, views: Sequence[RunView]) -> dict[str, list[str]]:
    """{run id: ids of the runs that it came from}, as far as they are still there."""
    found: dict[str, list[str]] = {view.id: [] for view in views}
    for link in links(workspace, views):
        found[link.child].append(link.parent)
    return found


def lineage(workspace: Workspace, views: Sequence[RunView], chosen: str) -> Lineage:
    """What `chosen` came from, all the way back, and all that came of it."""
    edges = [(link.parent, link.child) for link in links(workspace, views)]
    members = reachable(chosen, edges) | reachable(chosen, [(c, p) for p, c in edges])
    inside = sorted((p, c) for p, c in edges if p in members and c in members)
    ordered = sorted((v for v in views if v.id in members), key=lambda view: view.id)
    return Lineage(tuple(ordered), tuple(inside))


def reachable(start: str, edges: Iterable[tuple[str, str]]) -> set[str]:
    """`start` and every node that a path of edges (from, to) leads to from there."""
    neighbours: dict[str, list[str]] = {}
    for source, target in edges:
        neighbours.setdefault(source, []).append(target)
    reached, waiting = {start}, [start]
    while waiting:
        new = [node for node in neighbours.get(waiting.pop(), ()) if node not in reached]
        reached.update(new)
        waiting += new
    return reached
