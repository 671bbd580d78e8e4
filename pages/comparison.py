"""Classifiers with and without generated images: curves, table, answer, report."""

from typing import Any

import streamlit as st

from pages.parts.answer import show_results
from pages.parts.choose import choose, remember
from pages.parts.config_form import config_form
from pages.parts.frame import link, run_page, show_user_errors
from pages.parts.live import apply, format_duration, render_run, submitted_message
from pages.parts.markdown import escape_markdown
from pages.parts.sets import choose_set, warn_of_damaged
from rebalance_core.classifiers.measures import curve_titles, measures
from rebalance_core.classifiers.recipe import REMEDIES
from rebalance_core.classifiers.schedules import Schedule
from rebalance_core.comparison.arms import (
    BASELINE,
    CONTROLS,
    arm_name,
    descriptions,
    generated_arms,
    is_remedy_generator,
)
from rebalance_core.comparison.cells import (
    Cell,
    check_compare,
    default_arms,
    has_images,
    plan_notes,
)
from rebalance_core.comparison.config import CompareConfig
from rebalance_core.comparison.job import cell_states, curves
from rebalance_core.comparison.rebalanced import plan_rebalanced, zip_rebalanced
from rebalance_core.comparison.report import schedule_epochs
from rebalance_core.comparison.timing import estimate, timing_config
from rebalance_core.config import PRESETS
from rebalance_core.datasets.dataset import list_datasets
from rebalance_core.errors import UserError
from rebalance_core.plots.comparison import cell_grid, comparison_curves, schedule_strips
from rebalance_core.plots.dataset import class_bars
from rebalance_core.runs.executor import RunView, list_runs
from rebalance_core.runs.start import start_run
from rebalance_core.synthesis.synthetic_set import open_all_synthetic, open_synthetic
from rebalance_core.training_sets.config import OPEN
from rebalance_core.training_sets.evaluations import describe_parts
from rebalance_core.training_sets.resolve import TrainingSet
from rebalance_core.workspace import Workspace


def render(workspace: Workspace) -> None:
    training_set = choose_set(workspace, resets="run")
    if training_set is None:
        return
    views = [v for v in list_runs(workspace, "compare") if v.config.get("set") == training_set.name]
    with st.expander("New comparison", expanded=not views, icon=":material/add:"):
        _new(workspace, training_set)
    if not views:
        st.info("There is no comparison on this training set yet. Press Compare above.")
        return
    run_names = {v.id: f"{v.name}, {v.config.get('preset', 'no preset')} ({v.id})" for v in views}
    run = choose("Comparison", list(run_names), "run", format_func=run_names.__getitem__)
    view = next(v for v in views if v.id == run)
    is_tested = not view.live and view.config.get("test_every_epoch", True)
    titles = [m for m in curve_titles() if is_tested or not m.startswith("test_")]
    metric = st.selectbox(
        "Curve",
        list(titles),
        format_func=curve_titles().__getitem__,
        help="Click a name in the legend to hide its curve, twice to see it alone.",
    )
    render_run(view, lambda now: _curves(now, metric))
    if not view.live:
        show_user_errors(show_results)(workspace, view)
    _export(workspace, training_set)


