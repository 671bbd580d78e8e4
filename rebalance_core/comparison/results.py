"""From finished cells to the table and the answer in words."""

import platform
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import numpy as np

from rebalance_core.comparison.arms import BASELINE, variant_name
from rebalance_core.comparison.cells import Ground
from rebalance_core.comparison.configs import MEASURES, PAPER_ACCURACY, CompareConfig
from rebalance_core.comparison.schedules import Schedule
from rebalance_core.comparison.statistics import (
    bootstrap_interval,
    holm,
    interval,
    paired_p,
    swing,
)
from rebalance_core.errors import UserError
from rebalance_core.runs.executor import view_run
from rebalance_core.runs.run import code_version, find_run
from rebalance_core.workspace import Workspace

PAPER_EPOCHS = (20, 30)  # the paper's text speaks of both
SIGNIFICANT = 0.05  # Holm-corrected p below which an arm is said to differ
VERSIONS = (
    "torch", "torchvision", "diffusers", "accelerate", "torchmetrics", "imbalanced-learn",
    "scikit-learn", "scipy", "numpy",
)  # fmt: skip


def summarise(
    workspace: Workspace,
    config: CompareConfig,
    grounds: Mapping[int, Ground],
    cells: list[dict[str, Any]],
    *,
    failed: int = 0,
) -> dict[str, Any]:
    """{results: a row an arm, amount and schedule, answer: a sentence true of the rows, …}.

    Test figures are of the epoch that validation chose; differences to baseline are paired by
    seed, in points of macro-F1 (0 to 100).
    """
    chosen = grounds[config.seeds[0]].chosen
    rows = rows_of(cells)
    spent: dict[str, float | None] = {}
    for seed in config.seeds if config.redraw else config.seeds[:1]:
        for found in grounds[seed].sets.values():
            spent[found.name] = generator_seconds(workspace, found.provenance)
    for row in rows:
        made = [spent.get(name) for name in row["synthetic_sets"]]
        row["generator_seconds"] = _mean(made) if made else 0.0
    return {
        "set": config.set,
        "training_set": chosen.config.model_dump(mode="json"),
        "dataset": chosen.config.dataset,
        "fingerprint": chosen.fingerprint,
        "split": chosen.config.split,
        "skew": chosen.config.skew,
        "classes": list(chosen.classes),
        "counts": chosen.counts,
        "preset": config.preset,
        "seeds": list(config.seeds),
        "redraw": config.redraw,
        "failed": failed,
        "config": config.model_dump(mode="json"),
        "results": rows,
        "answer": answer(rows, redraw=config.redraw, failed=failed),
        "code": code_version(),
        "machine": f"{platform.platform()}, {platform.processor() or platform.machine()}",
        "versions": {name: version(name) for name in VERSIONS},
    }


