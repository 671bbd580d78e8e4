"""Forms that sample a generator, show its denoising steps and interpolate between classes."""

from pathlib import Path
from typing import Any

import streamlit as st

from pages.parts.choose import choose, remember
from pages.parts.config_form import options_form
from pages.parts.live import apply, job_panel, latest_run, run_label, submitted_message
from pages.parts.naming import name_field
from rebalance_core.generators.spec import generator_spec
from rebalance_core.generators.training import generated_classes
from rebalance_core.runs.executor import RunView
from rebalance_core.runs.start import start_run
from rebalance_core.synthesis.denoising import DenoiseConfig
from rebalance_core.synthesis.interpolation import InterpolateConfig, list_frames
from rebalance_core.synthesis.sampling import SampleConfig
from rebalance_core.synthesis.synthetic_set import list_synthetic
from rebalance_core.workspace import Workspace, free_name


def sample_form(workspace: Workspace, trained: list[RunView]) -> None:
    st.subheader("Sample")
    run_names = {v.id: run_label(v) for v in trained}
    run = choose("Generator", list(run_names), "run", format_func=run_names.__getitem__)
    view = next(v for v in trained if v.id == run)
    kind, set_name = view.config.get("generator", ""), view.config.get("set", "")
    columns = st.columns(4)
    count = columns[0].number_input("Images per class", 1, 100_000, 100, 50)
    seed = columns[1].number_input("Seed", 0, 10**6, 0)
    spec = generator_spec(kind)
    options = options_form(spec.sampling, run)
    classes = generated_classes(view)
    labels = st.pills(
        "Classes",
        classes,
        selection_mode="multi",
        key=f"classes {run}",
        help="None selected: every class that the generator can generate.",
    )
    suggestion = free_name(f"{set_name}-{kind}", list_synthetic(workspace))
    name = name_field("Name of the synthetic set", suggestion, "name of the sample")
    if st.button("Generate", type="primary"):

        def start() -> RunView:
            config = SampleConfig.build(
                run=run,
                name=name,
                count=count,
                seed=seed,
                options=options,
                classes=tuple(c for c in classes if c in labels),
            )
            view = start_run(workspace, config)
            remember("synthetic", name)
            return view

        apply(start, submitted_message)
    if spec.interpolates and len(classes) > 1:
        with st.expander("Interpolate classes", icon=":material/swap_horiz:"):
            _interpolate(workspace, view, classes)
    if spec.denoises:
        with st.expander("Denoising steps", icon=":material/blur_on:"):
            _denoise(workspace, view, classes, options)


def _denoise(
    workspace: Workspace, trained: RunView, labels: list[str], options: dict[str, Any]
) -> None:
    """One row of images, at a stage between noise and the sample that a slider selects."""
    first, second, last = st.columns([2, 1, 1], vertical_alignment="bottom")
    label = first.selectbox("Class", labels, key=f"noise class {trained.id}")
    seed = second.number_input("Seed", 0, 10**6, 0, key=f"noise seed {trained.id}")
    values = {"run": trained.id, "label": label, "seed": seed, "options": options}

    def start_job() -> None:
        start_run(workspace, DenoiseConfig.build(**values))

    if last.button("Show", key=f"denoise {trained.id}"):
        apply(start_job)
    job_panel(
        latest_run(workspace, "denoise", lambda v: values.items() <= v.config.items()),
        "Select a class and press Show to step through its sampling.",
        lambda view: _slide(list_frames(view), "From noise to the image", view.id),
    )


def _slide(frames: list[Path], label: str, key: str) -> None:
    """One of the frames, selected by a slider."""
    percent = st.slider(label, 0, 100, 0, 5, format="%d %%", key=key)
    st.image(frames[round(percent / 100 * (len(frames) - 1))].read_bytes(), width="stretch")


def _interpolate(workspace: Workspace, trained: RunView, labels: list[str]) -> None:
    """The same latents with the label interpolated between two classes by a slider."""
    first, second, third, last = st.columns([2, 2, 1, 1], vertical_alignment="bottom")
    start = first.selectbox("From", labels, key=f"from {trained.id}")
    end = second.selectbox("To", labels, 1, key=f"to {trained.id}")
    seed = third.number_input("Seed", 0, 10**6, 0, key=f"morph seed {trained.id}")
    values = {"run": trained.id, "start": start, "end": end, "seed": seed}

    def start_job() -> None:
        start_run(workspace, InterpolateConfig.build(**values))

    if last.button("Show", disabled=start == end, key=f"morph {trained.id}"):
        apply(start_job)
    job_panel(
        latest_run(workspace, "interpolate", lambda v: values.items() <= v.config.items()),
        "The latent determines the image, the label its class. Select two classes and press Show "
        "to move from one label to the other.",
        lambda view: _slide(list_frames(view), f"From {start} to {end}", view.id),
    )
