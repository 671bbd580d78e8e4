"""Kaggle without network access: offline, refused, and a pinned version in the cache."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from commands import command
from sources import contents, folders, import_source, leftovers, refusal, unpack

from rebalance_core.datasets.source import KAGGLE_STUDY
from rebalance_core.errors import UserError
from rebalance_core.workspace import Workspace

PAGE = "https://www.kaggle.com/datasets/masoudnickparvar/brain-tumor-mri-dataset"
OFFLINE = (
    f"Kaggle cannot be reached from this machine; connect it, or download {PAGE} elsewhere and add "
    "the zip."
)
NOWHERE = "http://127.0.0.1:9"  # a proxy that isn't there: offline on any machine
COUNTS = {"Training/glioma": 3, "Training/notumor": 4, "Testing/glioma": 2, "Testing/notumor": 1}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of kagglehub, without network and credentials."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, NOWHERE)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path / "config"))
    return tmp_path / "cache"


def cached(cache: Path, dataset: str, version: int) -> None:
    """A version as downloaded by kagglehub."""
    versions = cache / "datasets" / dataset / "versions"
    unpack(versions / str(version), folders(COUNTS))
    marker = cache / "datasets" / dataset / f"{version}.complete"
    marker.touch()


def test_offline_is_one_sentence_from_importer_and_command_line(
    workspace: Workspace, cache: Path
) -> None:
    with pytest.raises(UserError) as excinfo:
        import_source(workspace, "kaggle")
    assert str(excinfo.value) == OFFLINE
    assert leftovers(workspace) == []
    before = contents(workspace.root)
    sentence = refusal(command(workspace.root, "datasets", "add", "mri", "kaggle", "--json"))
    assert sentence.endswith(f" failed: {OFFLINE}")
    assert contents(workspace.root) == before


def test_a_pinned_version_in_the_cache_needs_no_network(workspace: Workspace, cache: Path) -> None:
    owner, name, _, version = KAGGLE_STUDY.split("/")
    cached(cache, f"{owner}/{name}", int(version))
    study = import_source(workspace, "kaggle", "study")
    assert study.counts() == {
        "train": {"glioma": 3, "notumor": 4},
        "test": {"glioma": 2, "notumor": 1},
    }
    assert study.manifest.source["source"] == "kaggle"
    cached(cache, "some-body/pets_2", 7)
    other = import_source(workspace, "kaggle:some-body/pets_2/versions/7", "other")
    assert other.fingerprint == study.fingerprint
    with pytest.raises(UserError, match=r"^Kaggle cannot be reached from this machine; "):
        import_source(workspace, "kaggle:some-body/pets_2/versions/8", "newer")


@pytest.mark.parametrize(
    "handle", ["pets", "a/b/c", "a/b/versions/x", "../etc", "a/b/versions/1/..", "a b/c", ":"]
)
def test_an_invalid_handle_is_refused(workspace: Workspace, cache: Path, handle: str) -> None:
    with pytest.raises(UserError) as excinfo:
        import_source(workspace, f"kaggle:{handle}")
    assert str(excinfo.value) == (
        f"{handle!r} is not a Kaggle dataset; write kaggle:owner/dataset/versions/1."
    )


class Refuses(BaseHTTPRequestHandler):
    status = 403

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_error(self.status)

    do_GET = do_POST  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A server that refuses, at the address of kagglehub's test environment."""
    monkeypatch.setenv("KAGGLE_API_ENVIRONMENT", "TEST")
    monkeypatch.setenv("NO_PROXY", "localhost")
    try:
        server = ThreadingHTTPServer(("localhost", 7777), Refuses)
    except OSError as error:
        pytest.skip(f"port 7777, which Kaggle's library uses in tests, is taken: {error}")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("status", [401, 403, 404, 500])
def test_a_refusal_is_reported_with_the_remedy(
    workspace: Workspace, server: None, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setattr(Refuses, "status", status)
    with pytest.raises(UserError) as excinfo:
        import_source(workspace, "kaggle:a/b/versions/1")
    sentence = str(excinfo.value)
    assert sentence.startswith(f"Kaggle refuses a/b/versions/1 ({status} ")
    assert sentence.endswith(
        "); sign in as described in Kaggle's documentation of API tokens, or download "
        "https://www.kaggle.com/datasets/a/b and add the zip."
    )
    assert "\n" not in sentence
    assert leftovers(workspace) == []
