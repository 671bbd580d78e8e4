"""Pretrained weights: downloaded or local, validated, stored as safetensors, never unpickled."""

import hashlib
import os
import pickle
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rebalance_core.config import Config
from rebalance_core.errors import UserError
from rebalance_core.poses.extractors import DOWNLOADS, NETWORKS, NetworkName
from rebalance_core.runs.directory import RunDirectory
from rebalance_core.runs.run import Cancelled, Run
from rebalance_core.system.files import is_disk_full, temp_path
from rebalance_core.workspace import Workspace

if TYPE_CHECKING:
    from torch import Tensor, nn

BLOCK = 1 << 20  # bytes read at once
TIMEOUT = 30  # seconds without a response


class WeightsConfig(Config):
    network: NetworkName
    file: str | None = None  # a local .pth or .safetensors; None: download torchvision's


def weights_path(workspace: Workspace, network: NetworkName) -> Path:
    return workspace.root / "weights" / f"{network}.safetensors"


def has_weights(workspace: Workspace, network: NetworkName) -> bool:
    return weights_path(workspace, network).exists()


def weights_metadata(workspace: Workspace, network: NetworkName) -> dict[str, str]:
    """`source` and `sha256` of the original file of the weights.

    Raises UserError where the weights are missing or damaged.
    """
    from safetensors import SafetensorError, safe_open

    path = weights_path(workspace, network)
    if not path.exists():
        size = DOWNLOADS[network].megabytes
        raise UserError(
            f"{NETWORKS[network].title} needs pretrained weights, which are not available yet; "
            f"download them ({size} MB) with `poses weights {network}`, or pass a file with --file."
        )
    try:
        with safe_open(path, "pt") as opened:
            metadata = opened.metadata()
        return {name: metadata[name] for name in ("source", "sha256")}
    except (SafetensorError, OSError, TypeError, KeyError) as error:
        raise UserError(
            f"{path} is damaged; download the weights again with `poses weights {network}`."
        ) from error


def import_weights(workspace: Workspace, network: NetworkName, file: Path, source: str) -> Path:
    """Validate a weights file and store its tensors in the workspace.

    Raises UserError where it is damaged, contains code or belongs to another network.
    """
    from safetensors.torch import save_file

    tensors = read_weights(network, file)
    target = weights_path(workspace, network)
    target.parent.mkdir(parents=True, exist_ok=True)
    # In a folder of ours: safetensors picks its own temporary name, which would not be cleaned up.
    temp = temp_path(target)
    temp.mkdir()
    try:
        save_file(tensors, temp / target.name, {"source": source, "sha256": _sha256(file)})
        os.replace(temp / target.name, target)
    finally:
        shutil.rmtree(temp, ignore_errors=True)
    return target


def read_weights(network: NetworkName, file: Path) -> "dict[str, Tensor]":
    """The tensors of a .pth or .safetensors file, checked against the network's names and shapes.

    A .pth is read with `weights_only=True`: code in it is rejected, not run.
    """
    import torch
    from safetensors.torch import load_file

    from rebalance_core.poses.networks import empty_network

    title = NETWORKS[network].title
    remedy = f"pass torchvision's {title} weights, or download them with `poses weights {network}`"
    if not file.is_file():
        raise UserError(f"There is no file {file}; {remedy}.")
    try:
        if file.suffix == ".safetensors":
            state: Any = load_file(file)
        else:
            state = torch.load(file, weights_only=True, map_location="cpu")
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{file} contains objects other than tensors, which are never loaded; {remedy}."
        ) from error
    except Exception as error:  # readers raise anything over hostile bytes
        raise UserError(f"{file} is damaged or not a weights file; {remedy}.") from error
    mismatch = _find_mismatch(empty_network(network), state)
    if mismatch:
        raise UserError(f"{file} does not fit {title} ({mismatch}); {remedy}.")
    return {
        name: tensor.float().contiguous() if tensor.is_floating_point() else tensor
        for name, tensor in state.items()
    }


