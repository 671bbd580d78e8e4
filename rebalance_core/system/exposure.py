"""Network exposure of the app: the address it binds to, and the hosts whose requests it accepts."""

import ipaddress
import os
import re
from collections.abc import Iterable
from contextlib import suppress
from urllib.parse import urlsplit

LOOPBACK = "127.0.0.1"
PROXY_VARIABLE = "REBALANCE_BEHIND_PROXY"  # "1": behind an authenticating proxy
AUTHORITY = re.compile(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+))(?::([0-9]{1,5}))?", re.I | re.A)
WILDCARDS = ("", "0.0.0.0", "::")  # addresses of all interfaces
DEFAULT_PORTS = {"http": 80, "https": 443}
REFUSAL_MESSAGE = (
    "The app does not accept requests for this address or from this page. Open it at the address "
    "printed at its start; for another name, set browser.serverAddress (docs/guide.md, Safety)."
)


def is_local(address: str | None) -> bool:
    """Whether a server bound to `address` is reachable only from this machine.

    None binds all interfaces.
    """
    if address == "localhost":
        return True
    try:
        return address is not None and ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def exposure_warning(address: str | None) -> str | None:
    """A warning if other machines can reach the app and no proxy authenticates users."""
    if is_local(address) or os.environ.get(PROXY_VARIABLE) == "1":
        return None
    return (
        f"The app listens on {address or 'all addresses'} without a password: anyone who can "
        "reach this machine can see the images, start jobs and read files by their path. Bind it "
        f"to {LOOPBACK} behind a proxy with a password (docs/guide.md, Safety); if that is not "
        f"possible, set {PROXY_VARIABLE}=1 once the proxy is the only access."
    )


def is_host_allowed(host: str | None, origin: str | None, configured: Iterable[str | None]) -> bool:
    """Whether a request's Host is loopback or configured, and its Origin, if any, equals the Host.

    `configured` are addresses or URLs from Streamlit's options; only their host names matter.
    """
    name, port = _authority(host)
    if name is None or not (is_local(name) or name in {_configured_name(c) for c in configured}):
        return False
    if origin is None:
        return True
    scheme, separator, rest = origin.partition("://")
    if not separator or scheme not in DEFAULT_PORTS:
        return False
    default = DEFAULT_PORTS[scheme]
    origin_name, origin_port = _authority(rest)
    return origin_name == name and (origin_port or default) == (port or default)


def is_request_allowed(
    method: str | None, hosts: list[str], origins: list[str], configured: Iterable[str | None]
) -> bool:
    """`is_host_allowed` for the headers of a request; `method` is None for a WebSocket.

    Browsers omit Origin only in GET and HEAD requests. A WebSocket without Origin comes from a
    program and not from a web page, so its Host alone is checked.
    """
    if len(hosts) != 1 or len(origins) > 1:
        return False
    if not origins and method not in (None, "GET", "HEAD"):
        return False
    return is_host_allowed(hosts[0], origins[0] if origins else None, configured)


def _authority(text: str | None) -> tuple[str | None, int | None]:
    """(name, port) of `name`, `name:port` or `[IPv6]:port`; the name is None if malformed."""
    match = AUTHORITY.fullmatch(text or "")
    if match is None:
        return None, None
    bracketed, plain, digits = match.groups()
    port = int(digits) if digits else None
    if port is not None and not 0 < port < 2**16:
        return None, None
    if bracketed is None:
        return plain.lower(), port
    try:
        return str(ipaddress.IPv6Address(bracketed)), port
    except ValueError:
        return None, None


def _configured_name(address: str | None) -> str | None:
    """The host name in a configured address or URL; None if it means all interfaces."""
    text = (address or "").strip().lower()
    try:
        name = str(ipaddress.ip_address(text))
    except ValueError:
        with suppress(ValueError):
            text = urlsplit(text if "://" in text else f"//{text}").netloc
        name = _authority(text)[0] or ""
    return None if name in WILDCARDS else name
