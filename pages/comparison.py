"""Classifiers with and without generated images: curves, table, answer, report."""

from typing import Any

import pandas as pd
import streamlit as st

from pages.parts.choose import choose, remember
from pages.parts.config_form import config_form
from pages.parts.frame import link, show
from pages.parts.live import act, watch
from pages.parts.plain import plain
from pages.parts.sets import choose_set
from rebalance_core.comparison.configs import ARMS, BASELINE, CompareConfig
from rebalance_core.comparison.rebalanced import plan_rebalanced, zip_rebalanced
from rebalance_core.comparison.results import table
from rebalance_core.comparison.schedules import Schedule
from rebalance_core.comparison.study import Cell, check_compare, live_curves
from rebalance_core.config import PRESETS
from rebalance_core.datasets.training_set import TrainingSet
from rebalance_core.errors import UserError
from rebalance_core.figures import METRICS, class_bars, comparison_curves
from rebalance_core.files import read_json
from rebalance_core.runs.executor import RunView, list_runs, submit
from rebalance_core.runs.run import read_metrics
from rebalance_core.synthesis.synthetic_set import synthetic_for
from rebalance_core.workspace import Workspace


def draw(workspace: Workspace) -> None:
    chosen = choose_set(workspace)
    if chosen is None:
        return
    with st.expander("New comparison", expanded=True, icon=":material/add:"):
        _new(workspace, chosen)
    views = [v for v in list_runs(workspace, "compare") if v.config["set"] == chosen.name]
    if not views:
        st.info("Nothing was compared on this training set yet. Press Compare above.")
        return
    named = {v.id: f"{v.name}, {v.config['preset']} ({v.id})" for v in views}
    run = choose("Comparison", list(named), "run", shown=lambda i: named[i])
    view = next(v for v in views if v.id == run)
    metric = st.segmented_control(
        "Curve", list(METRICS), default="validation_macro_f1", format_func=METRICS.__getitem__
    )
    watch(view, lambda now: _curves(now, metric or "validation_macro_f1"))
    if view.status == "done":
        _results(view)
    _take_away(workspace, chosen)


def _new(workspace: Workspace, chosen: TrainingSet) -> None:
    available = [arm for arm in ARMS if arm == BASELINE or _has_images(workspace, chosen, arm)]
    missing = [arm for arm in ARMS if arm not in available]
    if missing:
        st.warning(
            f"No generated images of {' and '.join(missing)} for this training set yet; only the "
            "other arms can be compared."
        )
        link("generators", "Train a generator on this set")
    columns = st.columns(4)
    preset = columns[0].selectbox("Preset", PRESETS)
    base = CompareConfig.from_preset(preset, set=chosen.name)
    seeds = columns[1].number_input("Seeds", 1, 50, 1, help="More seeds, narrower intervals.")
    amount = columns[2].text_input(
        "Amount", base.amount, key=f"amount {preset}",
        help="1.0: up to full balance; 0.5: half of that; 1000: so many for each minority class.",
    )  # fmt: skip
    cap = columns[3].number_input(
        "Synthetic images at most (0: no limit)", 0, value=base.cap or 0, key=f"cap {preset}"
    )
    left, right = st.columns(2)
    arms = left.multiselect("Arms", available, default=available)
    schedules = right.multiselect(
        "Schedules", base.schedules, default=base.schedules,
        format_func=lambda s: Schedule.parse(s).words, key=f"schedules {preset}",
    )  # fmt: skip
    with st.popover("Classifier"):
        changes = config_form(
            base.classifier, list(type(base.classifier).model_fields), preset, columns=2
        )
    values: dict[str, Any] = {
        "arms": tuple(arms),
        "schedules": tuple(schedules),
        "seeds": tuple(range(int(seeds))),
        "amount": amount,
        "cap": int(cap) or None,
        "classifier": {**base.classifier.model_dump(), **changes},
    }
    try:
        config = CompareConfig.from_preset(preset, set=chosen.name, **values)
        cells = check_compare(workspace, config)
    except UserError as error:
        st.error(plain(str(error)))
        return
    _plan(chosen, config, cells)
    if st.button("Compare", type="primary", disabled=not cells):
        act(lambda: _submit(workspace, config))


