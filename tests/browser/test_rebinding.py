"""What a strange web page gets of the app in a real browser: nothing."""

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from studio import FLAGS, Server, settled, start_server

from rebalance_core.doctor import find_chromium
from rebalance_core.system.exposure import REFUSAL_MESSAGE
from rebalance_core.workspace import Workspace

ROOT = Path(__file__).resolve().parents[2]
REBOUND = "--host-resolver-rules=MAP evil.example 127.0.0.1"
LISTEN = """url => new Promise(done => {
    const socket = new WebSocket(url, ["streamlit"]);
    socket.onopen = () => done("open");
    socket.onerror = () => done("refused");
})"""


@pytest.fixture
def strange(browser: Browser) -> Iterator[Page]:
    """A page in a browser for which evil.example is this machine."""
    launched = browser.browser_type.launch(executable_path=find_chromium(), args=[*FLAGS, REBOUND])
    yield launched.new_page()
    launched.close()


def test_a_name_pointed_at_this_machine_is_shown_nothing(
    strange: Page, page: Page, tiny: Workspace, server: Server
) -> None:
    sockets: list[str] = []
    strange.on("websocket", lambda socket: sockets.append(socket.url))
    foreign = server.url.replace("127.0.0.1", "evil.example")
    for address in ("", "/data?dataset=p"):
        answer = strange.goto(f"{foreign}{address}")
        assert answer is not None
        assert (answer.status, answer.text()) == (403, REFUSAL_MESSAGE)
    assert strange.evaluate(LISTEN, f"{foreign.replace('http', 'ws')}/_stcore/stream") == "refused"
    assert len(sockets) == 1  # the one that was just tried
    page.goto(f"{server.url}/data?dataset=p")
    expect(page.get_by_role("heading", name="Data", exact=True)).to_be_visible()
    settled(page)
    assert page.evaluate(LISTEN, f"{server.url.replace('http', 'ws')}/_stcore/stream") == "open"


def test_a_page_of_another_local_port_cannot_listen_in(
    page: Page, server: Server, tmp_path: Path
) -> None:
    elsewhere = partial(SimpleHTTPRequestHandler, directory=tmp_path)
    with ThreadingHTTPServer(("127.0.0.1", 0), elsewhere) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        page.goto(f"http://127.0.0.1:{other.server_port}")
        stream = f"{server.url.replace('http', 'ws')}/_stcore/stream"
        assert page.evaluate(LISTEN, stream) == "refused"
        other.shutdown()


def test_a_session_that_the_guard_did_not_see_draws_no_page(
    strange: Page, page: Page, tiny: Workspace, tmp_path: Path
) -> None:
    """Were a Streamlit to serve app.py as a mere script, each session would still be checked."""
    script = tmp_path / "unguarded.py"
    script.write_text(
        f"import runpy\nrunpy.run_path({str(ROOT / 'app.py')!r}, run_name='__main__')"
    )
    server = start_server(tiny.root, tmp_path / "server.log", str(script))
    try:
        page.goto(server.url)
        expect(page.get_by_role("heading", name="Rebalance Studio", exact=True)).to_be_visible()
        strange.goto(server.url.replace("127.0.0.1", "evil.example"))
        expect(strange.get_by_test_id("stAlert")).to_have_text(REFUSAL_MESSAGE)
        settled(strange)
        expect(strange.get_by_role("heading")).to_have_count(0)
        expect(strange.get_by_test_id("stSidebarNav")).to_have_count(0)
    finally:
        server.stop()
