"""Parents and children of runs: data → poses → generator → samples → comparison."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rebalance_core.config import Target
from rebalance_core.runs.executor import RunView
from rebalance_core.runs.spec import NamedReference, job_specs, set_references
from rebalance_core.workspace import Workspace

FILLS = {"done": "#dcefe3", "failed": "#f7dcdc", "running": "#dbe9f7"}  # for both themes


@dataclass(frozen=True)
class Lineage:
    """Ancestors and descendants of a run, with the (parent id, child id) edges between them."""

    members: tuple[RunView, ...]
    links: tuple[tuple[str, str], ...]

    def to_dot(self, selected: str) -> str:
        """The graph as Graphviz DOT, from left to right; the selected run has a thick border."""
        lines = [
            "digraph {",
            'rankdir=LR; bgcolor="transparent"; nodesep=0.25; ranksep=0.35;',
            'node [shape=box, style="rounded,filled", fontname="sans-serif", fontsize=11, '
            'color="#7a8591", fontcolor="#1b1f24"];',
            'edge [color="#7a8591", arrowsize=0.7];',
        ]
        for view in self.members:
            fill = FILLS.get(view.status, "#eceff2")
            width = 3 if view.id == selected else 1
            label = f"{view.kind}\n{_shorten(view.name)}\n{view.status}"
            lines.append(
                f'{_quoted(view.id)} [label={_quoted(label)}, fillcolor="{fill}", '
                f"penwidth={width}];"
            )
        lines += [f"{_quoted(parent)} -> {_quoted(child)};" for parent, child in self.links]
        return "\n".join([*lines, "}"])


def _shorten(text: str, length: int = 32) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _quoted(text: str) -> str:
    """A quoted DOT string, whatever characters a run's name contains."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


@dataclass(frozen=True)
class Link:
    """A lineage edge from a run to a later run that uses its output.

    `target` is the type of that output.
    """

    parent: str  # run id
    child: str
    target: Target


def links(workspace: Workspace, views: Sequence[RunView]) -> list[Link]:
    """The edges between existing runs, from the references of their configs and results.

    A name refers to what the newest earlier run created under it.
    """
    existing = {view.id for view in views}
    creators: dict[tuple[Target, str], str] = {}
    edges: dict[tuple[str, str], Link] = {}
    for view in sorted(views, key=lambda view: view.id):  # oldest first
        named_references = run_references(workspace, view)
        inputs: list[tuple[Target, str]] = [("run", run) for run in view.parents]
        inputs += [(r.target, name) for r, name in named_references if not r.creates]
        for target, name in inputs:
            parent = name if target == "run" else creators.get((target, name))
            if parent in existing and parent != view.id:
                edges.setdefault((str(parent), view.id), Link(str(parent), view.id, target))
        creators |= {(r.target, name): view.id for r, name in named_references if r.creates}
    return list(edges.values())


def run_references(workspace: Workspace, view: RunView) -> list[NamedReference]:
    """References of a run, and those of the training sets that it refers to."""
    spec = job_specs().get(view.kind)
    named_references: list[NamedReference] = []
    for reference, name in spec.references_of(view) if spec is not None else ():
        named_references.append((reference, name))
        if reference.target == "set":
            named_references += set_references(workspace, name)
    return named_references


def parents(workspace: Workspace, views: Sequence[RunView]) -> dict[str, list[str]]:
    """{run id: ids of its parents that still exist}."""
    parent_ids: dict[str, list[str]] = {view.id: [] for view in views}
    for link in links(workspace, views):
        parent_ids[link.child].append(link.parent)
    return parent_ids


def lineage(workspace: Workspace, views: Sequence[RunView], run_id: str) -> Lineage:
    """All ancestors and descendants of a run, with itself."""
    edges = [(link.parent, link.child) for link in links(workspace, views)]
    members = reachable(run_id, edges) | reachable(run_id, [(c, p) for p, c in edges])
    inside = sorted((p, c) for p, c in edges if p in members and c in members)
    ordered = sorted((v for v in views if v.id in members), key=lambda view: view.id)
    return Lineage(tuple(ordered), tuple(inside))


def reachable(start: str, edges: Iterable[tuple[str, str]]) -> set[str]:
    """`start` and all nodes that can be reached from it along edges (source, target)."""
    neighbours: dict[str, list[str]] = {}
    for source, target in edges:
        neighbours.setdefault(source, []).append(target)
    reached, waiting = {start}, [start]
    while waiting:
        new = [node for node in neighbours.get(waiting.pop(), ()) if node not in reached]
        reached.update(new)
        waiting += new
    return reached
