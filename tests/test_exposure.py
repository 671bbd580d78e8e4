"""Who can reach the app, and that nobody is let in by an oversight."""

import pytest

from rebalance_core.exposure import GUARDED_VARIABLE, exposure, is_local


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("localhost", True),
        (None, False), ("", False), ("0.0.0.0", False), ("::", False), ("192.168.1.4", False),
        ("example.org", False), ("127.0.0.1.example.org", False),
    ],
)  # fmt: skip
def test_only_this_machines_own_addresses_are_local(address: str | None, local: bool) -> None:
    assert is_local(address) == local


def test_a_wider_address_is_warned_of_unless_a_proxy_guards_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert exposure("127.0.0.1") is None
    told = exposure("0.0.0.0")
    assert told is not None
    assert told.startswith("The app listens on 0.0.0.0, and it asks nobody for a password: ")
    assert str(exposure(None)).startswith("The app listens on all addresses, ")
    monkeypatch.setenv(GUARDED_VARIABLE, "1")
    assert exposure("0.0.0.0") is None
    monkeypatch.setenv(GUARDED_VARIABLE, "0")
    assert exposure("0.0.0.0") == told
