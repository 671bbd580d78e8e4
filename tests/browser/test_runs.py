"""The Runs page by what a person sees, and two browsers at once."""

import socket
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import psutil
import pytest
from playwright.sync_api import Browser, Page, expect
from studio import Server, fill_training, settled, unfold, until, visit

from rebalance_core.datasets.importing import import_dataset
from rebalance_core.datasets.source import ImportConfig
from rebalance_core.runs.directory import RunDirectory, create_run
from rebalance_core.runs.executor import RunView, list_runs, view_run
from rebalance_core.runs.metrics import read_metrics
from rebalance_core.runs.run import MemoryRun
from rebalance_core.system.files import read_json, write_json
from rebalance_core.system.processes import current_process
from rebalance_core.workspace import Workspace

EVIL = "![x](https://example.org/x.png) <img src=https://example.org/y.png>"


def ended(path: Path) -> RunView:
    until(lambda: not view_run(path).live, lambda: view_run(path).state)
    return view_run(path)


def numbers(path: Path) -> list[dict[str, Any]]:
    lines = [m for m in read_metrics(path) if m.get("event") != "start"]
    return [{k: v for k, v in m.items() if k != "time"} for m in lines]


def details(page: Page, part: str) -> None:
    page.get_by_test_id("stButtonGroup").get_by_text(part, exact=True).click()
    settled(page)


def set_state(path: Path, **state: Any) -> None:
    write_json(path / "state.json", {**read_json(path / "state.json"), **state})


def test_two_browsers_that_start_the_same_at_once(
    browser: Browser, page: Page, server: Server, home: Path
) -> None:
    """One training waits for the other; both come to the same numbers."""
    workspace = Workspace(home)
    source = ImportConfig(name="phantom", source="phantom", count=120, size=32)
    import_dataset(workspace, source, MemoryRun())
    context = browser.new_context(viewport={"width": 1440, "height": 1000})
    pages = [page, context.new_page()]
    for each in pages:
        each.goto(server.url)
        settled(each)
    for each in pages:
        visit(each, "Generators")
        fill_training(each, autoencoder_steps=3, steps=2, batch_size=8)
    for each in pages:
        each.get_by_role("button", name="Train", exact=True).click(no_wait_after=True)
    until(lambda: len(list_runs(workspace, "train")) == 2, lambda: "a start was lost")
    first, second = (ended(v.path) for v in reversed(list_runs(workspace, "train")))
    assert (first.status, second.status) == ("done", "done")
    assert first.state.finished <= second.state.started
    assert numbers(first.path) == numbers(second.path) != []
    context.close()


@pytest.fixture
def ran(home: Path) -> dict[str, Path]:
    """An import, a training that this process does, a sampling that failed; hostile names."""
    workspace = Workspace(home)
    ids = {"import": create_run(workspace, "import", {"name": "pets", "source": "x"}, name="pets")}
    config = {"set": "pets", "generator": "ddpm", "training": {"lr": 0.1, "batch_size": 8}}
    for name, lr in (("first", 0.1), ("second", 0.2)):
        config = {**config, "training": {"lr": lr, "batch_size": 8}}
        ids[name] = create_run(workspace, "train", config, name=name)
    sample = {"run": ids["second"].name, "name": "made"}
    ids["sample"] = create_run(workspace, "sample", sample, name=EVIL)
    for path in ids.values():
        set_state(path, status="done", started=0.0, finished=61.0)
    set_state(ids["sample"], status="failed", reason=f"No such thing as {EVIL}.")
    set_state(ids["first"], status="running", **current_process())
    (ids["first"] / "log.txt").write_text("a first line\n")
    run = RunDirectory(ids["second"])
    for step in (1, 2):
        run.checkpoint({"step": step})
    return ids


def test_the_runs_page(page: Page, server: Server, ran: dict[str, Path]) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{server.url}/runs?run={ran['first'].name}")
    settled(page)
    # a live run's log follows
    expect(page.get_by_text("a first line").first).to_be_visible()
    with (ran["first"] / "log.txt").open("a") as log:
        log.write("and one more\n")
    expect(page.get_by_text("and one more").first).to_be_visible()
    set_state(ran["first"], memory={"used": 1, "left": 2**28, "total": 2**33, "ended": 0})
    expect(page.get_by_text("Memory is low: 0.2 of 8.0 GiB").first).to_be_visible()
    set_state(ran["first"], status="cancelled", reason="Stopped on request.")
    expect(page.get_by_text("Stopped on request.").first).to_be_visible()
    expect(page.get_by_role("button", name="Resume")).to_be_visible()

    # what came of what, and how two configs differ
    page.goto(f"{server.url}/runs?run={ran['second'].name}")
    settled(page)
    details(page, "Lineage")
    graph = page.get_by_test_id("stGraphVizChart")
    for text in ("import", "pets", "sample"):
        expect(graph.get_by_text(text, exact=True).first).to_be_visible()
    details(page, "Compare configs")
    expect(page.get_by_test_id("stDataFrame").nth(1)).to_be_visible()

    # another name, a note
    details(page, "Name and note")
    page.get_by_label("Name", exact=True).fill("the better one")
    page.get_by_label("Note", exact=True).fill("lr was right")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Note: lr was right", exact=True).first).to_be_visible()
    assert view_run(ran["second"]).name == "the better one"

    # room on the disk
    settled(page)
    unfold(page, "Disk: runs use")
    page.get_by_role("button", name="Clean up").click()
    until(lambda: not list((ran["second"] / "checkpoints").iterdir()), lambda: "nothing went")

    # hostile names are text: nothing is asked of anybody else
    page.goto(f"{server.url}/runs?run={ran['sample'].name}")
    expect(page.get_by_text(f"No such thing as {EVIL}").first).to_be_visible()
    settled(page)
    strangers = [url for url in asked if not url.startswith((server.url, "data:", "blob:"))]
    assert strangers == []

    # removed, with what came of it
    page.goto(f"{server.url}/runs?run={ran['second'].name}")
    settled(page)
    details(page, "Remove")
    expect(page.get_by_text("cannot be continued: 1 run")).to_be_visible()
    for label in ("Also remove the dependents", "Yes, remove this run"):
        page.get_by_text(label, exact=True).click()
        settled(page)
    page.get_by_role("button", name="Remove", exact=True).click()
    until(lambda: not ran["sample"].exists(), lambda: "it stayed")
    assert not ran["second"].exists()
    expect(page.get_by_role("combobox", name="Run")).to_be_visible()


def test_only_this_machine_and_only_this_app_is_answered(server: Server) -> None:
    listening = {
        c.laddr.ip
        for c in psutil.Process(server.process.pid).net_connections("tcp")
        if c.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}

    def answered(request: urllib.request.Request) -> int:
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    # An upload that a strange page sends without this app's token.
    upload = f"{server.url}/_stcore/upload_file/session/file"
    sent = urllib.request.Request(upload, b"x", {"Origin": "http://evil.example"}, method="PUT")
    assert answered(sent) == 403
    # A strange page that listens in.
    host, port = server.url.removeprefix("http://").split(":")
    lines = (
        "GET /_stcore/stream HTTP/1.1",
        f"Host: {host}:{port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
        "Origin: http://evil.example",
        "",
        "",
    )
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall("\r\n".join(lines).encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 403")
    for path in ("/../../etc/passwd", "/media/../../etc/passwd", "/app/static/../../app.py"):
        with socket.create_connection((host, int(port)), timeout=20) as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
            answer = connection.recv(65536)
        assert b"root:" not in answer and b"import streamlit" not in answer
