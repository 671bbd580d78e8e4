"""A real server accepts only requests for its own names and from its own pages."""

import os
import re
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from rebalance_core.workspace import HOME_VARIABLE

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 60.0  # seconds, on a busy machine
UPGRADE = (
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version: 13",
)
STREAM = "/_stcore/stream"
UPLOAD = "/_stcore/upload_file/session/file"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def serving(
    home: Path,
    *options: str,
    script: Path = ROOT / "app.py",
    environment: dict[str, str] | None = None,
) -> Iterator[int]:
    """`streamlit run app.py` on a free port, from a folder outside the project."""
    port = free_port()
    home.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable,
        "-m",
        "streamlit",
        "run",
        str(script),
        f"--server.port={port}",
        *options,
    ]
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "DISPLAY")}
    variables = {**kept, HOME_VARIABLE: str(home), **(environment or {})}
    with (home / "server.log").open("ab") as log:
        process = subprocess.Popen(command, cwd=home, env=variables, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert time.monotonic() < deadline, (home / "server.log").read_text()
                time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait(timeout=30)
    assert "Traceback" not in (home / "server.log").read_text()


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with serving(tmp_path_factory.mktemp("home"), "--server.headless=true") as started:
        yield started


def status(port: int, *lines: str, version: str = "1.1", target: str = "GET /") -> int:
    """The status of the response to a request of only these header lines."""
    text = "\r\n".join([f"{target} HTTP/{version}", *lines, "", ""])
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(text.encode())
        answer = connection.recv(100)
    found = re.match(rb"HTTP/1\.[01] (\d{3})", answer)
    assert found is not None, answer
    return int(found[1])


def both(port: int, host: str, origin: str | None = None) -> tuple[int, int]:
    """The statuses of a GET request and of a WebSocket upgrade."""
    lines = [f"Host: {host}", *([] if origin is None else [f"Origin: {origin}"])]
    return status(port, *lines), status(port, *lines, *UPGRADE, target=f"GET {STREAM}")


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1:{port}",
        "localhost:{port}",
        "LocalHost:{port}",
        "[::1]:{port}",
        "127.0.0.2:{port}",
        "127.0.0.1",
        "localhost",
        "127.0.0.1:9",
    ],
)
def test_a_loopback_host_at_any_port_is_answered_with_its_own_origin(port: int, host: str) -> None:
    host = host.format(port=port)
    assert both(port, host) == (200, 101)
    assert both(port, host, f"http://{host.lower()}") == (200, 101)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:{port}",
        "127.0.0.1.evil.example:{port}",
        "localhost.evil.example:{port}",
        "evil.localhost:{port}",
        "localhost.:{port}",
        "127.0.0.1.:{port}",
        "2130706433:{port}",
        "0177.0.0.1:{port}",
        "0x7f.0.0.1:{port}",
        "127.1:{port}",
        "0.0.0.0:{port}",
        "[::]:{port}",
        "[::1]evil.example:{port}",
        "me@127.0.0.1:{port}",
        "127.0.0.1@evil.example:{port}",
        "192.168.1.4:{port}",
        "127.0.0.1:{port}.evil.example",
        "127.0.0.1:",
        "127.0.0.1:0",
        "127.0.0.1:65536",
        "http://127.0.0.1:{port}",
        "127.0.0.1/:{port}",
        "::1",
        "[127.0.0.1]:{port}",
        "127.0.0.1:{port},evil.example",
        "",
    ],
)
def test_any_other_host_is_refused_before_a_session_starts(port: int, host: str) -> None:
    host = host.format(port=port)
    for origin in (None, f"http://{host}", f"http://127.0.0.1:{port}"):
        assert set(both(port, host, origin)) <= {400, 403}, origin
    if host.startswith("evil"):
        assert both(port, host, f"http://{host}") == (403, 403)


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "http://127.0.0.1:3000",
        "http://127.0.0.1",
        "http://localhost:{port}",
        "http://[::1]:{port}",
        "http://127.0.0.2:{port}",
        "",
        "null",
        "127.0.0.1:{port}",
        "file://",
        "ftp://127.0.0.1:{port}",
        "http://127.0.0.1:{port}/",
        "//127.0.0.1:{port}",
        "http://x@127.0.0.1:{port}",
        "http://127.0.0.1:{port}.evil.example",
        "http://127.0.0.1:{port} http://evil.example",
        "http://2130706433:{port}",
    ],
)
def test_an_origin_that_is_not_the_host_is_refused(port: int, origin: str) -> None:
    assert both(port, f"127.0.0.1:{port}", origin.format(port=port)) == (403, 403)


