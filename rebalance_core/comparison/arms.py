"""What an arm is: the images it adds, and the recipe of its classifier."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from rebalance_core.classifiers.recipe import REMEDIES, Recipe
from rebalance_core.classifiers.schedules import Schedule
from rebalance_core.errors import UserError
from rebalance_core.generators.spec import generator_specs

BASELINE = "none"
# Free arms without which a claim names what is missing.
NEEDED_RIVALS = (BASELINE, "oversample", "augment+oversample", "logit-adjusted-after")
# Controls: neither remedies nor generated arms, they show what added images are worth.
PLACEBO = "placebo"
_RETURNED = re.compile(r"returned:([1-9]\d{0,3})")
WEIGHTED = ("class-weighted", "logit-adjusted")  # losses that depend on the class frequencies
CONTROLS = {
    PLACEBO: "as many images as a generator adds, each a copy of a real one, augmented once",
    "returned:1": "as many more real images of the rare classes as there are, of those that the "
    "skew withheld (returned:2: twice as many)",
}


def without_unknown(names: Iterable[str]) -> tuple[str, ...]:
    """The arms of a preset whose generator is installed."""
    known = {None, *generated_arms()}
    return tuple(name for name in names if Arm.parse(name).images in known)


def generated_arms() -> tuple[str, ...]:
    """Arms that add the images of a generator: one per generator, by its name."""
    return tuple(generator_specs())


def is_remedy_generator(name: str | None) -> bool:
    """Whether a generator does not learn, so that its images count as a remedy."""
    spec = generator_specs().get(name or "")
    return spec is not None and not spec.learns


def descriptions() -> dict[str, str]:
    """{word of an arm: summary}, for the baseline, the remedies and the generators."""
    return {
        BASELINE: "the real images as they are",
        **{word: remedy.summary for word, remedy in REMEDIES.items()},
        **CONTROLS,
        **{name: spec.summary for name, spec in generator_specs().items()},
    }


@dataclass(frozen=True)
class Arm:
    """A classifier's recipe and the images added to its training set.

    `images` is a generator (its newest synthetic set that fits is used) or a synthetic set;
    `control` is `placebo` or `returned:k` instead.
    """

    images: str | None = None
    recipe: Recipe = field(default_factory=Recipe)
    control: str | None = None

    @classmethod
    def parse(cls, text: str) -> "Arm":
        """Parse a name such as `augment+focal+ddpm`.

        A word that is neither a remedy nor a generator names a synthetic set. Raises UserError for
        two words that exclude each other.
        """
        values: dict[str, str] = {}
        for word in (w.strip() for w in text.split("+")):
            if not word:
                raise UserError(f"Arm {text!r} has an empty part; write names joined by +.")
            for name, value in _settings(word).items():
                if values.get(name, value) != value:
                    raise UserError(
                        f"Arm {text!r} names {name} twice ({values[name]} and {value}); an arm "
                        "takes one."
                    )
                values[name] = value
        images, control = values.pop("images", None), values.pop("control", None)
        if images and control:
            raise UserError(
                f"Arm {text!r} adds two kinds of images ({images} and {control}); an arm adds one."
            )
        recipe = Recipe(**values)  # type: ignore[arg-type] # values of REMEDIES
        _check_corrections(text, recipe)
        return cls(images, recipe, control)

    def __str__(self) -> str:
        """The words joined in a fixed order, so that equal arms have equal names."""
        recipe = asdict(self.recipe).items()
        words = [word for word, r in REMEDIES.items() if r.changes.items() <= recipe]
        return "+".join(filter(None, [*words, self.images, self.control])) or BASELINE

    @property
    def has_only_real_images(self) -> bool:
        """Whether it adds nothing, or only withheld images as they are."""
        return self.images is None and self.control != PLACEBO

    @property
    def returned(self) -> int | None:
        """k of the control `returned:k`, None for another arm."""
        match = _RETURNED.fullmatch(self.control or "")
        return int(match[1]) if match else None


def _check_corrections(text: str, recipe: Recipe) -> None:
    """Raise UserError where the class frequencies would be corrected for twice, or to no effect."""
    is_resampled, is_weighted = recipe.sampler != "as-is", recipe.loss in WEIGHTED
    if recipe.prediction != "as-is" and (is_resampled or is_weighted or recipe.stage != "none"):
        raise UserError(
            f"Arm {text!r} corrects for the class frequencies twice, in training and after; leave "
            "out one of the two."
        )
    if recipe.stage != "none" and (is_resampled or is_weighted):
        raise UserError(
            f"Arm {text!r} corrects for the class frequencies twice, in the last epochs and in all "
            "of them; leave out one of the two."
        )
    if is_resampled and is_weighted:
        raise UserError(
            f"Arm {text!r} adjusts a loss for the class frequencies, which resampling makes equal; "
            "leave out one of the two."
        )


def _settings(word: str) -> Mapping[str, str]:
    """The fields that one word of an arm's name sets."""
    if word == BASELINE:
        return {}
    if word == PLACEBO or _RETURNED.fullmatch(word):
        return {"control": word}
    return REMEDIES[word].changes if word in REMEDIES else {"images": word}


def arm_name(text: str) -> str:
    """Normalise an arm's name, in whatever order its words are written."""
    return str(Arm.parse(text))


def variant_name(arm: str, amount: str | None, schedule: str | None) -> str:
    """The arm and, if it adds images, amount and schedule: `augment+ddpm, 0.5, until epoch 10`."""
    if amount is None or schedule is None:
        return arm
    return f"{arm}, {amount}, {Schedule.parse(schedule).words}"


def with_labels(lines: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Add each line's `variant_name` as `label`."""
    return [
        {**line, "label": variant_name(line["arm"], line.get("amount"), line["schedule"])}
        for line in lines
    ]
