"""Feature extractors: HOG, VGG-16, ResNet-18.

These are the facts that pages and commands need; only `networks.py` imports torch.
"""

from dataclasses import dataclass
from typing import Literal

ExtractorName = Literal["hog", "vgg16", "resnet18"]
ExtractorChoice = Literal["auto", "hog", "vgg16", "resnet18"]
NetworkName = Literal["vgg16", "resnet18", "inception"]


@dataclass(frozen=True)
class Extractor:
    """`size`: input side in px; `width`: number of values per feature vector."""

    name: ExtractorName | NetworkName
    title: str
    size: int
    width: int


@dataclass(frozen=True)
class Download:
    """The file of torchvision's pretrained weights."""

    url: str
    sha256: str  # first digits, as in torchvision's file name
    megabytes: int


NETWORKS: dict[NetworkName, Extractor] = {
    "vgg16": Extractor("vgg16", "VGG-16", 224, 4096),  # paper, section 3.1
    "resnet18": Extractor("resnet18", "ResNet-18", 224, 512),
    "inception": Extractor("inception", "Inception v3", 299, 2048),  # for scores only
}
EXTRACTORS: dict[ExtractorName, Extractor] = {
    "hog": Extractor("hog", "HOG of the head", 128, 648),
    "vgg16": NETWORKS["vgg16"],
    "resnet18": NETWORKS["resnet18"],
}
DOWNLOADS: dict[NetworkName, Download] = {
    "vgg16": Download("https://download.pytorch.org/models/vgg16-397923af.pth", "397923af", 528),
    "resnet18": Download(
        "https://download.pytorch.org/models/resnet18-f37072fd.pth", "f37072fd", 45
    ),
    "inception": Download(
        "https://download.pytorch.org/models/inception_v3_google-0cc3c7bd.pth", "0cc3c7bd", 104
    ),
}