def test_ambiguous_headers_are_refused(port: int) -> None:
    own, foreign = f"Host: 127.0.0.1:{port}", f"Host: evil.example:{port}"
    for extra, target in (((), "GET /"), (UPGRADE, f"GET {STREAM}")):
        for hosts in ((own, foreign), (foreign, own), (own, own)):
            assert status(port, *hosts, *extra, target=target) in (400, 403)
        assert status(port, *extra, target=target) in (400, 403)
        origins = (f"Origin: http://127.0.0.1:{port}", "Origin: http://evil.example")
        assert status(port, own, *origins, *extra, target=target) in (400, 403)
    assert status(port, version="1.0") == 403  # HTTP/1.0 has no Host


@pytest.mark.parametrize("method", ["PUT", "DELETE", "POST"])
def test_a_request_that_changes_something_needs_its_own_origin(port: int, method: str) -> None:
    host = f"Host: 127.0.0.1:{port}"
    for origin in ("http://evil.example", "http://127.0.0.1:3000", "null", ""):
        assert status(port, host, f"Origin: {origin}", target=f"{method} {UPLOAD}") == 403
    assert status(port, host, target=f"{method} {UPLOAD}") == 403
    foreign = (f"Host: evil.example:{port}", f"Origin: http://evil.example:{port}")
    assert status(port, *foreign, target=f"{method} {UPLOAD}") == 403


@pytest.mark.parametrize("path", ["/media/x.png", "/_stcore/health", "/static/x.js", "/data"])
def test_every_path_is_guarded(port: int, path: str) -> None:
    assert status(port, f"Host: evil.example:{port}", target=f"GET {path}") == 403
    assert status(port, f"Host: 127.0.0.1:{port}", target=f"GET {path}") in (200, 404)


def test_a_refusal_includes_the_remedy(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
    assert answer.split("\r\n\r\n")[1] == (
        "The app does not accept requests for this address or from this page. Open it at the "
        "address printed at its start; for another name, set browser.serverAddress "
        "(docs/guide.md, Safety)."
    )


@contextmanager
def tunnel(port: int) -> Iterator[int]:
    """Another local port whose connections are forwarded to `port`, as `ssh -L` does."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def forward(source: socket.socket, target: socket.socket) -> None:
            with suppress(OSError):  # one side hung up
                while data := source.recv(65536):
                    target.sendall(data)
                target.shutdown(socket.SHUT_WR)

        def accept() -> None:
            near, _ = listening.accept()
            far = socket.create_connection(("127.0.0.1", port))
            for pair in ((near, far), (far, near)):
                threading.Thread(target=forward, args=pair, daemon=True).start()

        def serve() -> None:
            while True:
                try:
                    accept()
                except OSError:
                    return

        threading.Thread(target=serve, daemon=True).start()
        yield listening.getsockname()[1]


def test_a_tunnel_at_another_port_is_answered(port: int) -> None:
    with tunnel(port) as other:
        for name in ("127.0.0.1", "localhost"):
            host = f"{name}:{other}"
            assert both(other, host, f"http://{host}") == (200, 101)
        assert both(other, f"127.0.0.1:{other}", f"http://127.0.0.1:{port}") == (403, 403)


def test_the_name_of_a_proxy_is_configured(tmp_path: Path) -> None:
    with serving(
        tmp_path,
        "--server.headless=true",
        environment={"STREAMLIT_BROWSER_SERVER_ADDRESS": "studio.example.org"},
    ) as port:
        name = "studio.example.org"
        assert both(port, name, f"https://{name}") == (200, 101)
        assert both(port, f"{name}:8443", f"https://{name}:8443") == (200, 101)
        assert both(port, name, f"https://{name}:8443") == (403, 403)
        assert both(port, f"127.0.0.1:{port}", f"http://127.0.0.1:{port}") == (200, 101)
        assert both(port, f"evil.{name}", f"https://evil.{name}") == (403, 403)


def test_bound_to_all_addresses_it_accepts_no_further_names(tmp_path: Path) -> None:
    with serving(tmp_path, "--server.headless=true", "--server.address=0.0.0.0") as port:
        assert both(port, f"localhost:{port}", f"http://localhost:{port}") == (200, 101)
        for host in (f"0.0.0.0:{port}", f"evil.example:{port}"):
            assert both(port, host, f"http://{host}") == (403, 403)


def test_the_app_opens_in_a_browser_unless_it_is_headless(tmp_path: Path) -> None:
    opened = tmp_path / "opened"
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {opened}.new && mv {opened}.new {opened}\n')
    browser.chmod(browser.stat().st_mode | stat.S_IXUSR)
    environment = {"BROWSER": f"{browser} %s"}
    with serving(tmp_path / "a", "--server.headless=false", environment=environment) as port:
        deadline = time.monotonic() + PATIENCE
        while not opened.exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert opened.read_text() == f"http://127.0.0.1:{port}/\n"
