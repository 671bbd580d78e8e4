"""Pretrained weights: fetched or named, checked, kept as safetensors; nothing is unpickled."""

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
PATIENCE = 30  # seconds without an answer


class WeightsConfig(Config):
    network: NetworkName
    file: str | None = None  # a local .pth or .safetensors; None: torchvision's download


def weights_path(workspace: Workspace, network: NetworkName) -> Path:
    return workspace.root / "weights" / f"{network}.safetensors"


def has_weights(workspace: Workspace, network: NetworkName) -> bool:
    return weights_path(workspace, network).exists()


def weights_facts(workspace: Workspace, network: NetworkName) -> dict[str, str]:
    """`source` and `sha256` of the file that the weights came from; raises UserError if there
    are none."""
    from safetensors import SafetensorError, safe_open

    path = weights_path(workspace, network)
    if not path.exists():
        size = DOWNLOADS[network].megabytes
        raise UserError(
            f"{NETWORKS[network].title} needs pretrained weights, which are not here yet; fetch "
            f"them ({size} MB) with `poses weights {network}`, or name a file with --file."
        )
    try:
        with safe_open(path, "pt") as opened:
            metadata = opened.metadata()
        return {name: metadata[name] for name in ("source", "sha256")}
    except (SafetensorError, OSError, TypeError, KeyError) as error:
        raise UserError(
            f"{path} is damaged; fetch the weights again with `poses weights {network}`."
        ) from error


def adopt_weights(workspace: Workspace, network: NetworkName, file: Path, source: str) -> Path:
    """Check a weights file and keep its tensors in the workspace; raises UserError if it is
    damaged, holds code, or belongs to another network."""
    from safetensors.torch import save_file

    tensors = read_weights(network, file)
    target = weights_path(workspace, network)
    target.parent.mkdir(parents=True, exist_ok=True)
    # A folder of ours: safetensors writes under a name of its own, which no sweep would know.
    aside = temp_path(target)
    aside.mkdir()
    try:
        save_file(tensors, aside / target.name, {"source": source, "sha256": _sha256(file)})
        os.replace(aside / target.name, target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return target


def read_weights(network: NetworkName, file: Path) -> "dict[str, Tensor]":
    """The tensors of a .pth or .safetensors file, checked against the network's names and shapes.

    A .pth is read with `weights_only=True`: code in it is refused, not run.
    """
    import torch
    from safetensors.torch import load_file

    from rebalance_core.poses.networks import empty_network

    title = NETWORKS[network].title
    mend = f"give torchvision's own {title} weights, or fetch them with `poses weights {network}`"
    if not file.is_file():
        raise UserError(f"There is no file {file}; {mend}.")
    try:
        if file.suffix == ".safetensors":
            found: Any = load_file(file)
        else:
            found = torch.load(file, weights_only=True, map_location="cpu")
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{file} holds objects other than tensors, which are refused and never run; {mend}."
        ) from error
    except Exception as error:  # whatever a reader raises over hostile bytes says the same
        raise UserError(f"{file} is damaged or no weights file; {mend}.") from error
    wrong = _difference(empty_network(network), found)
    if wrong:
        raise UserError(f"{file} does not fit {title} ({wrong}); {mend}.")
    return {
        name: tensor.float().contiguous() if tensor.is_floating_point() else tensor
        for name, tensor in found.items()
    }


def _difference(network: "nn.Module", found: Any) -> str | None:
    """The first thing in which `found` is not the network's state, in words."""
    import torch

    wanted = network.state_dict()
    if not isinstance(found, Mapping):
        return "it holds no table of tensors"
    optional = {name for name in wanted if name.endswith("num_batches_tracked")}
    for name in [*wanted, *found]:
        if name not in found and name not in optional:
            return f"{name} is missing"
        if name not in wanted:
            return f"{name} is not one of its layers"
        if name in found:
            tensor = found[name]
            if not torch.is_tensor(tensor) or tensor.shape != wanted[name].shape:
                shape = tuple(getattr(tensor, "shape", ()))
                return f"{name} has shape {shape} instead of {tuple(wanted[name].shape)}"
            if not bool(torch.isfinite(tensor).all()):
                return f"{name} holds numbers that are not finite"
    return None


def weights_job(workspace: Workspace, run: RunDirectory) -> Mapping[str, Any]:
    config = WeightsConfig.build(**run.config)
    return get_weights(workspace, config, run)


def get_weights(workspace: Workspace, config: WeightsConfig, run: Run) -> dict[str, Any]:
    """Adopt a local file, or download torchvision's; an unfinished download goes on next time."""
    if config.file is not None:
        file = Path(config.file).expanduser()
        run.progress(0.1, f"checking {file.name}")
        path = adopt_weights(workspace, config.network, file, str(file))
    else:
        url = DOWNLOADS[config.network].url
        with _downloaded(workspace, config.network, run) as file:
            run.progress(0.96, "checking")
            path = adopt_weights(workspace, config.network, file, url)
    run.progress(1.0, "kept")
    return {"network": config.network, "path": str(path)} | weights_facts(workspace, config.network)


@contextmanager
def _downloaded(workspace: Workspace, network: NetworkName, run: Run) -> Iterator[Path]:
    """The network's file as torchvision offers it, its digest checked; removed once it was used."""
    wanted = DOWNLOADS[network]
    part = workspace.root / "weights" / f".{network}.pth.part"
    part.parent.mkdir(parents=True, exist_ok=True)
    try:
        _fetch(wanted.url, part, wanted.megabytes * 10**6, run)
    except OSError as error:  # urllib's errors are OSErrors too
        if is_disk_full(error):
            raise
        reason = getattr(error, "reason", error)
        raise UserError(
            f"{wanted.url} could not be fetched ({reason}); try again, or download it elsewhere "
            f"and name the file: `poses weights {network} --file PATH`."
        ) from error
    if not _sha256(part).startswith(wanted.sha256):
        part.unlink()
        raise UserError(
            f"What {wanted.url} sent is not the file it should be (its SHA-256 does not begin "
            f"with {wanted.sha256}); it was thrown away, try again."
        )
    yield part
    part.unlink(missing_ok=True)


def _fetch(url: str, part: Path, expected: int, run: Run) -> None:
    """Download into `part`, going on where an earlier try ended."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        answer = urllib.request.urlopen(request, timeout=PATIENCE)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing is left to send: it is whole already
            return
        raise
    with answer, part.open("ab") as file:
        if answer.status != 206:  # the server starts over
            file.truncate(0)
            have = 0
        total = have + int(answer.headers.get("Content-Length") or expected)
        while block := answer.read(BLOCK):
            file.write(block)
            have += len(block)
            told = f"downloading, {have / 1e6:.0f} of {total / 1e6:.0f} MB"
            run.progress(0.95 * have / max(total, 1), told)
            if run.should_stop():
                raise Cancelled
    if have < total:
        raise OSError(f"the connection ended after {have} of {total} bytes")


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
