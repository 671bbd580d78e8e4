"""Train generators and watch them."""

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

PRESET_WORDS = {
    "quick": "32 px, a demonstration in minutes",
    "small": "64 px, about half an hour on two cores",
    "paper": "exactly the study's numbers; needs a GPU",
    "strong": "our strongest settings; needs a GPU",
}


def render(workspace: Workspace) -> None:
    chosen = choose_set(workspace, resets="run")
    if chosen is None:
        return
    new, taken = st.tabs(["Train a new one", "Load a trained one"])
    with new:
        _train(workspace, chosen)
    with taken:
        _load(workspace, chosen)
    run_here = current("run")  # also one just loaded that was trained on another set
    views = [
        v
        for v in list_runs(workspace, "train")
        if v.config.get("set") == chosen.name or v.id == run_here
    ]
    if not views:
        st.info("No generator was trained on this set yet. Choose one above and press Train.")
        return
    st.subheader("Trained on this set")
    named = {v.id: run_label(v) for v in views}
    run = choose("Run", list(named), "run", format_func=named.__getitem__)
    view = next(v for v in views if v.id == run)
    render_run(view, render_training)
    show_user_errors(_trained_on)(view)
    show_user_errors(_continue)(workspace, view)
    with st.expander("Config of this run"):
        st.json(view.config)
    if any(v.status == "done" for v in views):
        link("samples", "On to Samples")


@show_user_errors
def _train(workspace: Workspace, chosen: TrainingSet) -> None:
    left, right = st.columns(2)
    specs = generator_specs()
    kind = left.radio("Generator", list(specs), format_func=lambda name: specs[name].title)
    spec = specs[kind]
    preset = right.radio(
        "Preset", PRESETS, captions=[PRESET_WORDS[p] for p in PRESETS], horizontal=True
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
    minority = ", ".join(chosen.minority or chosen.classes)
    st.caption(spec.description.replace("{minority}", escape_markdown(minority)))
    _estimate(workspace, chosen, spec, spec.config.from_preset(preset, **changes))
    if st.button("Train", type="primary"):
        apply(
            lambda: _submit(workspace, TrainConfig.make(kind, chosen.name, preset, **changes)),
            submitted_message,
        )


def _estimate(
    workspace: Workspace, chosen: TrainingSet, spec: GeneratorSpec, config: Config
) -> None:
    found = estimate_in_workspace(workspace, spec.name, config, chosen)
    if found is None:
        return
    free = shutil.disk_usage(workspace.nearest_existing).free
    told = (
        f"about {format_duration(found.seconds)} on this machine"
        if found.seconds is not None
        else "not known before a first training on this GPU"
    )
    st.caption(
        f"Time: {told}. Disk: {found.disk / 2**20:,.0f} MB of {free / 2**30:,.0f} GB free, most of "
        "it checkpoints."
    )


def _load(workspace: Workspace, chosen: TrainingSet) -> None:
    told = st.text_input(
        "Folder of a trained generator",
        placeholder="…/runs/<id>/result/generator",
        help=f"With {_files()}. If it holds {RECORD_FILE}, that says what it was trained on; "
        f"otherwise it is assumed to have been trained on {chosen.name} alone, and marked as "
        "unverified.",
    )
    if st.button("Load", disabled=not told):
        apply(
            lambda: _submit(workspace, from_folder(workspace, told.strip(), chosen.name)),
            submitted_message,
        )


def _files() -> str:
    """The files of each generator's folder, in words."""
    return "; ".join(
        f"{s.name}: {s.file_names}" for s in generator_specs().values() if s.file_names
    )


def _trained_on(view: RunView) -> None:
    """What the generator saw, from the run's own copy of the training set."""
    if not (view.path / "set.json").exists():
        return
    seen = run_set(view)
    counts = ", ".join(f"{c} {n}" for c, n in seen.counts.items())
    told = (
        f"Trained on {seen.name}: {counts}; split {seen.config.split}, skew {seen.config.skew}, "
        f"poses {', '.join(seen.config.poses) or 'all'}"
    )
    if view.config.get("folder"):
        told += f". Taken from {view.config['folder']}"
        if view.config.get("believed"):
            told += ", which does not record what it was trained on: the training set is unverified"
    else:
        seed = view.config.get("training", {}).get("seed")
        told += f"; seed {seed}, code {view.record.code}"
    if view.config.get("continues"):
        told += f". Goes on from run {view.config['continues']}"
    st.caption(f"{told}.")


def _continue(workspace: Workspace, view: RunView) -> None:
    """More epochs for a training that ended, as if it had had them from the start."""
    spec = generator_specs().get(view.config.get("generator", ""))
    if spec is None or not spec.continuable or view.live:
        return
    if last_checkpoint(view.path) is None:
        return
    with st.expander("Continue for more epochs, or with another learning rate"):
        config: Any = spec.config.build(**view.config.get("training", {}))
        length = "epochs" if config.steps is None else "steps"
        so_far = getattr(config, length)
        left, right = st.columns(2)
        wanted = {
            length: left.number_input(
                f"{length} in all",
                so_far,
                None,
                2 * so_far if view.status == "done" else so_far,
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
        changes = {f: v for f, v in wanted.items() if v != getattr(config, f)}
        if st.button("Continue training"):
            apply(
                lambda: _submit(workspace, continuation(workspace, view.id, **changes)),
                submitted_message,
            )


def _submit(workspace: Workspace, config: TrainConfig) -> RunView:
    view = start_run(workspace, config)
    remember("run", view.id)
    return view


run_page(render, "Generators", "Models that learn to make images of the rare classes.")
