"""The classifier: ResNet-18 with a linear layer for the dataset's classes, or another network."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import torch
import torchvision.models
from huggingface_hub import PyTorchModelHubMixin
from torch import Tensor, nn

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of [0, 1]


def classifier_names() -> list[str]:
    """torchvision's classification models."""
    return list(torchvision.models.list_models(module=torchvision.models))


def build_network(network: str, classes: int) -> nn.Module:
    """A fresh network: a torchvision model by name, or what `module:function` gives for a number
    of classes; raises ValueError, ImportError or whatever that function raises."""
    module, colon, function = network.partition(":")
    if not colon:
        made: nn.Module = torchvision.models.get_model(network, weights=None, num_classes=classes)
        return made
    made = getattr(import_module(module), function)(classes)
    if not isinstance(made, nn.Module):
        raise TypeError(f"{network} gives a {type(made).__name__}, not a torch.nn.Module")
    return made


class Classifier(nn.Module, PyTorchModelHubMixin):
    """Images (n, 1 or 3, H, W) in [-1, 1] → logits (n, classes); gray is repeated to 3.

    `imagenet`: the network expects ImageNet's normalisation, since its weights came from there.
    """

    def __init__(
        self, classes: list[str], network: str = "resnet18", imagenet: bool = False
    ) -> None:
        super().__init__()
        self.classes = list(classes)
        self.imagenet = imagenet
        self.mean: Tensor
        self.std: Tensor
        self.network: nn.Module = build_network(network, len(classes))
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        if images.shape[1] == 1:
            images = images.expand(-1, 3, -1, -1)
        if self.imagenet:
            images = ((images + 1) / 2 - self.mean) / self.std
        told: Any = self.network(images)
        # Inception and GoogLeNet give auxiliary logits too while they train.
        logits: Tensor = told if isinstance(told, Tensor) else told[0]
        return logits

    def take_weights(self, tensors: Mapping[str, Tensor]) -> None:
        """Take pretrained weights of the same network, all but its last layer for 1000 classes."""
        own = self.network.state_dict()
        fitting = {k: v for k, v in tensors.items() if k in own and own[k].shape == v.shape}
        self.network.load_state_dict(fitting, strict=False)


def seeded_classifier(
    classes: list[str], seed: int, network: str = "resnet18", imagenet: bool = False
) -> Classifier:
    """A fresh classifier, the same for the same seed; the global random state is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Classifier(classes=classes, network=network, imagenet=imagenet)
