"""`--help`, the guide and the messages name the same commands and options."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from commands import ROOT, process

from rebalance_core import cli

GUIDE = (ROOT / "docs/guide.md").read_text()
DOCUMENTS = ["README.md", *(str(p.relative_to(ROOT)) for p in (ROOT / "docs").rglob("*.md"))]
SOURCES = [
    ROOT / "app.py",
    *(p for d in ("rebalance_core", "pages") for p in (ROOT / d).rglob("*.py")),
]
TREE: Any = typer.main.get_command(cli.app)
SHARED = {"--json", "--help"}  # every command has them; a table of their own describes them

STEPS = "datasets sets poses generators synthetic compare rebalance classifiers"
TOP_LEVEL = [*STEPS.split(), "study", "runs", "app", "doctor"]
OLD_SPELLINGS = {
    "train": "generators train",
    "sample": "generators sample",
    "interpolate": "generators interpolate",
    "denoise": "generators denoise",
    "score": "synthetic score",
    "filter": "synthetic filter",
    "quiz make": "synthetic quiz make",
    "quiz answer": "synthetic quiz answer",
    "quiz tally": "synthetic quiz tally",
    "classify": "classifiers classify",
    "save-classifier": "classifiers save",
}


def leaves(group: Any, hidden: bool, words: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """The visible commands below a group, or those that `--help` does not lead to."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            inner = False if command.hidden and hidden else hidden
            if hidden or not command.hidden:
                yield from leaves(command, inner, (*words, name))
        elif command.hidden == hidden:
            yield " ".join((*words, name)), command


VISIBLE = dict(leaves(TREE, hidden=False))
HIDDEN = dict(leaves(TREE, hidden=True))


def options(command: Any) -> set[str]:
    """Every name of every option, `--help` included; not those that only say no."""
    shown = [p for p in command.params if p.param_type_name == "option"]
    names = {name for p in shown for name in (*p.opts, *p.secondary_opts)}
    return {"--help", *(name for name in names if not name.startswith("--no-"))}


def arguments(command: Any) -> list[str]:
    """The required arguments as `--help` shows them."""
    found = [p for p in command.params if p.param_type_name == "argument" and p.required]
    return [p.metavar or p.name.upper() for p in found]


def spans(text: str) -> list[str]:
    return [span.replace("\\|", "|") for span in re.findall(r"`([^`\n]+)`", text)]


def resolve(words: list[str]) -> tuple[str, Any]:
    """The command that the words call, and its name; as far as they lead."""
    command, name = TREE, []
    for word in words:
        if word not in getattr(command, "commands", {}):
            break
        command = command.commands[word]
        name.append(word)
    return " ".join(name), command


def rows() -> dict[str, list[tuple[str, str]]]:
    """The guide's table of commands: name → (usage, whole row)."""
    found: dict[str, list[tuple[str, str]]] = {}
    table = GUIDE.split("\n| command | options (default) |\n", 1)[1].split("\n\n", 1)[0]
    for line in table.splitlines()[1:]:
        usage = spans(line)[0]
        found.setdefault(resolve(usage.split())[0], []).append((usage, line))
    return found


def misnamed(span: str) -> str | None:
    """What is wrong with a command that a text names; None for what is right or names none."""
    words = span.split()
    known = TREE.commands.get(words[0]) if words else None
    if known is None or (len(words) == 1 and not known.hidden):
        return None
    name, command = resolve(words)
    if name not in VISIBLE:
        return f"`{span}` names no command that --help shows"
    unknown = set(re.findall(r"--[a-z-]+", span)) - options(command)
    return f"`{span}` has unknown options {sorted(unknown)}" if unknown else None


def test_the_top_level_shows_groups_and_what_spans_them(tmp_path: Path) -> None:
    done = process(tmp_path, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.findall(r"^│ ([a-z][a-z-]*) ", done.stdout, re.MULTILINE) == TOP_LEVEL


def test_the_guide_has_a_row_for_every_command_and_no_other() -> None:
    assert set(rows()) == set(VISIBLE)


@pytest.mark.parametrize("name", VISIBLE)
def test_the_guide_names_every_argument_and_option_of_a_command(name: str) -> None:
    command = VISIBLE[name]
    usage = rows()[name][0][0]
    assert [w for w in usage.split() if w in arguments(command)] == arguments(command)
    text = " ".join(line for _, line in rows()[name])
    named = {o for span in spans(text) for o in re.findall(r"(?<!\S)--[a-z-]+", span)}
    assert named == options(command) - SHARED


@pytest.mark.parametrize("option", sorted(SHARED))
def test_the_guide_describes_what_every_command_has(option: str) -> None:
    assert f"\n| `{option}` | every" in GUIDE
    without = [name for name, command in VISIBLE.items() if option not in options(command)]
    assert without == (["app"] if option == "--json" else [])


@pytest.mark.parametrize("name", VISIBLE)
def test_every_option_and_command_has_a_help_text(name: str) -> None:
    command = VISIBLE[name]
    found = [p for p in command.params if p.param_type_name == "option"]
    assert [p.name for p in found if not p.help] == []
    texts = " ".join([command.help, *(p.help for p in found)])
    assert [wrong for span in spans(texts) if (wrong := misnamed(span))] == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_names_only_commands_and_options_that_help_shows(name: str) -> None:
    text = (ROOT / name).read_text().split("\nSpellings of earlier versions")[0]
    typed = re.findall(r"^(?:studio|\S+ -m rebalance_core) ([^#\n]+)", text, re.MULTILINE)
    assert [wrong for span in (*spans(text), *typed) if (wrong := misnamed(span))] == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_message_names_only_commands_and_options_that_help_shows(path: Path) -> None:
    nodes = list(ast.walk(ast.parse(path.read_text())))
    docstrings = [node.value for node in nodes if isinstance(node, ast.Expr)]
    texts = [n for n in nodes if isinstance(n, ast.Constant | ast.JoinedStr)]
    messages = " ".join(ast.unparse(n) for n in texts if n not in docstrings)
    assert [wrong for span in spans(messages) if (wrong := misnamed(span))] == []


def test_old_spellings_are_hidden_and_the_same_commands() -> None:
    assert set(HIDDEN) == set(OLD_SPELLINGS)
    for old, new in OLD_SPELLINGS.items():
        assert HIDDEN[old].callback.__wrapped__ is VISIBLE[new].callback.__wrapped__
        assert options(HIDDEN[old]) == options(VISIBLE[new])


def test_the_guide_lists_the_old_spellings() -> None:
    table = GUIDE.split("\n| earlier spelling | now |\n", 1)[1].split("\n\n", 1)[0]
    pairs = dict(spans(line)[:2] for line in table.splitlines()[1:])
    assert pairs == {**OLD_SPELLINGS, "poses DATASET": "poses cluster DATASET"}


def test_set_has_the_second_name_override_everywhere() -> None:
    both = {"--set", "--override"}
    having = {n: c for n, c in (VISIBLE | HIDDEN).items() if both & options(c)}
    assert set(having) == {"generators train", "compare", "runs resume", "train"}
    assert all(both <= options(command) for command in having.values())
