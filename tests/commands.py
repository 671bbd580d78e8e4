"""The command line as a person or a script meets it: stdout, stderr, exit codes."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from unittest.mock import patch

from rebalance_core.cli import main
from rebalance_core.workspace import HOME_VARIABLE

ROOT = Path(__file__).resolve().parents[1]

Done = subprocess.CompletedProcess[str]
Command = Callable[..., Done]


def process(home: Path, *arguments: object, cwd: Path = ROOT, typed: str = "") -> Done:
    """`python -m rebalance_core …` in a process of its own, which takes a second to start."""
    environment = {**os.environ, HOME_VARIABLE: str(home), "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", "rebalance_core", *map(str, arguments)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=180,
        input=typed,
    )


def command(home: Path, *arguments: object, cwd: Path = ROOT, typed: str = "") -> Done:
    """The same in this process; not for two threads at once. Runs still are processes."""
    words = [str(word) for word in arguments]
    environment = {HOME_VARIABLE: str(home), "PYTHONPATH": str(ROOT)}
    out, err, code = io.StringIO(), io.StringIO(), 0
    with (
        patch.dict(os.environ, environment),
        patch.object(sys, "argv", ["rebalance_core", *words]),
        patch.object(sys, "stdin", io.StringIO(typed)),
        chdir(cwd),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
    return Done(words, code, out.getvalue(), err.getvalue())


def printed(
    home: Path, *arguments: object, cwd: Path = ROOT, by: Command = command
) -> dict[str, Any]:
    """The one JSON object that a command prints, and nothing else."""
    done = by(home, *arguments, "--json", cwd=cwd)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    value: dict[str, Any] = json.loads(done.stdout)
    return value
