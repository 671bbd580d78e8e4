"""Pretrained weights: loaded as by torchvision, validated, downloaded and resumed."""

import hashlib
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save, save_file
from torch import Tensor, nn
from torchvision import models, transforms

from rebalance_core.errors import UserError
from rebalance_core.poses import weights as module
from rebalance_core.poses.extractors import DOWNLOADS, NETWORKS, Download, NetworkName
from rebalance_core.poses.networks import load_extractor
from rebalance_core.poses.weights import (
    WeightsConfig,
    get_weights,
    has_weights,
    import_weights,
    weights_metadata,
    weights_path,
)
from rebalance_core.runs.run import Cancelled, MemoryRun
from rebalance_core.system.files import remove_stale_temporaries
from rebalance_core.workspace import Workspace

ROOT = Path(__file__).resolve().parents[2]


def seeded(name: NetworkName) -> nn.Module:
    """The plain torchvision network with random weights of a useful scale."""
    torch.manual_seed(0)
    with torch.device("meta"):
        network = {
            "vgg16": models.vgg16,
            "resnet18": models.resnet18,
            # as torchvision builds it for its weights
            "inception": partial(models.inception_v3, init_weights=False, transform_input=True),
        }[name]()
    state = {}
    for key, tensor in network.state_dict().items():
        if not tensor.is_floating_point():
            state[key] = torch.ones(tensor.shape, dtype=tensor.dtype)
        elif tensor.dim() > 1:
            state[key] = torch.randn(tensor.shape) * (2 / tensor[0].numel()) ** 0.5
        elif key.endswith(("bias", "mean")):
            state[key] = torch.rand(tensor.shape) * 0.1
        else:
            state[key] = torch.rand(tensor.shape) * 0.5 + 0.75
    network.load_state_dict(state, assign=True)
    return network.eval()


def images(count: int, channels: int, size: int = 224) -> np.ndarray:
    shape = (count, size, size, channels)
    return np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)


