"""What an arm is: which images it adds, and how its classifier is shown and weighs them."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from rebalance_core.classifiers.recipe import Augmentation, Loss, Sampler
from rebalance_core.classifiers.schedules import Schedule
from rebalance_core.errors import UserError
from rebalance_core.generators.configs import CONFIGS

BASELINE = "none"

# Short names, in the order in which a joined name says them.
PRESETS: dict[str, dict[str, Any]] = {
    "augment": {"augmentation": "scans"},
    "oversample": {"sampler": "over"},
    "undersample": {"sampler": "under"},
    "class-weights": {"loss": "class-weighted"},
    "focal": {"loss": "focal"},
    "logit-adjusted": {"loss": "logit-adjusted"},
}
GENERATED = tuple(CONFIGS)  # arms that add a generator's images
REMEDY_GENERATORS = ("smote",)  # they learn nothing: an arm with their images is a remedy
MEANINGS = {
    BASELINE: "the real images as they are",
    "augment": "flips, small rotations, shifts and scalings, other brightness and contrast",
    "oversample": "images of rare classes come round more often in an epoch",
    "undersample": "each epoch draws as many images of every class as the rarest has",
    "class-weights": "a rare class's errors count more (inverse frequency)",
    "focal": "what is classified well already counts less",
    "logit-adjusted": "the classes' frequencies are added to the logits while training",
    "smote": "blends of two neighbouring images of a class",
    "bagan-gp": "images of BAGAN-GP",
    "ddpm": "images of one DDPM per minority class",
    "conditional-ddpm": "images of one guided diffusion model over all classes",
}


@dataclass(frozen=True)
class Arm:
    """`images` is a generator's name (its newest synthetic set that fits) or a synthetic set's."""

    images: str | None = None
    sampler: Sampler = "as-is"
    loss: Loss = "cross-entropy"
    augmentation: Augmentation = "none"

    @classmethod
    def parse(cls, text: str) -> "Arm":
        """`augment+focal+ddpm`; a word that is no short name is the name of a synthetic set.

        Raises UserError for two words that exclude each other.
        """
        values: dict[str, str] = {}
        for word in (w.strip() for w in text.split("+")):
            if not word:
                raise UserError(f"Arm {text!r} has an empty part; write names joined by +.")
            meant = {} if word == BASELINE else PRESETS.get(word, {"images": word})
            for field, value in meant.items():
                if values.get(field, value) != value:
                    raise UserError(
                        f"Arm {text!r} names {field} twice ({values[field]} and {value}); an arm "
                        "takes one."
                    )
                values[field] = value
        return cls(**values)  # type: ignore[arg-type]

    def __str__(self) -> str:
        """The joined short names, in one order: the same arm has the same name."""
        told = {f.name: getattr(self, f.name) for f in fields(self)}
        words = [n for n, p in PRESETS.items() if all(told[k] == v for k, v in p.items())]
        return "+".join([*words, *([self.images] if self.images else [])]) or BASELINE


def arm_name(text: str) -> str:
    """A name as people write it → the name that the same arm always has."""
    return str(Arm.parse(text))


def variant_name(told: Mapping[str, Any]) -> str:
    """`augment+ddpm, 0.5, until epoch 10`: an arm, and what else tells its cells from others'."""
    if told["amount"] is None:
        return str(told["arm"])
    return f"{told['arm']}, {told['amount']}, {Schedule.parse(told['schedule']).words}"
