"""The guide's table of presets states the values of the configs."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rebalance_core.comparison.config import CompareConfig
from rebalance_core.config import PRESETS, Config
from rebalance_core.generators.bagan_gp.config import BaganConfig
from rebalance_core.generators.diffusion.config import ConditionalDdpmConfig, DdpmConfig
from rebalance_core.generators.spec import generator_specs

GUIDE = (Path(__file__).parents[1] / "docs/guide.md").read_text()
QUIRKS = {"interpolation": "normal", "wrong_labels": "any", "fake_labels": "uniform"}
PREDICTION = {"v_prediction": "velocity", "epsilon": "noise"}


def training(config: Any, steps: str = "steps", epochs: str = "epochs") -> str:
    """The length of a training, in steps if the preset sets them, else in epochs."""
    length = getattr(config, steps)
    return f"{getattr(config, epochs)} epochs" if length is None else f"{length} steps"


def sampler(config: Any) -> str:
    return f"{config.sampler}, {config.sampler_steps} steps"


def has_all(*switches: bool) -> bool:
    """Whether all switches of a row are on; none of them may differ."""
    (value,) = set(switches)
    return value


def has_tuning(config: Any) -> bool:
    return has_all(config.balanced, config.discriminator_start == "encoder", config.ema > 0)


def has_quirks(config: Any) -> bool:
    return has_all(*(getattr(config, name) == value for name, value in QUIRKS.items()))


def amount(config: Any) -> str:
    (only,) = config.amounts
    return only if config.cap is None else f"{only}, at most {config.cap} images"


def rate(config: Any) -> str:
    return f"{config.lr}, cosine" if config.cosine else str(config.lr)


def listed(values: Any) -> str:
    return ", ".join(map(str, values))


Cell = Callable[[Any], object]
SMOTE: list[tuple[type[Config], dict[str, Cell]]] = [
    (
        spec.config,
        {
            "SMOTE, px": lambda c: c.size,
            "neighbours": lambda c: c.neighbours,
            "classifier, for `space=features` only": lambda c: f"{c.epochs} epochs at {c.lr}",
        },
    )
    for spec in generator_specs().values()
    if spec.name == "smote"
]
# Config and {row of the table: its value for a preset}, in the order of the table.
SECTIONS: list[tuple[type[Config], dict[str, Cell]]] = [
    (
        BaganConfig,
        {
            "BAGAN-GP, px": lambda c: c.size,
            "autoencoder": lambda c: training(c, "autoencoder_steps", "autoencoder_epochs"),
            "adversarial training": training,
            "batch size": lambda c: c.batch_size,
            "discriminator updates per generator update": lambda c: c.discriminator_updates,
            "learning rate": lambda c: c.lr,
            "quirks of the original": lambda c: "kept" if has_quirks(c) else "fixed",
            "balanced batches, discriminator from the encoder, averaged generator": lambda c: (
                "yes" if has_tuning(c) else "no"
            ),
        },
    ),
    (
        DdpmConfig,
        {
            "DDPM, px": lambda c: c.size,
            "training per class": training,
            "prediction": lambda c: PREDICTION[c.prediction],
            "learning rate": lambda c: c.lr,
            "EMA decay": lambda c: f"{c.ema:g}",
            "sampler": sampler,
        },
    ),
    (
        ConditionalDdpmConfig,
        {
            "Conditional DDPM, px": lambda c: c.size,
            "widths": lambda c: listed(c.widths),
            "pixel unshuffle": lambda c: c.unshuffle,
            "training": lambda c: f"{training(c)} of {c.batch_size} images",
            "prediction, betas": lambda c: f"{PREDICTION[c.prediction]}, {c.schedule}",
            "EMA decay, warp probability": lambda c: f"{c.ema:g}, {c.warp:g}",
            "guidance scale": lambda c: f"{c.guidance:g}",
            "sampler": sampler,
        },
    ),
    *SMOTE,
    (
        CompareConfig,
        {
            "Classifier, px": lambda c: c.classifier.size,
            "epochs": lambda c: c.classifier.epochs,
            "learning rate": lambda c: rate(c.classifier),
            "batch size": lambda c: c.classifier.batch_size,
            "augmentation of every arm": lambda c: c.classifier.augmentation,
            "ImageNet weights": lambda c: c.classifier.pretrained,
            "Amount": amount,
            "Schedules": lambda c: listed(c.schedules),
        },
    ),
]
ROWS = [(config, name, cell) for config, cells in SECTIONS for name, cell in cells.items()]


def table() -> list[list[str]]:
    """The cells of each row of the table, without the sources in parentheses."""
    text = GUIDE.split("\n## Presets in numbers\n\n", 1)[1].split("\n\n", 1)[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    assert rows[0] == ["", *(f"`{preset}`" for preset in PRESETS)]
    cells = [[re.sub(r"^… | \([^)]*\d\.\d\)$", "", cell) for cell in row] for row in rows[2:]]
    if SMOTE:
        return cells
    # Without the generator, its section of the guide is not held to anything.
    names = [row[0] for row in cells]
    return cells[: names.index("SMOTE, px")] + cells[names.index("Classifier, px") :]


@pytest.mark.parametrize("number", range(len(ROWS)), ids=[name for _, name, _ in ROWS])
def test_a_row_of_the_guides_table_states_the_presets(number: int) -> None:
    config, name, cell = ROWS[number]
    needed = {"set": "any"} if config is CompareConfig else {}
    presets = [config.from_preset(preset, **needed) for preset in PRESETS]
    assert table()[number] == [name, *(str(cell(preset)) for preset in presets)]


def test_the_guides_table_has_no_other_rows() -> None:
    assert len(table()) == len(ROWS)