def plain_forward(network: nn.Module, name: NetworkName, stack: np.ndarray) -> np.ndarray:
    """As in the paper, with torchvision's own transforms, one image at a time."""
    prepare = transforms.Compose(
        [
            transforms.ToPILImage(),
            transforms.Grayscale(3) if stack.shape[3] == 1 else nn.Identity(),
            transforms.ToTensor(),
            transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    if name == "vgg16":
        network.classifier = nn.Sequential(*list(network.classifier)[:-2])  # type: ignore[arg-type]
    else:
        network.fc = nn.Identity()
    with torch.no_grad():
        return np.concatenate([network(prepare(i)[None]).numpy() for i in stack])


@pytest.mark.parametrize(("name", "channels"), [("vgg16", 1), ("resnet18", 3), ("inception", 1)])
def test_features_are_those_of_the_plain_torchvision_network(
    name: NetworkName, channels: int, workspace: Workspace, tmp_path: Path
) -> None:
    network = seeded(name)
    file = tmp_path / f"{name}.pth"
    torch.save(network.state_dict(), file)
    import_weights(workspace, name, file, str(file))
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert weights_metadata(workspace, name) == {"source": str(file), "sha256": digest}

    brightness = np.array([1.0, 0.5, 0.1])[:, None, None, None]  # Inception averages noise away
    stack = (images(3, channels, NETWORKS[name].size) * brightness).astype(np.uint8)
    expected = plain_forward(network, name, stack)
    features = load_extractor(name, weights_path(workspace, name), "fp32")(stack)
    assert features.shape == expected.shape == (3, NETWORKS[name].width)
    assert expected.std() > 0.4, "as large as those of a trained network"
    assert np.abs(expected[0] - expected[1]).mean() > 0.05, "the features of the two images differ"
    np.testing.assert_allclose(features, expected, rtol=0, atol=1e-4)

    half = load_extractor(name, weights_path(workspace, name), "bf16")(stack)
    similar = (half * expected).sum(1) / np.linalg.norm(half, axis=1)
    assert (similar / np.linalg.norm(expected, axis=1)).min() > 0.999


@pytest.fixture(scope="module")
def resnet() -> dict[str, Tensor]:
    return dict(seeded("resnet18").state_dict())


class Hostile:
    """Unpickled, it would leave a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def wrong_file(kind: str, path: Path, state: dict[str, Tensor]) -> Path:
    file = path / f"{kind}.{'safetensors' if 'safetensors' in kind else 'pth'}"
    if kind == "missing":
        return file
    if kind in ("truncated", "truncated safetensors"):
        torch.save(state, file) if kind == "truncated" else save_file(state, file)
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    elif kind == "other network":
        torch.save({"features.0.weight": torch.zeros(64, 3, 3, 3)}, file)
    elif kind == "other shape":
        torch.save(state | {"fc.weight": torch.zeros(4, 512)}, file)
    elif kind == "one layer more":
        torch.save(state | {"extra.weight": torch.zeros(4)}, file)
    elif kind == "not finite":
        torch.save(state | {"fc.bias": torch.full((1000,), torch.nan)}, file)
    elif kind == "sparse":
        torch.save(state | {"fc.bias": torch.zeros(1000).to_sparse()}, file)
    elif kind == "meta":
        torch.save(state | {"fc.bias": torch.zeros(1000, device="meta")}, file)
    elif kind == "complex":
        torch.save(state | {"fc.bias": torch.zeros(1000, dtype=torch.complex64)}, file)
    elif kind == "whole numbers":
        torch.save(state | {"fc.bias": torch.zeros(1000, dtype=torch.int64)}, file)
    elif kind == "a list":
        torch.save([torch.zeros(3)], file)
    elif kind == "code":
        torch.save(state | {"fc.bias": Hostile(path / "ran")}, file)
    elif kind == "bare pickle":
        file.write_bytes(pickle.dumps(Hostile(path / "ran"), protocol=2))
    elif kind == "text":
        file.write_text("<html>404</html>")
    else:
        file.write_bytes(b"")
    return file


MEND = "; pass torchvision's ResNet-18 weights, or download them with `poses weights resnet18`."
WRONG = {
    "missing": "There is no file {}",
    "truncated": "{} is damaged or not a weights file",
    "truncated safetensors": "{} is damaged or not a weights file",
    "empty": "{} is damaged or not a weights file",
    "text": "{} contains objects other than tensors, which are never loaded",
    "code": "{} contains objects other than tensors, which are never loaded",
    "bare pickle": "{} contains objects other than tensors, which are never loaded",
    "other network": "{} does not fit ResNet-18 (conv1.weight is missing)",
    "other shape": "{} does not fit ResNet-18 (fc.weight has shape (4, 512) instead of (1000, "
    "512))",
    "one layer more": "{} does not fit ResNet-18 (extra.weight is not one of its layers)",
    "not finite": "{} does not fit ResNet-18 (fc.bias contains values that are NaN or infinite)",
    "sparse": "{} does not fit ResNet-18 (fc.bias is not stored as plain values)",
    "meta": "{} does not fit ResNet-18 (fc.bias is not stored as plain values)",
    "complex": "{} does not fit ResNet-18 (fc.bias has type torch.complex64)",
    "whole numbers": "{} does not fit ResNet-18 (fc.bias has type torch.int64)",
    "a list": "{} does not fit ResNet-18 (it is not a dict of tensors)",
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_file_is_refused_in_one_sentence_and_runs_nothing(
    kind: str, workspace: Workspace, tmp_path: Path, resnet: dict[str, Tensor]
) -> None:
    file = wrong_file(kind, tmp_path, resnet)
    with pytest.raises(UserError) as excinfo:
        get_weights(workspace, WeightsConfig(network="resnet18", file=str(file)), MemoryRun())
    assert str(excinfo.value) == WRONG[kind].format(file) + MEND
    assert not (tmp_path / "ran").exists()
    assert not has_weights(workspace, "resnet18")
    assert not list(workspace.root.glob("weights/*"))


def weights_with(metadata: dict[str, str] | None) -> bytes:
    return save({"x": torch.zeros(1)}, metadata)


@pytest.mark.parametrize(
    "content",
    [b"x" * 100, b"", weights_with(None), weights_with({"source": "x"}), weights_with({"a": "b"})],
    ids=["garbage", "empty", "no metadata", "no digest", "other metadata"],
)
def test_damaged_stored_weights_are_one_sentence(workspace: Workspace, content: bytes) -> None:
    path = weights_path(workspace, "resnet18")
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with pytest.raises(UserError) as excinfo:
        weights_metadata(workspace, "resnet18")
    assert str(excinfo.value) == (
        f"{path} is damaged; download the weights again with `poses weights resnet18`."
    )


ADOPT = """
import sys
from pathlib import Path
from rebalance_core.poses.weights import import_weights
from rebalance_core.workspace import Workspace
import_weights(Workspace(Path(sys.argv[1])), "resnet18", Path(sys.argv[2]), "x")
"""


def test_partial_files_of_a_kill_are_removed(
    workspace: Workspace, resnet: dict[str, Tensor], tmp_path: Path
) -> None:
    torch.save(resnet, tmp_path / "resnet18.pth")
    folder = workspace.root / "weights"
    folder.mkdir(parents=True)
    leftovers: list[Path] = []
    while not leftovers:  # until a kill comes while it writes
        command = [sys.executable, "-c", ADOPT, str(workspace.root), str(tmp_path / "resnet18.pth")]
        with subprocess.Popen(command, cwd=ROOT) as process:
            while process.poll() is None and not list(folder.glob(".*")):
                pass
            process.kill()
        leftovers = list(folder.glob(".*"))
    remove_stale_temporaries(folder)
    assert list(folder.glob(".*")) == []


class Site:
    """A server of one file that can break off and records the requested ranges."""

    def __init__(self, data: bytes) -> None:
        self.data, self.breaks_at, self.ranges = data, len(data), list[str | None]()
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                requested = self.headers.get("Range")
                site.ranges.append(requested)
                start = int(requested.removeprefix("bytes=").removesuffix("-")) if requested else 0
                if start >= len(site.data):
                    self.send_error(416)
                    return
                self.send_response(206 if requested else 200)
                self.send_header("Content-Length", str(len(site.data) - start))
                self.end_headers()
                self.wfile.write(site.data[start : max(start, site.breaks_at)])

            def log_message(self, *arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/resnet18.pth"


@pytest.fixture
def site(
    resnet: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Site]:
    torch.save(resnet, tmp_path / "site.pth")
    data = (tmp_path / "site.pth").read_bytes()
    site = Site(data)
    offered = Download(site.url, hashlib.sha256(data).hexdigest()[:8], 47)
    monkeypatch.setitem(DOWNLOADS, "resnet18", offered)
    yield site
    site.server.shutdown()
    site.server.server_close()


FETCH = WeightsConfig(network="resnet18")


def test_weights_are_downloaded_verified_and_stored(workspace: Workspace, site: Site) -> None:
    run = MemoryRun()
    result = get_weights(workspace, FETCH, run)
    assert result["source"] == site.url
    assert result["sha256"] == hashlib.sha256(site.data).hexdigest()
    assert run.fraction == 1.0
    assert [p.name for p in (workspace.root / "weights").iterdir()] == ["resnet18.safetensors"]
    assert load_extractor("resnet18", weights_path(workspace, "resnet18"), "fp32")(
        images(1, 1)
    ).shape == (1, 512)


def test_a_broken_download_is_resumed(workspace: Workspace, site: Site) -> None:
    site.breaks_at = 3_000_000
    with pytest.raises(UserError) as excinfo:
        get_weights(workspace, FETCH, MemoryRun())
    assert str(excinfo.value).startswith(f"{site.url} could not be downloaded (")
    assert str(excinfo.value).endswith("pass the file: `poses weights resnet18 --file PATH`.")
    site.breaks_at = len(site.data)
    get_weights(workspace, FETCH, MemoryRun())
    assert site.ranges == [None, "bytes=3000000-"]
    assert has_weights(workspace, "resnet18")


def test_a_download_can_be_cancelled_and_resumed(
    workspace: Workspace, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BLOCK", 1_000_000)
    with pytest.raises(Cancelled):
        get_weights(workspace, FETCH, MemoryRun(stop_after=4))
    assert not has_weights(workspace, "resnet18")
    get_weights(workspace, FETCH, MemoryRun())
    assert site.ranges == [None, "bytes=5000000-"]


def test_a_download_of_another_file_is_deleted(workspace: Workspace, site: Site) -> None:
    site.data = site.data[:-1] + bytes([site.data[-1] ^ 1])
    with pytest.raises(UserError, match="sent another file than expected"):
        get_weights(workspace, FETCH, MemoryRun())
    assert list((workspace.root / "weights").iterdir()) == []


def test_an_address_that_does_not_answer_is_one_sentence(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = Download("http://127.0.0.1:9/resnet18.pth", "0", 47)
    monkeypatch.setitem(DOWNLOADS, "resnet18", nowhere)
    with pytest.raises(UserError, match=r"^http://127\.0\.0\.1:9/resnet18\.pth could not be"):
        get_weights(workspace, FETCH, MemoryRun())


@pytest.mark.parametrize("name", DOWNLOADS)
def test_the_download_is_torchvisions_own(name: NetworkName) -> None:
    weights = {
        "vgg16": models.VGG16_Weights,
        "resnet18": models.ResNet18_Weights,
        "inception": models.Inception_V3_Weights,
    }[name]
    offered = DOWNLOADS[name]
    assert offered.url == weights.IMAGENET1K_V1.url
    assert offered.url.endswith(f"-{offered.sha256}.pth")
    assert offered.megabytes == round(weights.IMAGENET1K_V1.meta["_file_size"])
