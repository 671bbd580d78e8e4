"""The classifier: ResNet-18 or another network, with a linear layer for the dataset's classes."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import torch
import torchvision.models
from huggingface_hub import PyTorchModelHubMixin
from torch import Tensor, nn

SMALL_RESNET = "resnet18_3x3"  # ResNet-18 whose first layers keep the resolution of small images
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of [0, 1]


def classifier_names() -> list[str]:
    """Names of torchvision's classification models, and `resnet18_3x3`."""
    return [*torchvision.models.list_models(module=torchvision.models), SMALL_RESNET]


def small_resnet(classes: int) -> nn.Module:
    """ResNet-18 with a 3×3 first convolution of stride 1, and without the pooling after it.

    For images of about 32 px, of which the usual stem leaves 8 (He et al. 2016, arXiv 1512.03385,
    section 4.2, as widely used with ResNet-18 for CIFAR).
    """
    model: nn.Module = torchvision.models.resnet18(weights=None, num_classes=classes)
    stem = nn.Conv2d(3, 64, kernel_size=3, stride=1, padding=1, bias=False)
    nn.init.kaiming_normal_(stem.weight, mode="fan_out", nonlinearity="relu")  # as torchvision's
    model.conv1 = stem
    model.maxpool = nn.Identity()
    return model


def build_network(network: str, classes: int) -> nn.Module:
    """Initialise a model of `classifier_names`, or call `module:function` with the class count.

    Raises ValueError for an unknown model, ImportError or AttributeError for an unknown function,
    TypeError if it does not return a `torch.nn.Module`, and whatever the function itself raises.
    """
    if network == SMALL_RESNET:
        return small_resnet(classes)
    module, colon, function = network.partition(":")
    if not colon:
        model: nn.Module = torchvision.models.get_model(network, weights=None, num_classes=classes)
        return model
    model = getattr(import_module(module), function)(classes)
    if not isinstance(model, nn.Module):
        raise TypeError(f"{network} returns a {type(model).__name__}, not a torch.nn.Module")
    return model


class Classifier(nn.Module, PyTorchModelHubMixin):
    """Images (n, 1 or 3, H, W) in [-1, 1] → logits (n, classes); gray is repeated to 3 channels.

    `imagenet`: the weights were pretrained on ImageNet, so inputs get ImageNet's normalisation.
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
        output: Any = self.network(images)
        # In training, Inception and GoogLeNet return auxiliary logits too.
        logits: Tensor = output if isinstance(output, Tensor) else output[0]
        return logits

    def load_pretrained(self, state_dict: Mapping[str, Tensor]) -> None:
        """Load ImageNet weights of the same network, except the last layer for 1000 classes."""
        own = self.network.state_dict()
        matching = {k: v for k, v in state_dict.items() if k in own and own[k].shape == v.shape}
        self.network.load_state_dict(matching, strict=False)


def seeded_classifier(
    classes: list[str], seed: int, network: str = "resnet18", imagenet: bool = False
) -> Classifier:
    """Initialise a classifier from `seed`, without touching the global random state."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Classifier(classes=classes, network=network, imagenet=imagenet)
