"""Numbers that would be unrolled or allocated are refused in a config, before any work."""

import time
from pathlib import Path
from typing import Any

import pytest

from rebalance_core.classifiers.config import ClassifierConfig
from rebalance_core.comparison.config import MAX_SEEDS, CompareConfig
from rebalance_core.comparison.report import _read_stored
from rebalance_core.errors import UserError
from rebalance_core.generators.bagan_gp.config import BaganConfig
from rebalance_core.generators.diffusion.config import ConditionalDdpmConfig, DdpmConfig
from rebalance_core.generators.smote.config import SmoteConfig
from rebalance_core.study import StudyConfig

HUGE = 10**12


@pytest.mark.parametrize(
    ("config", "values"),
    [
        (ClassifierConfig, {"epochs": HUGE}),
        (ClassifierConfig, {"batch_size": HUGE}),
        (DdpmConfig, {"epochs": HUGE}),
        (DdpmConfig, {"steps": HUGE}),
        (DdpmConfig, {"layers": 100_000}),
        (DdpmConfig, {"widths": (HUGE,)}),
        (DdpmConfig, {"widths": (8,) * 100}),
        (DdpmConfig, {"widths": ()}),
        (ConditionalDdpmConfig, {"attention": tuple(range(9))}),
        (BaganConfig, {"epochs": HUGE}),
        (BaganConfig, {"batch_size": HUGE}),
        (SmoteConfig, {"epochs": HUGE}),
        (CompareConfig, {"set": "s", "seeds": tuple(range(200_000))}),
        (CompareConfig, {"set": "s", "classifier": {"epochs": HUGE}}),
        (StudyConfig, {"dataset": "p", "seeds": tuple(range(200_000))}),
    ],
)
def test_a_number_beyond_its_bound_is_one_sentence(config: Any, values: dict[str, Any]) -> None:
    started = time.monotonic()
    with pytest.raises(UserError, match="does not fit") as excinfo:
        config.build(**values)
    assert time.monotonic() - started < 1
    assert len(str(excinfo.value)) < 2000


def test_a_hostile_report_is_read_in_linear_time(tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text('<script type="application/json" id="study">' * 20_000)
    started = time.monotonic()
    with pytest.raises(UserError, match="is not a comparison report"):
        _read_stored(file)
    assert time.monotonic() - started < 1


def test_a_plan_of_a_million_cells_is_refused_in_a_second() -> None:
    started = time.monotonic()
    with pytest.raises(UserError, match=r"are 1000000 cells, above 20000\."):
        CompareConfig.build(
            set="s",
            arms=("none", "ddpm"),
            schedules=tuple(f"until:{n}" for n in range(1, 51)),
            amounts=tuple(str(n) for n in range(1, 11)),
            seeds=tuple(range(MAX_SEEDS)),
        )
    assert time.monotonic() - started < 1
