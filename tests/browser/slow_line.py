"""A slow line between a browser and the server."""

import re
import time
from collections.abc import Callable

from playwright.sync_api import Page, WebSocketRoute
from studio import LONG


class Line:
    """Between browser and server: what the server says can be held back."""

    def __init__(self, page: Page) -> None:
        self.slow = False
        self._page = page
        self._held: list[str | bytes] = []
        page.route_web_socket(re.compile("/_stcore/stream"), self._connect)

    def _connect(self, browser: WebSocketRoute) -> None:
        self._browser = browser
        browser.connect_to_server().on_message(self._said)

    def _said(self, message: str | bytes) -> None:
        if self.slow:
            self._held.append(message)
        else:
            self._browser.send(message)

    def release(self) -> None:
        self.slow = False
        while self._held:
            self._browser.send(self._held.pop(0))

    def until(self, done: Callable[[], object], what: str) -> None:
        """Wait for what the server does, and let pass what the browser sends it meanwhile."""
        deadline = time.monotonic() + LONG / 1000
        while not done():
            assert time.monotonic() < deadline, what
            self._page.wait_for_timeout(50)
