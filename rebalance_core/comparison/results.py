"""From finished cells to the table and the answer in words."""

from typing import Any

import numpy as np

from rebalance_core.comparison.configs import BASELINE, PAPER_ACCURACY, CompareConfig
from rebalance_core.comparison.schedules import Schedule
from rebalance_core.datasets.training_set import TrainingSet

PAPER_EPOCHS = (20, 30)  # the paper's text speaks of both


def interval(values: list[float]) -> tuple[float, float] | None:
    """95 % t-interval of the mean; None (unknown) for fewer than two values."""
    if len(values) < 2:
        return None
    from scipy.stats import t

    half = t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))
    mean = float(np.mean(values))
    return mean - float(half), mean + float(half)


def paper_figure(curve: list[dict[str, Any]], epochs: int) -> float | None:
    """The paper's own figure: best test accuracy of the first `epochs`; None if trained less."""
    if len(curve) < epochs:
        return None
    return float(max(e["test_accuracy"] for e in curve[:epochs]))


def summarise(
    chosen: TrainingSet, config: CompareConfig, cells: list[dict[str, Any]]
) -> dict[str, Any]:
    """{results: a row an arm and schedule, answer: a sentence true of the rows, …}.

    Test figures are of the epoch that validation chose; differences to baseline are paired by
    seed, in points of macro-F1 (0 to 100).
    """
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for cell in cells:
        groups.setdefault((cell["arm"], cell["schedule"]), []).append(cell)
    baseline = {c["seed"]: c["best"]["test"]["macro_f1"] for c in cells if c["arm"] == BASELINE}
    rows = [_row(arm, schedule, group, baseline) for (arm, schedule), group in groups.items()]
    return {
        "set": chosen.name,
        "dataset": chosen.config.dataset,
        "fingerprint": chosen.fingerprint,
        "split": chosen.config.split,
        "skew": chosen.config.skew,
        "classes": list(chosen.classes),
        "counts": chosen.counts,
        "preset": config.preset,
        "seeds": list(config.seeds),
        "results": rows,
        "answer": answer(rows, config),
    }


def _row(
    arm: str, schedule: str, group: list[dict[str, Any]], baseline: dict[int, float]
) -> dict[str, Any]:
    tests = [c["best"]["test"] for c in group]
    scores = [t["macro_f1"] for t in tests]
    gains = [
        100 * (c["best"]["test"]["macro_f1"] - baseline[c["seed"]])
        for c in group
        if arm != BASELINE and c["seed"] in baseline
    ]
    figures = {
        f"best_test_accuracy_{n}_epochs": _mean([paper_figure(c["curve"], n) for c in group])
        for n in PAPER_EPOCHS
    }
    return {
        "arm": arm,
        "schedule": None if arm == BASELINE else schedule,
        "seeds": [c["seed"] for c in group],
        "added": group[0]["plan"],
        "synthetic": group[0]["synthetic"],
        "epoch": [c["best"]["epoch"] for c in group],
        "accuracy": _mean([t["accuracy"] for t in tests]),
        "macro_f1": _mean(scores),
        "macro_f1_std": float(np.std(scores, ddof=1)) if len(scores) > 1 else None,
        "macro_f1_interval": interval(scores),
        "recall": np.mean([t["recall"] for t in tests], axis=0).tolist(),
        "confusion": np.sum([t["confusion"] for t in tests], axis=0).tolist(),
        "gain": _mean(gains),
        "gain_interval": interval(gains),
        "best_test_accuracy": float(
            np.mean([max(e["test_accuracy"] for e in c["curve"]) for c in group])
        ),
        **figures,
        "paper_accuracy": PAPER_ACCURACY.get((arm, Schedule.parse(schedule).kind)),
        "seconds": float(np.mean([c["seconds"] for c in group])),
    }


def _mean(values: list[Any]) -> float | None:
    return None if not values or None in values else float(np.mean(values))


def answer(rows: list[dict[str, Any]], config: CompareConfig) -> str:
    """One sentence on the gains over baseline, and what they can and cannot say."""
    arms = [r for r in rows if r["gain"] is not None]
    if not arms:
        return "Nothing was compared with the baseline."
    best = max(arms, key=lambda r: abs(r["gain"]))
    name = f"{best['arm']} ({Schedule.parse(best['schedule']).words})"
    if len(config.seeds) < 2:
        return (
            f"With one seed nothing can be said beyond chance: the largest difference in macro-F1 "
            f"is {best['gain']:+.1f} points, for {name}, its interval unknown; compare over more "
            "seeds."
        )
    clear = [r for r in arms if r["gain_interval"][0] > 0 or r["gain_interval"][1] < 0]
    seeds = f"{len(config.seeds)} seeds, training set and generators fixed"
    if not clear:
        return f"No arm differs from baseline (95 % intervals of macro-F1 hold zero; {seeds})."
    told = "; ".join(
        f"{r['arm']} ({Schedule.parse(r['schedule']).words}) {r['gain']:+.1f} points "
        f"(95 %: {r['gain_interval'][0]:.1f} to {r['gain_interval'][1]:.1f})"
        for r in sorted(clear, key=lambda r: -r["gain"])
    )
    told += f" ({seeds}; not corrected for {len(arms)} arms)."
    return f"Against baseline, macro-F1 changes by: {told}"


def arm_name(row: dict[str, Any]) -> str:
    """`bagan-gp, until epoch 10`; the baseline has no schedule."""
    schedule = row["schedule"]
    return (
        str(row["arm"]) if schedule is None else f"{row['arm']}, {Schedule.parse(schedule).words}"
    )


def table(rows: list[dict[str, Any]]) -> list[dict[str, str]]:
    """The rows as a person reads them; a column in which no row says anything is left out."""
    told = [table_row(row) for row in rows]
    empty = {name for name in told[0] if all(row[name] == "–" for row in told)} if told else set()
    return [{name: text for name, text in row.items() if name not in empty} for row in told]


def table_row(row: dict[str, Any]) -> dict[str, str]:
    """A row as a person reads it, on page and in report: percent; points for the difference."""
    gain = "–"
    if row["gain"] is not None:
        span = row["gain_interval"]
        told = "interval unknown" if span is None else f"{span[0]:+.2f} to {span[1]:+.2f}"
        gain = f"{row['gain']:+.2f} ({told})"
    paper = row["paper_accuracy"]
    return {
        "Arm": arm_name(row),
        "Accuracy": _percent(row["accuracy"]),
        "Macro-F1": _percent(row["macro_f1"]),
        "Difference to baseline": gain,
        "Chosen epoch": ", ".join(map(str, row["epoch"])),
        "Best epoch's accuracy": _percent(row["best_test_accuracy"]),
        "… of 20 epochs": _percent(row["best_test_accuracy_20_epochs"]),
        "… of 30 epochs": _percent(row["best_test_accuracy_30_epochs"]),
        "The paper's": "–" if paper is None else f"{paper:.2f}",
        "Seeds": str(len(row["seeds"])),
        "Training, s": f"{row['seconds']:.0f}",
    }


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.2f}"