def _has_images(workspace: Workspace, chosen: TrainingSet, arm: str) -> bool:
    try:
        synthetic_for(workspace, chosen, arm)
    except UserError:
        return False
    return True


def _plan(chosen: TrainingSet, config: CompareConfig, cells: list[Cell]) -> None:
    """What will be trained: how many cells, which images, in which epochs."""
    added = next((cell.plan for cell in cells if cell.plan), {})
    left, right = st.columns(2)
    with left:
        bars = {"real": chosen.counts, "synthetic": {c: added.get(c, 0) for c in chosen.classes}}
        st.plotly_chart(class_bars(bars, stacked=True), key="plan")
    with right:
        st.markdown(
            f"**{len(cells)} classifiers** of {config.classifier.epochs} epochs at "
            f"{config.classifier.size} px. Epochs that see synthetic images:"
        )
        for text in config.schedules:
            schedule = Schedule.parse(text)
            strip = "".join(
                "■" if seen else "□" for seen in schedule.mask(config.classifier.epochs)
            )
            st.markdown(f"`{strip}` {schedule.words}")


def _submit(workspace: Workspace, config: CompareConfig) -> None:
    name = f"compare on {config.set}"
    view = submit(workspace, "compare", config.model_dump(mode="json"), name=name)
    remember("run", view.id)


def _curves(view: RunView, metric: str) -> None:
    lines = live_curves(read_metrics(view.path))
    if not lines:
        return
    st.markdown(f"Last step **{lines[-1]['step']}**")
    st.plotly_chart(comparison_curves(lines, metric), key=f"curves {view.id}")


def _results(view: RunView) -> None:
    results = read_json(view.path / "result" / "results.json")
    st.subheader("Answer")
    st.success(results["answer"])
    if results["preset"] == "quick":
        st.caption("A demonstration at 32 px with few images and epochs, not a finding.")
    st.subheader("Table")
    st.table(pd.DataFrame(table(results["results"])).set_index("Arm"))
    st.caption(
        "Percent on the test split at the epoch that validation chose; the difference is paired by "
        "seed, in points of macro-F1. The last columns are the paper's kind of figure (best epoch "
        "on the split it reports) and what it reports for its own data."
    )
    st.download_button(
        "Download the report",
        (view.path / "result" / "report.html").read_bytes(),
        file_name=f"{view.config['set']}-report.html",
        mime="text/html",
        icon=":material/description:",
    )


def _take_away(workspace: Workspace, chosen: TrainingSet) -> None:
    st.subheader("Take the rebalanced training set away")
    arms = [arm for arm in ARMS if arm != BASELINE and _has_images(workspace, chosen, arm)]
    if not arms:
        st.info("Once there are generated images for this set, it can be downloaded here.")
        return
    arm = st.radio("Arm", arms, horizontal=True)
    _, found, plan = plan_rebalanced(workspace, chosen.name, arm)
    added = ", ".join(f"{c} +{n}" for c, n in plan.items())
    st.markdown(f"Image folder with manifest: {len(chosen.train)} real images, {added}.")
    key = f"zip {chosen.name} {arm} {found.name if found else ''}"
    if st.button("Prepare the zip", key=f"prepare {key}"):
        with st.spinner("Packing …", show_time=True):
            st.session_state[key] = zip_rebalanced(workspace, chosen.name, arm)
    if key in st.session_state:
        path = st.session_state[key]
        st.download_button(
            f"Download {path.name}", path.read_bytes(), file_name=path.name,
            mime="application/zip", icon=":material/download:",
        )  # fmt: skip


show(draw, "Comparison", "Would generated images of the rare classes make the classifier better?")
