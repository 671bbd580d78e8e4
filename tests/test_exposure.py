"""Who can reach the app, and which requests it accepts."""

import pytest

from rebalance_core.system.exposure import (
    PROXY_VARIABLE,
    exposure_warning,
    is_host_allowed,
    is_local,
    is_request_allowed,
)


@pytest.mark.parametrize(
    ("address", "is_loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("localhost", True),
        (None, False),
        ("", False),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.4", False),
        ("example.org", False),
        ("127.0.0.1.example.org", False),
    ],
)
def test_only_loopback_addresses_are_local(address: str | None, is_loopback: bool) -> None:
    assert is_local(address) == is_loopback


def test_other_addresses_give_a_warning_unless_behind_a_proxy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert exposure_warning("127.0.0.1") is None
    warning = exposure_warning("0.0.0.0")
    assert warning is not None
    assert warning.startswith("The app listens on 0.0.0.0 without a password: ")
    assert str(exposure_warning(None)).startswith("The app listens on all addresses ")
    monkeypatch.setenv(PROXY_VARIABLE, "1")
    assert exposure_warning("0.0.0.0") is None
    monkeypatch.setenv(PROXY_VARIABLE, "0")
    assert exposure_warning("0.0.0.0") == warning


@pytest.mark.parametrize(
    ("host", "origin", "allowed"),
    [
        ("127.0.0.1:8501", None, True),
        ("127.0.0.1:8501", "http://127.0.0.1:8501", True),
        ("LOCALHOST:8501", "http://localhost:8501", True),
        ("[::1]:8501", "http://[::1]:8501", True),
        ("127.0.0.1", "http://127.0.0.1:80", True),
        ("127.0.0.1:443", "https://127.0.0.1", True),
        ("127.0.0.1", "https://127.0.0.1:80", False),
        ("127.0.0.1:8501", "http://127.0.0.1:8502", False),
        ("127.0.0.1:8501", "http://localhost:8501", False),
        ("127.0.0.1:8501", "", False),
        ("127.0.0.1:8501", "null", False),
        (None, None, False),
        ("", None, False),
        ("evil.example:8501", "http://evil.example:8501", False),
        ("localhoſt:8501", None, False),
        ("127.0.0.1:8501\n", None, False),
        ("studio.example.org", "https://studio.example.org", True),
        ("Studio.Example.Org:8443", "https://studio.example.org:8443", True),
        ("other.example.org", None, True),
        ("192.168.1.4:8501", "http://192.168.1.4:8501", True),
        ("[fe80::1]:8501", "http://[fe80::1]:8501", True),
        ("0.0.0.0:8501", None, False),
        ("[::]:8501", None, False),
        ("8501", None, False),
    ],
)
def test_a_host_is_loopback_or_configured_and_an_origin_equals_it(
    host: str | None, origin: str | None, allowed: bool
) -> None:
    configured = (
        "studio.example.org",
        "https://Other.example.org:8443/studio",
        "192.168.1.4",
        "fe80::1",
        "0.0.0.0",
        "::",
        "[::]",
        "",
        None,
        "unix:///run/studio.sock",
        "[broken",
        "http://[broken",
    )
    assert is_host_allowed(host, origin, configured) == allowed


@pytest.mark.parametrize(
    ("method", "hosts", "origins", "allowed"),
    [
        ("GET", ["localhost"], [], True),
        ("HEAD", ["localhost"], [], True),
        (None, ["localhost"], [], True),  # a WebSocket of a program
        (None, ["evil.example"], [], False),
        ("PUT", ["localhost"], [], False),
        ("PUT", ["localhost"], ["http://localhost"], True),
        ("GET", [], [], False),
        ("GET", ["localhost", "localhost"], [], False),
        ("GET", ["localhost"], ["http://localhost", "http://localhost"], False),
    ],
)
def test_an_origin_is_omitted_only_where_browsers_omit_it(
    method: str | None, hosts: list[str], origins: list[str], allowed: bool
) -> None:
    assert is_request_allowed(method, hosts, origins, ()) == allowed
