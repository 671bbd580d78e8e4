"""The comparison's configs and the paper's reported figures."""

from collections.abc import Mapping
from math import prod
from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from rebalance_core.classifiers.config import ClassifierConfig
from rebalance_core.classifiers.measures import PRIMARY, find_measure
from rebalance_core.classifiers.schedules import Schedule
from rebalance_core.comparison.amounts import parse_amount
from rebalance_core.comparison.arms import BASELINE, NEEDED_RIVALS, PLACEBO, Arm, arm_name
from rebalance_core.config import Config, DatasetRef, Seed, SetRef, SyntheticRef, Unique
from rebalance_core.errors import UserError
from rebalance_core.training_sets.config import OPEN, TestPart

PAPER_ARMS = (BASELINE, "bagan-gp", "ddpm")
# What a claim needs: the free rivals, the controls, and one generator.
CLAIM_ARMS = (*NEEDED_RIVALS, "smote", PLACEBO, "returned:1", "conditional-ddpm")
MAX_SEEDS, MAX_CELLS = 1000, 20_000  # of one comparison, each a classifier that is trained

# Training images of the paper's data, section 4.
PAPER_COUNTS = {"glioma": 1321, "meningioma": 1339, "notumor": 1595, "pituitary": 1457}
# {(arm, amount, schedule): best validation accuracy in percent}, section 5.4 (Figures 2, 5, 6, 7).
PAPER_ACCURACY = {
    (BASELINE, None, "always"): 88.875,
    ("bagan-gp", "1000", "always"): 88.7097,
    ("ddpm", "1000", "always"): 86.3710,
    ("bagan-gp", "1000", "until:10"): 88.3468,
    ("ddpm", "1000", "until:10"): 85.4234,
    ("bagan-gp", "1000", "real-every:4"): 87.9839,
    ("ddpm", "1000", "real-every:4"): 87.1976,
}


def _names(value: Any) -> Any:
    """Wrap a single name or number in a tuple."""
    return (str(value),) if isinstance(value, str | int | float) else value


Names = BeforeValidator(_names)
ArmNames = AfterValidator(lambda names: tuple(arm_name(n) for n in names))
# Parsed here only to reject invalid schedules early; resolved with the training set.
ScheduleNames = AfterValidator(lambda names: tuple(str(Schedule.parse(n)) for n in names))
Amounts = AfterValidator(lambda amounts: tuple(a for a in amounts if parse_amount(a)))


def _measure_key(key: str) -> str:
    measure = find_measure(key)
    if not measure.higher_is_better:
        raise UserError(f"Of {key} lower is better; a comparison tests one of which higher is.")
    return measure.key


MeasureKey = Annotated[str, AfterValidator(_measure_key)]


class CompareConfig(Config):
    """Arms × schedules × amounts × seeds on one training set. The defaults are the paper's."""

    preset: str = "paper"
    set: SetRef
    test_part: TestPart = OPEN  # of a set with reserved test images, the part to evaluate on
    arms: Annotated[tuple[str, ...], Names, ArmNames, Unique] = Field(
        default=PAPER_ARMS, min_length=1
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
    seeds: Annotated[tuple[Seed, ...], Unique] = Field(
        default=(0,), min_length=1, max_length=MAX_SEEDS
    )
    # each seed draws its own skew and uses generators trained on that draw only
    redraw: bool = False
    # with redraw, each seed draws its own test images too, from a dataset without a test split
    repeat_splits: bool = False
    # {images of an arm, or `ddpm, seed 1`: synthetic set}; default: the newest that fits
    synthetic: dict[str, SyntheticRef] = Field(default_factory=dict)
    primary: str | None = None  # arm that the question is about; None: the best on validation
    measure: MeasureKey = PRIMARY  # whose differences are tested
    margin: float = Field(default=2.0, gt=0, le=100)  # points: of equivalence and of power
    against: str | None = None  # arm shown as the reference; None: the best free on validation
    # another dataset with the same classes, evaluated on as well; never for training or a choice
    external: DatasetRef | None = None
    test_every_epoch: bool = True  # for figures at the best epoch on test (5.4), never for choices
    reuse: bool = True  # copy cells that another comparison has finished
    classifier: ClassifierConfig = ClassifierConfig()

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {
            "test_every_epoch": False,
            "arms": CLAIM_ARMS,
            "amounts": ("1.0",),
            "cap": 300,
            "schedules": ("always",),
            "classifier": {
                "size": 32,
                "epochs": 8,
                "budget": "updates",
                "lr": 0.01,
                "cosine": True,
                "batch_size": 64,
                "precision": "fp32",
            },
        },
        "small": {
            "test_every_epoch": False,
            "arms": CLAIM_ARMS,
            "amounts": ("1.0",),
            "schedules": ("always",),
            "classifier": {
                "size": 64,
                "epochs": 20,
                "budget": "updates",
                "lr": 0.01,
                "precision": "auto",
            },
        },
        "paper": {},
        "strong": {
            "test_every_epoch": False,
            "arms": CLAIM_ARMS,
            "amounts": ("0.5",),
            "schedules": ("always",),
            "classifier": {
                "size": 128,
                "epochs": 40,
                "budget": "updates",
                "lr": 0.02,
                "cosine": True,
                "augmentation": "scans",
                "pretrained": "if-available",
                "precision": "auto",
            },
        },
    }

    @model_validator(mode="after")
    def _plan_is_bounded(self) -> Self:
        factors = self.arms, self.schedules, self.amounts, self.seeds
        cells = prod(len(factor) for factor in factors)
        if cells > MAX_CELLS:
            raise ValueError(
                f"arms × schedules × amounts × seeds are {cells} cells, above {MAX_CELLS}"
            )
        return self

    @property
    def parsed(self) -> tuple[Arm, ...]:
        return tuple(Arm.parse(name) for name in self.arms)
