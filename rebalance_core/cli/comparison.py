"""`compare` and `rebalance`: compare arms, and export a rebalanced training set."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from rebalance_core.classifiers.measures import PRIMARY
from rebalance_core.cli.common import (
    Detach,
    EstimateOnly,
    Json,
    Override,
    Preset,
    SetName,
    emit,
    start,
    wait_until_done,
    warn_of_damaged,
)
from rebalance_core.comparison.config import CompareConfig
from rebalance_core.config import parse_overrides
from rebalance_core.errors import UserError
from rebalance_core.runs.start import start_run
from rebalance_core.runs.trust import check_trusted, custom_network, network_override
from rebalance_core.training_sets.config import OPEN
from rebalance_core.workspace import Workspace

app = typer.Typer()

OptionalSet = Annotated[
    str | None, typer.Argument(metavar="SET", help="A training set or a dataset.")
]
Arms = Annotated[
    str | None,
    typer.Option(
        help="Comma-separated; parts of an arm are joined by +, as in augment+focal+ddpm. Parts: "
        "none, augment, oversample, undersample, class-weights, focal, logit-adjusted, "
        "logit-adjusted-after, a "
        "generator, or a synthetic set."
    ),
]
Schedules = Annotated[
    str | None,
    typer.Option(
        help="Comma-separated: always, until:10, until:half, real-every:4, pretrain:half."
    ),
]
Amounts = Annotated[
    str | None,
    typer.Option(
        help="Comma-separated: 0.5 is half of the way to full balance, 1000 is 1000 images."
    ),
]
Redraw = Annotated[
    bool,
    typer.Option(
        "--redraw", help="Redraw the skew for each seed; use only generators trained on that set."
    ),
]
ArmImages = Annotated[
    list[str] | None,
    typer.Option(help="ARM=NAME: take an arm's images from this synthetic set (repeat)."),
]
TestPart = Annotated[
    str, typer.Option(help="Of a set with reserved test images: open, or the part to open (A, B).")
]
Primary = Annotated[
    str | None,
    typer.Option(help="The generated arm of the claim; without it, the best on validation."),
]
MeasureKey = Annotated[
    str, typer.Option(help="Whose differences are tested: macro_f1, rare_recall, auprc, …")
]
Margin = Annotated[
    float, typer.Option(help="Points within which arms are equivalent, and to plan seeds for.")
]
Against = Annotated[
    str | None, typer.Option(help="Show generated arms against this one, as `augment+focal`.")
]
FromReport = Annotated[
    Path | None, typer.Option("--from", help="Repeat the comparison of this report.")
]


@app.command("compare")
def compare(
    set_name: OptionalSet = None,
    arms: Arms = None,
    schedules: Schedules = None,
    amount: Amounts = None,
    seeds: Annotated[str, typer.Option(help="Comma-separated.")] = "0",
    preset: Preset = "quick",
    redraw: Redraw = False,
    repeat_splits: Annotated[
        bool, typer.Option(help="With --redraw: draw the test images again too, if it can be done.")
    ] = False,
    test_part: TestPart = OPEN,
    external: Annotated[
        str | None, typer.Option(help="Evaluate on all images of this dataset, too.")
    ] = None,
    primary: Primary = None,
    measure: MeasureKey = PRIMARY,
    margin: Margin = 2.0,
    against: Against = None,
    synthetic: ArmImages = None,
    override: Override = None,
    from_report: FromReport = None,
    estimate_only: EstimateOnly = False,
    detach: Detach = False,
    as_json: Json = False,
) -> None:
    """Train classifiers for all arms, schedules and seeds, and report the differences."""
    from rebalance_core.comparison.cells import check_compare, default_arms
    from rebalance_core.training_sets.resolve import open_set

    workspace = Workspace.from_environment()
    if from_report is not None:
        config = _repeated(workspace, from_report, override)
    elif set_name is None:
        raise UserError("Name the training set to compare on, or a report with --from.")
    else:
        values = _split_all(arms=arms, schedules=schedules, amounts=amount, seeds=seeds)
        values["synthetic"] = _parse_pairs(synthetic or [])
        values |= {
            "redraw": redraw,
            "repeat_splits": repeat_splits,
            "test_part": test_part,
            "external": external,
            "primary": primary,
        }
        values |= {"measure": measure, "margin": margin, "against": against}
        if arms is None:
            values["arms"], left_out = default_arms(
                workspace, open_set(workspace, set_name), preset
            )
            for arm, reason in left_out.items():
                print(f"Left out: {arm}. {reason}", file=sys.stderr)
        config = _new_comparison(preset, override, set=set_name, **values)
    network = custom_network(config.model_dump())  # named on this command line
    cells = check_compare(workspace, config)
    warn_of_damaged(workspace)
    if estimate_only:
        emit(_estimate(workspace, config, cells, network), as_json)
        return
    start(config, detach, as_json, network=network)


def _repeated(workspace: Workspace, report: Path, override: list[str] | None) -> CompareConfig:
    """Config of a report's comparison; its own code must be named again in `override`."""
    from rebalance_core.comparison.report import from_report

    typed = network_override(override)

    def check(config: CompareConfig) -> None:
        check_trusted(config.model_dump(), typed, f"Report {report.name}", "run this command again")

    return from_report(workspace, report, check)


