"""Who can reach the app: this machine alone, unless somebody binds it wider; under which names."""

import ipaddress
import os
import re
from collections.abc import Iterable
from contextlib import suppress
from urllib.parse import urlsplit

LOOPBACK = "127.0.0.1"
PROXY_VARIABLE = "REBALANCE_BEHIND_PROXY"  # "1": a proxy in front asks who is there
AUTHORITY = re.compile(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+))(?::([0-9]{1,5}))?", re.I | re.A)
WILDCARDS = ("", "0.0.0.0", "::")  # addresses that stand for all interfaces
DEFAULT_PORTS = {"http": 80, "https": 443}
REFUSAL_MESSAGE = (
    "The app does not answer to this address or to this page. Open it by the address that it "
    "printed when it started; for another name, set browser.serverAddress (docs/guide.md, Safety)."
)


def is_local(address: str | None) -> bool:
    """Does only this machine reach a server bound there? None binds every interface."""
    if address == "localhost":
        return True
    try:
        return address is not None and ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def exposure_warning(address: str | None) -> str | None:
    """The warning for an app that others can reach and that asks nobody who they are."""
    if is_local(address) or os.environ.get(PROXY_VARIABLE) == "1":
        return None
    return (
        f"The app listens on {address or 'all addresses'}, and it asks nobody for a password: "
        "whoever reaches this machine can see the images, start jobs and read files by their "
        f"path. Bind it to {LOOPBACK} and put a proxy with a password in front (docs/guide.md, "
        f"Safety); where that cannot be, set {PROXY_VARIABLE}=1 once the proxy is the only way."
    )


def is_host_allowed(host: str | None, origin: str | None, configured: Iterable[str | None]) -> bool:
    """Whether a request's Host is loopback or configured, and its Origin, if any, equals the Host.

    `configured` are addresses or URLs as Streamlit's options hold them; of these the name counts.
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

    Browsers omit Origin in GET and HEAD requests only. A WebSocket without Origin is a program
    and not a web page, so its Host decides.
    """
    if len(hosts) != 1 or len(origins) > 1:
        return False
    if not origins and method not in (None, "GET", "HEAD"):
        return False
    return is_host_allowed(hosts[0], origins[0] if origins else None, configured)


def _authority(text: str | None) -> tuple[str | None, int | None]:
    """(name, port) of `name`, `name:port` or `[IPv6]:port`; the name is None if malformed."""
    found = AUTHORITY.fullmatch(text or "")
    if found is None:
        return None, None
    bracketed, plain, digits = found.groups()
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
    """The name in a configured address or URL; None for one that stands for all interfaces."""
    text = (address or "").strip().lower()
    try:
        name = str(ipaddress.ip_address(text))
    except ValueError:
        with suppress(ValueError):
            text = urlsplit(text if "://" in text else f"//{text}").netloc
        name = _authority(text)[0] or ""
    return None if name in WILDCARDS else name
