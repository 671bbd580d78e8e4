"""`app` and `doctor`: start the app, and check the installation."""

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from rebalance_core.cli.common import Json, emit, print_error
from rebalance_core.system.exposure import LOOPBACK, exposure_warning
from rebalance_core.workspace import Workspace

app = typer.Typer()

PROJECT = Path(__file__).resolve().parents[2]


@app.command("app")
def open_app(
    port: Annotated[int, typer.Option(help="Port of the app.")] = 8501,
    address: Annotated[str, typer.Option(help="Address to listen on.")] = LOOPBACK,
) -> None:
    """Start the app and open it in the browser."""
    warning = exposure_warning(address)
    if warning:
        print_error(warning, "yellow")
    options = [f"--server.port={port}", f"--server.address={address}"]
    command = [sys.executable, "-m", "streamlit", "run", "app.py", *options]
    sys.exit(subprocess.run(command, cwd=PROJECT).returncode)


@app.command("doctor")
def doctor(as_json: Json = False) -> None:
    """Check versions, device, memory, disk space and workspace."""
    from rebalance_core.doctor import full_checks

    checks = full_checks(Workspace.from_environment())
    emit(checks, as_json)
    if not checks["ok"]:
        sys.exit(1)
