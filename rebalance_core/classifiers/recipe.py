"""The recipe of a classifier (sampler, loss, augmentation), and the remedies that change it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Sampler = Literal["as-is", "over", "under"]
Loss = Literal["cross-entropy", "class-weighted", "focal", "logit-adjusted"]
Augmentation = Literal["none", "scans"]
Prediction = Literal["as-is", "logit-adjusted"]


@dataclass(frozen=True)
class Recipe:
    """The sampler, loss and augmentation of one classifier, and what is made of its predictions."""

    sampler: Sampler = "as-is"
    loss: Loss = "cross-entropy"
    augmentation: Augmentation = "none"
    prediction: Prediction = "as-is"


@dataclass(frozen=True)
class Remedy:
    """A change of the recipe that needs no generator: its name in an arm, a summary, the change."""

    word: str
    summary: str
    changes: Mapping[str, str]  # {field of the recipe: value}


# In the order of their names in an arm.
REMEDIES = {
    remedy.word: remedy
    for remedy in (
        Remedy(
            "augment",
            "flips, small rotations, shifts and scalings, other brightness and contrast",
            {"augmentation": "scans"},
        ),
        Remedy(
            "oversample",
            "images of rare classes are repeated in an epoch until all classes are equal",
            {"sampler": "over"},
        ),
        Remedy(
            "undersample",
            "each epoch draws as many images of every class as the rarest has",
            {"sampler": "under"},
        ),
        Remedy(
            "class-weights",
            "errors of a class are weighted by its inverse frequency",
            {"loss": "class-weighted"},
        ),
        Remedy(
            "focal", "images that are already classified well are weighted less", {"loss": "focal"}
        ),
        Remedy(
            "logit-adjusted",
            "the log frequencies of the classes are added to the logits in training",
            {"loss": "logit-adjusted"},
        ),
        Remedy(
            "logit-adjusted-after",
            "the log frequencies of the classes are subtracted from the logits of the finished "
            "classifier, without any training",
            {"prediction": "logit-adjusted"},
        ),
    )
}
