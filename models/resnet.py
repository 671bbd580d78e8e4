"""The classifier: torchvision's ResNet-18 with a linear layer for the dataset's classes."""

import torch
from huggingface_hub import PyTorchModelHubMixin
from torch import Tensor, nn
from torchvision.models import resnet18


class Classifier(nn.Module, PyTorchModelHubMixin):
    """Images (n, 1 or 3, H, W) in [-1, 1] → logits (n, classes); gray is repeated to 3."""

    def __init__(self, classes: list[str]) -> None:
        super().__init__()
        self.classes = list(classes)
        self.network = resnet18(weights=None, num_classes=len(classes))

    def forward(self, images: Tensor) -> Tensor:
        if images.shape[1] == 1:
            images = images.expand(-1, 3, -1, -1)
        logits: Tensor = self.network(images)
        return logits


def seeded_classifier(classes: list[str], seed: int) -> Classifier:
    """A fresh classifier, the same for the same seed; the global random state is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Classifier(classes=classes)
