"""Weights from a safetensors file that anybody may have written, checked against a network."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn


def load_weights(model: nn.Module, path: Path) -> None:
    """Load a safetensors file into a network, which may be on the meta device.

    The names, shapes and types in the file's header must be the network's, before any tensor is
    read; raises ValueError for others and for NaN or infinity, SafetensorError for a damaged file.
    """
    expected = model.state_dict()
    with safe_open(path, framework="pt") as file:
        names = set(file.keys())
        _check_names(names, set(expected))
        for name, tensor in expected.items():
            _check_header(name, file.get_slice(name), tensor)
        # Copied: a file that shrinks while it is mapped into memory would end the process.
        weights = {name: file.get_tensor(name).clone() for name in expected}
    check_finite(weights)
    model.load_state_dict(weights, strict=True, assign=True)


def _check_names(names: set[str], expected: set[str]) -> None:
    for problem, wrong in (("lack", expected - names), ("have the unknown", names - expected)):
        if wrong:
            raise ValueError(f"the weights {problem} {min(wrong)[:100]}")


def _check_header(name: str, entry: Any, tensor: Tensor) -> None:
    """Compare what the header says of a tensor, a slice of safetensors, with the network's."""
    shape, kind = tuple(entry.get_shape()), entry.get_dtype()
    if shape != tuple(tensor.shape):
        raise ValueError(f"{name} has the shape {shape}, not {tuple(tensor.shape)}")
    if tensor.is_floating_point() and kind != "F32":
        raise ValueError(f"{name} has the type {kind}, not F32")


def check_finite(weights: Mapping[str, Tensor]) -> None:
    """Raise ValueError if a weight is NaN or infinite."""
    for name, tensor in weights.items():
        if not torch.isfinite(tensor).all():
            raise ValueError(f"{name} contains NaN or infinity")
