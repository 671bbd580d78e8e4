"""Train generators and follow their training."""

import shutil
from typing import Any

import streamlit as st

from pages.parts.choose import choose, current, remember
from pages.parts.config_form import config_form
from pages.parts.frame import link, run_page, show_user_errors
from pages.parts.live import (
    apply,
    format_duration,
    render_run,
    render_training,
    run_label,
    submitted_message,
)
from pages.parts.markdown import escape_markdown
from pages.parts.sets import choose_set
from rebalance_core.config import PRESETS, Config
from rebalance_core.generators.estimate import estimate_in_workspace
from rebalance_core.generators.spec import GeneratorSpec, generator_specs
from rebalance_core.generators.training import (
    RECORD_FILE,
    TrainConfig,
    continuation,
    from_folder,
    run_set,
)
from rebalance_core.runs.directory import last_checkpoint
from rebalance_core.runs.executor import RunView, list_runs
from rebalance_core.runs.start import start_run
from rebalance_core.training_sets.resolve import TrainingSet
from rebalance_core.workspace import Workspace

PRESET_CAPTIONS = {
    "quick": "32 px, a demonstration in minutes",
    "small": "64 px, about half an hour on two cores",
    "paper": "exactly the study's numbers; needs a GPU",
    "strong": "our strongest settings; needs a GPU",
}


def render(workspace: Workspace) -> None:
    training_set = choose_set(workspace, resets="run")
    if training_set is None:
        return
    new, external = st.tabs(["Train a new generator", "Load a trained generator"])
    with new:
        _train(workspace, training_set)
    with external:
        _load(workspace, training_set)
    selected = current("run")  # it may have been loaded, and trained on another set
    views = [
        v
        for v in list_runs(workspace, "train")
        if v.config.get("set") == training_set.name or v.id == selected
    ]
    if not views:
        st.info("No generator was trained on this set yet. Choose one above and press Train.")
        return
    st.subheader("Trained on this set")
    run_names = {v.id: run_label(v) for v in views}
    run = choose("Run", list(run_names), "run", format_func=run_names.__getitem__)
    view = next(v for v in views if v.id == run)
    render_run(view, render_training)
    show_user_errors(_trained_on)(view)
    show_user_errors(_continue)(workspace, view)
    with st.expander("Config of this run"):
        st.json(view.config)
    if any(v.status == "done" for v in views):
        link("samples", "Continue to Samples")


@show_user_errors
def _train(workspace: Workspace, training_set: TrainingSet) -> None:
    left, right = st.columns(2)
    specs = generator_specs()
    kind = left.radio("Generator", list(specs), format_func=lambda name: specs[name].title)
    spec = specs[kind]
    preset = right.radio(
        "Preset", PRESETS, captions=[PRESET_CAPTIONS[p] for p in PRESETS], horizontal=True
    )
    config = spec.config.from_preset(preset)
    key = f"{kind} {preset}"
    main = [
        spec.step_fields.get(f, f) if getattr(config, f) is None else f for f in spec.main_fields
    ]
    changes = config_form(config, main, key)
    with st.expander("Advanced"):
        rest = [f for f in spec.config.model_fields if f not in ("preset", *main)]
        changes |= config_form(config, rest, key)
    minority = ", ".join(training_set.minority or training_set.classes)
    st.caption(spec.description.replace("{minority}", escape_markdown(minority)))
    _estimate(workspace, training_set, spec, spec.config.from_preset(preset, **changes))
    if st.button("Train", type="primary"):
        apply(
            lambda: _submit(
                workspace, TrainConfig.make(kind, training_set.name, preset, **changes)
            ),
            submitted_message,
        )


def _estimate(
    workspace: Workspace, training_set: TrainingSet, spec: GeneratorSpec, config: Config
) -> None:
    estimate = estimate_in_workspace(workspace, spec.name, config, training_set)
    if estimate is None:
        return
    free = shutil.disk_usage(workspace.nearest_existing).free
    time = (
        f"about {format_duration(estimate.seconds)} on this machine"
        if estimate.seconds is not None
        else "unknown before the first training on this GPU"
    )
    st.caption(
        f"Time: {time}. Disk: {estimate.disk / 2**20:,.0f} MB of {free / 2**30:,.0f} GB free, "
        "mostly checkpoints."
    )
    for note in estimate.notes:
        st.warning(escape_markdown(note))


def _load(workspace: Workspace, training_set: TrainingSet) -> None:
    folder = st.text_input(
        "Folder of a trained generator",
        placeholder="…/runs/<id>/result/generator",
        help=f"With {_files()}. If it contains {RECORD_FILE}, that records what it was trained on; "
        f"otherwise it is assumed to have been trained on {training_set.name} alone, and marked as "
        "unverified.",
    )
    if st.button("Load", disabled=not folder):
        apply(
            lambda: _submit(workspace, from_folder(workspace, folder.strip(), training_set.name)),
            submitted_message,
        )


def _files() -> str:
    """The names of the files in each generator's folder."""
    return "; ".join(
        f"{s.name}: {s.file_names}" for s in generator_specs().values() if s.file_names
    )


def _trained_on(view: RunView) -> None:
    """The training set of the generator, from the run's own copy."""
    if not (view.path / "set.json").exists():
        return
    training_set = run_set(view)
    counts = ", ".join(f"{c} {n}" for c, n in training_set.counts.items())
    text = (
        f"Trained on {training_set.name}: {counts}; split {training_set.config.split}, skew "
        f"{training_set.config.skew}, poses {', '.join(training_set.config.poses) or 'all'}"
    )
    if view.config.get("folder"):
        text += f". Loaded from {view.config['folder']}"
        if view.config.get("believed"):
            text += ", which does not record what it was trained on: the training set is unverified"
    else:
        seed = view.config.get("training", {}).get("seed")
        text += f"; seed {seed}, code {view.record.code}"
    if view.config.get("continues"):
        text += f". Continues from run {view.config['continues']}"
    st.caption(f"{text}.")


def _continue(workspace: Workspace, view: RunView) -> None:
    """The form that continues a finished training, as if its length had been longer."""
    spec = generator_specs().get(view.config.get("generator", ""))
    if spec is None or not spec.continuable or view.live:
        return
    if last_checkpoint(view.path) is None:
        return
    with st.expander("Continue for more epochs, or with another learning rate"):
        config: Any = spec.config.build(**view.config.get("training", {}))
        length = "epochs" if config.steps is None else "steps"
        current_length = getattr(config, length)
        left, right = st.columns(2)
        values = {
            length: left.number_input(
                f"total {length}",
                current_length,
                None,
                2 * current_length if view.status == "done" else current_length,
                key=f"length {view.id}",
            ),
            "lr": right.number_input(
                "learning rate from here",
                0.0,
                None,
                config.lr,
                config.lr / 10,
                format="%g",
                key=f"lr {view.id}",
            ),
        }
        changes = {f: v for f, v in values.items() if v != getattr(config, f)}
        if st.button("Continue training"):
            apply(
                lambda: _submit(workspace, continuation(workspace, view.id, **changes)),
                submitted_message,
            )


def _submit(workspace: Workspace, config: TrainConfig) -> RunView:
    view = start_run(workspace, config)
    remember("run", view.id)
    return view


run_page(render, "Generators", "Models that learn to generate images of the rare classes.")
