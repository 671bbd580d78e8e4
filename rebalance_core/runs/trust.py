"""Networks that are the user's own code (`module:function`).

They are imported only if a person has named them, never because a file in a workspace or a report
does.
"""

from collections.abc import Mapping
from typing import Any

from rebalance_core.config import parse_overrides
from rebalance_core.errors import UserError


def custom_network(config: Mapping[str, Any]) -> str | None:
    """The `module:function` that a run's config names as its classifier's network, if any."""
    network = _network(config)
    return network if network is not None and ":" in network else None


def _network(config: Mapping[str, Any]) -> str | None:
    classifier = config.get("classifier")
    network = classifier.get("network") if isinstance(classifier, Mapping) else None
    return network if isinstance(network, str) else None


def check_trusted(config: Mapping[str, Any], typed: str | None, owner: str, remedy: str) -> None:
    """Raises UserError unless a person typed the config's network, if that is code.

    `owner` of the config: a run, a report; `remedy`: what to do, with the name repeated.
    """
    network = _network(config)
    if typed is not None and typed != network:
        raise UserError(f"{owner} has the network {network!r}, not {typed!r}; name the same one.")
    if typed is None and custom_network(config) is not None:
        raise UserError(
            f"{owner} names the network {network!r}, which is code and never imported merely "
            f"because a file names it; if you trust it, {remedy} and repeat the name: "
            "--set network=module:function."
        )


def network_override(pairs: list[str] | None) -> str | None:
    """The network in `--set network=…`; raises UserError for any other field."""
    changes = parse_overrides(pairs or [])
    network = changes.pop("network", None)
    if changes or not (network is None or isinstance(network, str)):
        raise UserError(
            "Only network=module:function can be set here; everything else stays as it was."
        )
    return network
