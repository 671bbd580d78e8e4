"""The ways to turn an image into a feature vector: HOG, VGG-16, ResNet-18.

Here is what pages and commands need to know of them; torch is imported by `networks.py` only.
"""

from dataclasses import dataclass
from typing import Literal

ExtractorName = Literal["hog", "vgg16", "resnet18"]
ExtractorChoice = Literal["auto", "hog", "vgg16", "resnet18"]
NetworkName = Literal["vgg16", "resnet18", "inception"]


@dataclass(frozen=True)
class Extractor:
    """`size`: px at which images are read; `width`: values of a feature vector."""

    name: ExtractorName | NetworkName
    title: str
    size: int
    width: int


@dataclass(frozen=True)
class Download:
    """Where torchvision's pretrained weights are, and how they begin in SHA-256."""

    url: str
    sha256: str  # its first digits, as torchvision puts them into the file's name
    megabytes: int


NETWORKS: dict[NetworkName, Extractor] = {
    "vgg16": Extractor("vgg16", "VGG-16", 224, 4096),  # paper, section 3.1
    "resnet18": Extractor("resnet18", "ResNet-18", 224, 512),
    "inception": Extractor("inception", "Inception v3", 299, 2048),  # for scores alone
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
