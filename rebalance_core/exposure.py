"""Who can reach the app: this machine alone, unless somebody binds it wider."""

import ipaddress
import os

LOCAL = "127.0.0.1"
GUARDED_VARIABLE = "REBALANCE_BEHIND_PROXY"  # "1": a proxy in front asks who is there


def is_local(address: str | None) -> bool:
    """Does only this machine reach a server bound there? None binds every interface."""
    if address == "localhost":
        return True
    try:
        return address is not None and ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def exposure(address: str | None) -> str | None:
    """The warning for an app that others can reach and that asks nobody who they are."""
    if is_local(address) or os.environ.get(GUARDED_VARIABLE) == "1":
        return None
    return (
        f"The app listens on {address or 'all addresses'}, and it asks nobody for a password: "
        "whoever reaches this machine can see the images, start jobs and read files by their "
        f"path. Bind it to {LOCAL} and put a proxy with a password in front (docs/guide.md, "
        f"Safety); where that cannot be, set {GUARDED_VARIABLE}=1 once the proxy is the only way."
    )