def _find_mismatch(network: "nn.Module", state: Any) -> str | None:
    """The first difference between `state` and the network's state dict, as text."""
    import torch

    expected = network.state_dict()
    if not isinstance(state, Mapping):
        return "it is not a dict of tensors"
    optional = {name for name in expected if name.endswith("num_batches_tracked")}
    for name in [*expected, *state]:
        if name not in state and name not in optional:
            return f"{name} is missing"
        if name not in expected:
            return f"{name} is not one of its layers"
        if name in state:
            tensor = state[name]
            if not torch.is_tensor(tensor) or tensor.shape != expected[name].shape:
                shape = tuple(getattr(tensor, "shape", ()))
                return f"{name} has shape {shape} instead of {tuple(expected[name].shape)}"
            if tensor.layout != torch.strided or tensor.is_meta:
                return f"{name} is not stored as plain values"
            if tensor.is_floating_point() != expected[name].is_floating_point():
                return f"{name} has type {tensor.dtype}"
            if not bool(torch.isfinite(tensor).all()):
                return f"{name} contains values that are NaN or infinite"
    return None


def weights_job(workspace: Workspace, run: RunDirectory) -> Mapping[str, Any]:
    config = WeightsConfig.build(**run.config)
    return get_weights(workspace, config, run)


def get_weights(workspace: Workspace, config: WeightsConfig, run: Run) -> dict[str, Any]:
    """Import a local file, or download torchvision's; a partial download is resumed next time."""
    if config.file is not None:
        file = Path(config.file).expanduser()
        run.progress(0.1, f"checking {file.name}")
        path = import_weights(workspace, config.network, file, str(file))
    else:
        url = DOWNLOADS[config.network].url
        with _download(workspace, config.network, run) as file:
            run.progress(0.96, "checking")
            path = import_weights(workspace, config.network, file, url)
    run.progress(1.0, "stored")
    return {"network": config.network, "path": str(path)} | weights_metadata(
        workspace, config.network
    )


@contextmanager
def _download(workspace: Workspace, network: NetworkName, run: Run) -> Iterator[Path]:
    """torchvision's file of the network, its digest verified; removed after use."""
    download = DOWNLOADS[network]
    part = workspace.root / "weights" / f".{network}.pth.part"
    part.parent.mkdir(parents=True, exist_ok=True)
    try:
        _fetch(download.url, part, download.megabytes * 10**6, run)
    except OSError as error:  # urllib's errors are OSErrors too
        if is_disk_full(error):
            raise
        reason = getattr(error, "reason", error)
        raise UserError(
            f"{download.url} could not be downloaded ({reason}); try again, or download it "
            f"elsewhere and pass the file: `poses weights {network} --file PATH`."
        ) from error
    if not _sha256(part).startswith(download.sha256):
        part.unlink()
        raise UserError(
            f"{download.url} sent another file than expected (its SHA-256 does not start with "
            f"{download.sha256}); it was deleted, try again."
        )
    yield part
    part.unlink(missing_ok=True)


def _fetch(url: str, part: Path, expected: int, run: Run) -> None:
    """Download into `part`, resuming an earlier attempt.

    `expected`: its size in bytes where the server does not send one.
    """
    size = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={size}-"} if size else {})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # range not satisfiable: the download is complete
            return
        raise
    with response, part.open("ab") as file:
        if response.status != 206:  # the server ignored the range
            file.truncate(0)
            size = 0
        total = size + int(response.headers.get("Content-Length") or expected)
        while block := response.read(BLOCK):
            file.write(block)
            size += len(block)
            stage = f"downloading, {size / 1e6:.0f} of {total / 1e6:.0f} MB"
            run.progress(0.95 * size / max(total, 1), stage)
            if run.should_stop():
                raise Cancelled
    if size < total:
        raise OSError(f"the connection ended after {size} of {total} bytes")


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