def rows_of(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row an arm, amount and schedule, in the order in which they come."""
    groups: dict[tuple[str, str | None, str], list[dict[str, Any]]] = {}
    for cell in cells:
        groups.setdefault((cell["arm"], cell["amount"], cell["schedule"]), []).append(cell)
    baseline = {c["seed"]: c["best"]["test"]["macro_f1"] for c in cells if c["arm"] == BASELINE}
    rows = [_row(group, baseline) for group in groups.values()]
    tested = [row for row in rows if row["p"] is not None]
    for row, corrected in zip(tested, holm([r["p"] for r in tested]), strict=True):
        row["p_corrected"] = corrected
    return rows


def paper_figure(curve: list[dict[str, Any]], epochs: int) -> float | None:
    """The paper's own figure: best test accuracy of the first `epochs`; None if trained less."""
    if len(curve) < epochs:
        return None
    return float(max(e["test_accuracy"] for e in curve[:epochs]))


def _row(group: list[dict[str, Any]], baseline: dict[int, float]) -> dict[str, Any]:
    first = group[0]
    tests = [c["best"]["test"] for c in group]
    scores = [t["macro_f1"] for t in tests]
    gains = [
        100 * (c["best"]["test"]["macro_f1"] - baseline[c["seed"]])
        for c in group
        if first["arm"] != BASELINE and c["seed"] in baseline
    ]
    figures = {
        f"best_test_accuracy_{n}_epochs": _mean([paper_figure(c["curve"], n) for c in group])
        for n in PAPER_EPOCHS
    }
    swings = [swing([e["validation_accuracy"] for e in c["curve"]]) for c in group]
    return {
        "arm": first["arm"],
        "amount": first["amount"],
        "schedule": None if first["amount"] is None else first["schedule"],
        "name": variant_name(first),
        "seeds": [c["seed"] for c in group],
        "added": first["plan"],
        "synthetic": first["synthetic"],
        "synthetic_sets": list(dict.fromkeys(c["synthetic"] for c in group if c["synthetic"])),
        "epoch": [c["best"]["epoch"] for c in group],
        **{name: _mean([t[name] for t in tests]) for name in MEASURES},
        "scores": scores,
        "macro_f1_std": float(np.std(scores, ddof=1)) if len(scores) > 1 else None,
        "macro_f1_interval": interval(scores),
        "precision": np.mean([t["precision"] for t in tests], axis=0).tolist(),
        "recall": np.mean([t["recall"] for t in tests], axis=0).tolist(),
        "confusion": np.sum([t["confusion"] for t in tests], axis=0).tolist(),
        "gains": gains,
        "gain": _mean(gains),
        "gain_interval": bootstrap_interval(gains),
        "gain_t_interval": interval(gains),
        "p": paired_p(gains),
        "p_corrected": None,
        "validation_swing": _mean(swings),
        "best_test_accuracy": float(
            np.mean([max(e["test_accuracy"] for e in c["curve"]) for c in group])
        ),
        **figures,
        "paper_accuracy": PAPER_ACCURACY.get((first["arm"], _kind(first["schedule"]))),
        "seconds": float(np.mean([c["seconds"] for c in group])),
    }  # fmt: skip


def _kind(schedule: str) -> str:
    return Schedule.parse(schedule).kind


def _mean(values: list[Any]) -> float | None:
    return None if not values or None in values else float(np.mean(values))


def generator_seconds(workspace: Workspace, provenance: Mapping[str, Any]) -> float | None:
    """Seconds that training the generator, sampling it and filtering took; None if a run of these
    is gone."""
    total = 0.0
    runs = ("run", "sample_run")
    for run_id in (*map(provenance.get, runs), *provenance.get("earlier_runs", ())):
        if not run_id:
            return None
        try:
            state = view_run(find_run(workspace, run_id)).state
        except UserError:
            return None
        if state.get("finished") is None or state.get("started") is None:
            return None
        total += state["finished"] - state["started"]
    return total


def answer(rows: list[dict[str, Any]], *, redraw: bool, failed: int = 0) -> str:
    """One sentence on the gains over baseline, and what they can and cannot say.

    An arm is said to differ where its Holm-corrected p is below 0.05.
    """
    arms = [r for r in rows if r["gain"] is not None]
    missing = f" {failed} classifiers failed and are missing here." if failed else ""
    if not arms:
        return "Nothing was compared with the baseline." + missing
    best = max(arms, key=lambda r: abs(r["gain"]))
    largest = f"the largest difference in macro-F1 is {best['gain']:+.1f} points, for {_of(best)}"
    if max(len(r["gains"]) for r in arms) < 2:
        return (
            f"With one seed nothing can be said beyond chance: {largest}, its interval unknown; "
            "compare over more seeds." + missing
        )
    drawn = "each with its own skew" if redraw else "skew fixed"
    if any(r["synthetic"] for r in arms):
        drawn = "generator redrawn each time" if redraw else "skew and generator fixed"
    told = f"{max(len(r['gains']) for r in arms)} seeds, {drawn}"
    clear = [r for r in arms if r["p_corrected"] is not None and r["p_corrected"] < SIGNIFICANT]
    if not clear:
        return (
            f"No arm differs from baseline beyond chance ({told}; {largest}, "
            f"95 %: {_span(best)}, p {_p(best['p_corrected'], '= ')} corrected for {len(arms)} "
            f"{_arms(arms)}).{missing}"
        )
    parts = [
        f"{_of(r)} {'raises' if r['gain'] > 0 else 'lowers'} macro-F1 by {abs(r['gain']):.1f} "
        f"points (95 %: {_span(r, r['gain'] < 0)}, p {_p(r['p_corrected'], '= ')})"
        for r in sorted(clear, key=lambda r: -r["gain"])
    ]
    others = len(arms) - len(clear)
    rest = ""
    if others:
        rest = f"; the other {others} arm{'s show' if others > 1 else ' shows'} no difference"
    return f"{'; '.join(parts)}{rest} ({told}; p corrected for {len(arms)} {_arms(arms)}).{missing}"


def _arms(arms: list[Any]) -> str:
    return "arm" if len(arms) == 1 else "arms"


def _of(row: Mapping[str, Any]) -> str:
    """`ddpm at 0.5, until epoch 10`."""
    if row["amount"] is None:
        return str(row["arm"])
    when = Schedule.parse(row["schedule"]).words
    return f"{row['arm']} at {row['amount']}" + ("" if when == "always" else f", {when}")


def _span(row: Mapping[str, Any], turned: bool = False) -> str:
    if row["gain_interval"] is None:
        return "unknown"
    low, high = row["gain_interval"]
    low, high = (-high, -low) if turned else (low, high)
    return f"{low:.1f} to {high:.1f}"


def _p(value: float | None, equals: str = "") -> str:
    if value is None:
        return "unknown"
    return "< 0.001" if value < 0.001 else f"{equals}{value:.3f}"


def table(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows as a person reads them: percent, points, seconds as numbers; a column in which no
    row says anything is left out."""
    told = [table_row(row) for row in rows]
    empty = {name for name in told[0] if all(row[name] is None for row in told)} if told else set()
    return [{name: value for name, value in row.items() if name not in empty} for row in told]


def table_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row for page and report: percent; points for the difference; None where unknown."""
    spent = row.get("generator_seconds")
    minutes = None if spent is None else (row["seconds"] + spent) / 60
    low, high = row["gain_interval"] or (None, None)
    return {
        "Arm": row["name"],
        "Macro-F1": _percent(row["macro_f1"]),
        "± SD": _percent(row["macro_f1_std"]),
        "Difference": row["gain"],
        "95 % from": low,
        "95 % to": high,
        "p, corrected": row["p_corrected"],
        "Accuracy": _percent(row["accuracy"]),
        "Balanced accuracy": _percent(row["balanced_accuracy"]),
        "AUROC": _percent(row["auroc"]),
        "Calibration error": _percent(row["calibration_error"]),
        "Swing": _percent(row["validation_swing"]),
        "Minutes": minutes,
        "Best epoch": _percent(row["best_test_accuracy"]),
        "… of 20": _percent(row["best_test_accuracy_20_epochs"]),
        "… of 30": _percent(row["best_test_accuracy_30_epochs"]),
        "The paper's": row["paper_accuracy"],
        "Seeds": len(row["seeds"]),
    }


def _percent(value: float | None) -> float | None:
    return None if value is None else 100 * value


def in_words(name: str, value: Any) -> str:
    """A cell of the table as text."""
    if value is None:
        return "–"
    if isinstance(value, str | int):
        return str(value)
    if name == "p, corrected":
        return _p(value)
    if name in ("Difference", "95 % from", "95 % to"):
        return f"{value:+.2f}"
    return f"{value:.1f}" if name == "Minutes" else f"{value:.2f}"