def _new(workspace: Workspace, training_set: TrainingSet) -> None:
    warn_of_damaged(workspace)
    generated = [arm for arm in generated_arms() if has_images(workspace, training_set, arm)]
    if not any(not is_remedy_generator(arm) for arm in generated):
        st.warning(
            "There are no generated images for this training set yet; only arms without a "
            "generator can be compared."
        )
        link("generators", "Train a generator on this set")
    columns = st.columns(4)
    preset = columns[0].selectbox("Preset", PRESETS)
    base = CompareConfig.from_preset(preset, set=training_set.name)
    seeds = columns[1].number_input(
        "Seeds", 1, 50, 1, help="One cannot be tested against chance; more give narrower intervals."
    )
    amounts = columns[2].text_input(
        "Amounts",
        ", ".join(base.amounts),
        key=f"amounts {preset}",
        help="1.0: up to full balance; 0.5: half of that; 1000: this many per minority class. "
        "Several, separated by commas, are compared.",
    )
    cap = columns[3].number_input(
        "Synthetic images at most (0: no limit)", 0, value=base.cap or 0, key=f"cap {preset}"
    )
    own = _own_sets(workspace, training_set)
    proposed, left_out = default_arms(workspace, training_set, preset)
    arms = st.multiselect(
        "Arms",
        [*dict.fromkeys([BASELINE, *REMEDIES, *CONTROLS, *generated, *own, *proposed])],
        default=proposed,
        key=f"arms {preset} {training_set.name}",
        format_func=str,
        accept_new_options=True,
        help="The baseline and remedies cost no generator; placebo and returned:1 are controls, "
        "which show what generated images are worth. Join names by + to combine arms, as in "
        "augment+focal+ddpm.",
    )
    for reason in left_out.values():
        st.caption(escape_markdown(f"Not proposed: {reason}"))
    schedules = st.multiselect(
        "Schedules",
        [*dict.fromkeys([*base.schedules, "real-every:4", "until:half", "pretrain:half"])],
        default=base.schedules,
        format_func=lambda s: Schedule.parse(s).words,
        key=f"schedules {preset}",
        help="Of arms that add images.",
    )
    texts = descriptions()
    captions = [f"**{name}**: {escape_markdown(texts[name])}" for name in arms if name in texts]
    st.caption(" · ".join(captions))
    first, second = st.columns(2)
    with first.popover("Classifier"):
        fields = list(type(base.classifier).model_fields)
        changes = config_form(base.classifier, fields, preset, columns=2)
    redraw = second.checkbox(
        "Redraw the skew for each seed",
        help="Each seed redraws the training images and uses only generators that were trained on "
        f"{training_set.name}-seed1, -seed2, …; `study` on the command line creates all of them.",
    )
    test_part, is_confirmed = _test_part(workspace, training_set)
    with st.popover("Claim"):
        others = [n for n in list_datasets(workspace) if n != training_set.config.dataset]
        claim = _claim(generated, own, others)
    values: dict[str, Any] = {
        **claim,
        "test_part": test_part,
        "arms": tuple(arms),
        "schedules": tuple(schedules),
        "seeds": tuple(range(int(seeds))),
        "amounts": tuple(a.strip() for a in amounts.split(",") if a.strip()),
        "cap": int(cap) or None,
        "redraw": redraw,
        "classifier": {**base.classifier.model_dump(), **changes},
    }
    try:
        if ":" in values["classifier"]["network"]:
            raise UserError(
                "A network of your own code can be named only on the command line: compare --set."
            )
        config = CompareConfig.from_preset(preset, set=training_set.name, **values)
        cells = check_compare(workspace, config)
    except UserError as error:
        st.error(escape_markdown(str(error)))
        return
    _plan(workspace, training_set, config, cells)
    if st.button("Compare", type="primary", disabled=not (cells and is_confirmed)):
        apply(lambda: _submit(workspace, config), submitted_message)


def _claim(generated: list[str], own: list[str], others: list[str]) -> dict[str, Any]:
    """Render the fields that are fixed before any test prediction is made."""
    primary = st.selectbox(
        "Primary arm",
        [None, *generated, *own],
        format_func=lambda name: name or "the best generated arm on validation",
        help="The answer is about this arm: whether it beats every arm that costs no generator.",
    )
    titles = {key: m.title for key, m in measures().items() if m.higher_is_better}
    measure = st.selectbox(
        "Measure",
        list(titles),
        format_func=titles.__getitem__,
        help="Whose differences are tested. Epochs are always chosen by macro-F1 on validation.",
    )
    margin = st.number_input(
        "Margin in points",
        0.1,
        100.0,
        2.0,
        help="Arms are called equivalent if they differ by less; the answer says how many seeds "
        "would show such a difference.",
    )
    external = st.selectbox(
        "External test set",
        [None, *others],
        format_func=lambda name: name or "none",
        help="Evaluate on all images of another dataset with the same classes, too; nothing is "
        "trained or chosen on it.",
    )
    return {"primary": primary, "measure": measure, "margin": margin, "external": external}


def _test_part(workspace: Workspace, training_set: TrainingSet) -> tuple[str, bool]:
    """Render the choice of a reserved part of the test images; the part, and whether to go on."""
    sentences = describe_parts(workspace, training_set)
    if not sentences:
        return OPEN, True
    part = st.radio("Test part", list(training_set.test_parts), captions=sentences, horizontal=True)
    confirmed = part == OPEN or st.checkbox(
        f"Open part {part}: once it has been evaluated on, it no longer confirms anything new"
    )
    return part, confirmed