def _new_comparison(preset: str, override: list[str] | None, **values: Any) -> CompareConfig:
    """Config of a preset; `override` changes fields of its classifier."""
    if override:
        base = CompareConfig.presets.get(preset, {}).get("classifier", {})
        values["classifier"] = {**base, **parse_overrides(override)}
    return CompareConfig.from_preset(preset, **values)


def _split_all(**texts: str | None) -> dict[str, Any]:
    """Split the comma-separated texts that were given."""
    return {name: tuple(text.split(",")) for name, text in texts.items() if text}


def _parse_pairs(pairs: Iterable[str]) -> dict[str, str]:
    """`["arm=NAME", …]` → {arm: name}; raises UserError for a pair without `=`."""
    named = {}
    for pair in pairs:
        arm, equals, name = pair.partition("=")
        if not equals:
            raise UserError(f"--synthetic takes arm=NAME, not {pair!r}.")
        named[arm.strip()] = name.strip()
    return named


def _estimate(
    workspace: Workspace, config: CompareConfig, cells: list[Any], network: str | None
) -> dict[str, Any]:
    """Number of classifiers and seconds; a few steps are timed first unless they were before."""
    from rebalance_core.comparison.cells import plan_notes
    from rebalance_core.comparison.timing import estimate, timing_config

    seconds = estimate(workspace, config, cells)
    if seconds is None:
        view = start_run(workspace, timing_config(workspace, config), network=network)
        wait_until_done(view)
        seconds = estimate(workspace, config, cells)
    notes = plan_notes(workspace, config)
    return {"classifiers": len(cells), "seconds": round(seconds or 0.0, 1), "notes": notes}


@app.command("rebalance")
def rebalance(
    set_name: SetName,
    arm: Annotated[str, typer.Argument(help="none, a generator, or a synthetic set.")],
    folder: Path,
    amount: Annotated[str, typer.Option(help="1.0 is full balance, 1000 is 1000 images.")] = "1.0",
    synthetic: Annotated[
        str | None, typer.Option(help="A synthetic set; by default the newest that fits.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write the rebalanced training set into a new FOLDER, with a manifest."""
    from rebalance_core.comparison.rebalanced import write_rebalanced

    workspace = Workspace.from_environment()
    written = write_rebalanced(workspace, set_name, arm, folder, amount=amount, synthetic=synthetic)
    warn_of_damaged(workspace)
    emit({k: written[k] for k in ("folder", "counts", "real", "added", "synthetic")}, as_json)
