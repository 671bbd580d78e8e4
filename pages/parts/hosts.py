"""The guard in front of the server: refuses foreign Hosts and Origins before a session exists."""

import asyncio
import webbrowser
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import streamlit as st
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose
from streamlit.starlette import App

from rebalance_core.system.exposure import LOOPBACK, REFUSAL_MESSAGE, WILDCARDS, is_request_allowed


class HostGuard:
    """ASGI middleware that answers 403 to what `is_request_allowed` refuses."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.configured = _configured()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or self._allows(scope):
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await WebSocketClose()(scope, receive, send)  # before it is accepted: 403
        else:
            await PlainTextResponse(REFUSAL_MESSAGE, status_code=403)(scope, receive, send)

    def _allows(self, scope: Scope) -> bool:
        values: dict[bytes, list[str]] = {b"host": [], b"origin": []}
        for name, value in scope["headers"]:
            values.get(name.lower(), []).append(value.decode("latin-1"))
        return is_request_allowed(
            scope.get("method"), values[b"host"], values[b"origin"], self.configured
        )


GUARD = Middleware(HostGuard)


def check_session() -> None:
    """Stop a session that the guard should have refused, should Streamlit serve without it."""
    hosts = st.context.headers.get_all("Host")
    origins = st.context.headers.get_all("Origin")
    if hosts and not is_request_allowed(None, hosts, origins, _configured()):
        st.error(REFUSAL_MESSAGE)
        st.stop()


@asynccontextmanager
async def open_in_browser(app: App) -> AsyncIterator[None]:
    """Open the app in a browser at its start, unless Streamlit is to be headless."""
    if not st.get_option("server.headless"):
        asyncio.get_running_loop().run_in_executor(None, webbrowser.open, _own_url())
    yield


def _configured() -> tuple[str | None, ...]:
    return st.get_option("server.address"), st.get_option("browser.serverAddress")


def _own_url() -> str:
    """The app's URL for a browser on this machine."""
    address = st.get_option("server.address")
    name = LOOPBACK if address in (None, *WILDCARDS) else address
    scheme = "https" if st.get_option("server.sslCertFile") else "http"
    base = st.get_option("server.baseUrlPath").strip("/")
    return (
        f"{scheme}://{f'[{name}]' if ':' in name else name}:{st.get_option('server.port')}/{base}"
    )