def _own_sets(workspace: Workspace, training_set: TrainingSet) -> list[str]:
    """Names of synthetic sets that fit, sampled or imported, other than the newest of an arm."""
    names = []
    for synthetic in open_all_synthetic(workspace)[0]:
        try:
            synthetic.check_fits(training_set)
            if arm_name(synthetic.name) == synthetic.name:
                names.append(synthetic.name)
        except UserError:
            continue
    return names


def _plan(
    workspace: Workspace, training_set: TrainingSet, config: CompareConfig, cells: list[Cell]
) -> None:
    """The plan of a comparison: number of cells, images, epochs and time."""
    for note in plan_notes(workspace, config):
        st.warning(escape_markdown(note))
    plans = {cell.amount: cell.plan for cell in cells if cell.amount is not None}
    seconds = estimate(workspace, config, cells)
    text = f"**{len(cells)} classifiers** of {config.classifier.epochs} epochs at "
    text += f"{config.classifier.size} px"
    timing = next((v for v in list_runs(workspace, "timing") if v.live), None)
    if seconds is not None:
        st.markdown(f"{text}: about **{format_duration(seconds)}** on this machine.")
    else:
        left, right = st.columns([3, 1], vertical_alignment="center")
        left.markdown(f"{text}; the time is not known yet.")
        if timing is None and right.button("Time a few steps"):
            apply(lambda: start_run(workspace, timing_config(workspace, config)))
    if timing is not None:
        render_run(timing)
    left, right = st.columns(2)
    with left:
        amount = next(iter(plans), None)
        if len(plans) > 1:
            amount = st.segmented_control("Amount shown", list(plans), default=amount) or amount
        added = plans[amount] if amount is not None else {}
        bars = {
            "real": training_set.counts,
            "synthetic": {c: added.get(c, 0) for c in training_set.classes},
        }
        st.plotly_chart(class_bars(bars, stacked=True), key="plan")
    if plans:
        with right:
            st.plotly_chart(schedule_strips(schedule_epochs(config)), key="strips")
            sizes = {c.arm.images: c.synthetic for c in cells if c.synthetic}
            for images, name in sizes.items():
                size = open_synthetic(workspace, str(name)).provenance.size
                fits = "" if size == config.classifier.size else ", resized"
                st.caption(escape_markdown(f"{images}: images of {name}, {size} px{fits}"))


def _submit(workspace: Workspace, config: CompareConfig) -> RunView:
    view = start_run(workspace, config)
    remember("run", view.id)
    return view


def _curves(view: RunView, metric: str) -> None:
    lines = curves(view.path)
    cells, states = cell_states(view.path, lines)
    if cells:
        done = sum(state == "done" for state in states.values())
        st.markdown(f"**{done} of {len(cells)}** classifiers are finished.")
        with st.expander("All classifiers", icon=":material/grid_on:"):
            st.plotly_chart(cell_grid(cells, states), key=f"grid {view.id}")
    if lines:
        st.markdown(f"Last step **{lines[-1]['step']}**")
        st.plotly_chart(
            comparison_curves(lines, metric, curve_titles()[metric]), key=f"curves {view.id}"
        )


def _export(workspace: Workspace, training_set: TrainingSet) -> None:
    st.subheader("Export the rebalanced training set")
    arms = [arm for arm in generated_arms() if has_images(workspace, training_set, arm)]
    if not arms:
        st.info("Once there are generated images for this set, it can be downloaded here.")
        return
    arm = st.radio("Arm", arms, horizontal=True)
    _, synthetic, plan = plan_rebalanced(workspace, training_set.name, arm)
    added = ", ".join(f"{c} +{n}" for c, n in plan.items())
    st.markdown(f"Image folder with manifest: {len(training_set.train)} real images, {added}.")
    key = f"zip {training_set.name} {arm} {synthetic.name if synthetic else ''}"
    if st.button("Prepare the zip", key=f"prepare {key}"):
        with st.spinner("Packing …", show_time=True):
            st.session_state[key] = zip_rebalanced(workspace, training_set.name, arm)
    if key in st.session_state:
        path = st.session_state[key]
        st.download_button(
            f"Download {path.name}",
            path.read_bytes(),
            file_name=path.name,
            mime="application/zip",
            icon=":material/download:",
        )


run_page(
    render, "Comparison", "Would generated images of the rare classes make the classifier better?"
)
