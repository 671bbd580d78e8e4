"""The comparison's configs and the paper's reported figures."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BeforeValidator, Field

from rebalance_core.classifiers.config import ClassifierConfig
from rebalance_core.classifiers.schedules import Schedule
from rebalance_core.comparison.amounts import parse_amount
from rebalance_core.comparison.arms import BASELINE, Arm, arm_name
from rebalance_core.config import Config, Seed, SetRef, SyntheticRef, Unique
from rebalance_core.training_sets.config import OPEN, TestPart

DEFAULT_ARMS = (BASELINE, "bagan-gp", "ddpm")  # the paper's

# Best validation accuracy in percent, paper section 5.4 (Figures 2, 5, 6, 7).
PAPER_ACCURACY = {
    (BASELINE, "always"): 88.875,
    ("bagan-gp", "always"): 88.7097,
    ("ddpm", "always"): 86.3710,
    ("bagan-gp", "until"): 88.3468,
    ("ddpm", "until"): 85.4234,
    ("bagan-gp", "real-every"): 87.9839,
    ("ddpm", "real-every"): 87.1976,
}


def _names(value: Any) -> Any:
    """Wrap a single name or number in a tuple."""
    return (str(value),) if isinstance(value, str | int | float) else value


Names = BeforeValidator(_names)
ArmNames = AfterValidator(lambda names: tuple(arm_name(n) for n in names))
# Parsed here only to reject invalid schedules early; resolved with the training set.
ScheduleNames = AfterValidator(lambda names: tuple(str(Schedule.parse(n)) for n in names))
Amounts = AfterValidator(lambda amounts: tuple(a for a in amounts if parse_amount(a)))


class CompareConfig(Config):
    """Arms × schedules × amounts × seeds on one training set. The defaults are the paper's."""

    preset: str = "paper"
    set: SetRef
    test_part: TestPart = OPEN  # of a set with reserved test images, the part to evaluate on
    arms: Annotated[tuple[str, ...], Names, ArmNames, Unique] = Field(
        default=DEFAULT_ARMS, min_length=1
    )
    # of arms that add images (Figures 5, 6, 7)
    schedules: Annotated[tuple[str, ...], Names, ScheduleNames, Unique] = Field(
        default=("always", "until:10", "real-every:4"), min_length=1
    )
    # images per minority class, or fractions of balance such as 1.0 (5.1, 5.3)
    amounts: Annotated[tuple[str, ...], Names, Amounts, Unique] = Field(
        default=("1000",), min_length=1
    )
    cap: int | None = Field(default=None, ge=1)  # maximum number of synthetic images per arm
    seeds: Annotated[tuple[Seed, ...], Unique] = Field(default=(0,), min_length=1)
    # each seed draws its own skew and uses generators trained on that draw only
    redraw: bool = False
    # {images of an arm, or `ddpm, seed 1`: synthetic set}; default: the newest that fits
    synthetic: dict[str, SyntheticRef] = Field(default_factory=dict)
    reuse: bool = True  # copy cells that another comparison has finished
    classifier: ClassifierConfig = ClassifierConfig()

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {
            "amounts": ("1.0",),
            "cap": 300,
            "schedules": ("always", "until:4", "real-every:4"),
            "classifier": {
                "size": 32,
                "epochs": 8,
                "lr": 0.01,
                "cosine": True,
                "batch_size": 64,
                "precision": "fp32",
            },
        },
        "small": {"amounts": ("1.0",), "classifier": {"size": 64, "epochs": 20, "lr": 0.01}},
        "paper": {},
        "strong": {
            "amounts": ("0.5",),
            "schedules": ("always", "until:20", "real-every:4"),
            "classifier": {
                "size": 128,
                "epochs": 40,
                "lr": 0.02,
                "cosine": True,
                "augmentation": "scans",
                "pretrained": "if-available",
            },
        },
    }

    @property
    def parsed(self) -> tuple[Arm, ...]:
        return tuple(Arm.parse(name) for name in self.arms)
