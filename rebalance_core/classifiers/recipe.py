"""The recipe of a classifier (sampler, loss, augmentation), and the remedies that change it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Sampler = Literal["as-is", "over", "under"]
Loss = Literal["cross-entropy", "class-weighted", "focal", "logit-adjusted", "label-smoothed"]
Augmentation = Literal["none", "scans", "trivial"]
Mixing = Literal["none", "mixup", "cutmix"]
Stage = Literal["none", "reweighted", "last-layer"]  # what the last fifth of the epochs does
Decay = Literal["none", "5e-4"]
Averaging = Literal["none", "last-epochs"]  # of the weights, over the last fifth of the epochs
Prediction = Literal["as-is", "logit-adjusted"]
Views = Literal["one", "mirrored"]


@dataclass(frozen=True)
class Recipe:
    """How one classifier is trained, and what is made of its predictions."""

    sampler: Sampler = "as-is"
    loss: Loss = "cross-entropy"
    augmentation: Augmentation = "none"
    mixing: Mixing = "none"
    stage: Stage = "none"
    decay: Decay = "none"  # weight decay
    averaging: Averaging = "none"
    prediction: Prediction = "as-is"
    views: Views = "one"  # of an image, whose predictions are averaged

    @property
    def weight_decay(self) -> float:
        return 0.0 if self.decay == "none" else float(self.decay)

    @property
    def has_own_training(self) -> bool:
        """Whether its network is not that of the same recipe with predictions as they are."""
        return self.prediction == "as-is" and self.views == "one"


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
            "trivial-augment",
            "one random operation of fourteen on each image, at a random strength (TrivialAugment)",
            {"augmentation": "trivial"},
        ),
        Remedy(
            "mixup", "images are blended in pairs, and so are their labels", {"mixing": "mixup"}
        ),
        Remedy(
            "cutmix",
            "a rectangle of an image is replaced by that of another, and its share of the label",
            {"mixing": "cutmix"},
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
            "label-smoothing",
            "a tenth of each label is spread over all classes",
            {"loss": "label-smoothed"},
        ),
        Remedy(
            "drw",
            "errors are weighted by class in the last fifth of the epochs only (deferred "
            "re-weighting)",
            {"stage": "reweighted"},
        ),
        Remedy(
            "crt",
            "in the last fifth of the epochs the last layer alone is trained again, on balanced "
            "batches (classifier re-training)",
            {"stage": "last-layer"},
        ),
        Remedy("weight-decay", "weights are pulled to zero, with 0.0005", {"decay": "5e-4"}),
        Remedy(
            "weight-average",
            "the weights after each of the last fifth of the epochs are averaged (stochastic "
            "weight averaging)",
            {"averaging": "last-epochs"},
        ),
        Remedy(
            "mirrored-test",
            "predictions of a test image and its mirror image are averaged",
            {"views": "mirrored"},
        ),
        Remedy(
            "logit-adjusted-after",
            "the log frequencies of the classes are subtracted from the logits of the finished "
            "classifier, without any training",
            {"prediction": "logit-adjusted"},
        ),
    )
}
