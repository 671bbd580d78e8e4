"""The form that samples a generator, and looks into how it does."""

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
    named = {v.id: run_label(v) for v in trained}
    run = choose("Generator", list(named), "run", format_func=named.__getitem__)
    view = next(v for v in trained if v.id == run)
    kind, set_name = view.config.get("generator", ""), view.config.get("set", "")
    columns = st.columns(4)
    count = columns[0].number_input("Images a class", 1, 100_000, 100, 50)
    seed = columns[1].number_input("Seed", 0, 10**6, 0)
    spec = generator_spec(kind)
    asked = options_form(spec.sampling, run)
    classes = generated_classes(view)
    labels = st.pills(
        "Classes",
        classes,
        selection_mode="multi",
        key=f"classes {run}",
        help="None chosen: every class that the generator makes.",
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
                options=asked,
                classes=tuple(c for c in classes if c in labels),
            )
            view = start_run(workspace, config)
            remember("synthetic", name)
            return view

        apply(start, submitted_message)
    if spec.interpolates and len(classes) > 1:
        with st.expander("Between two classes", icon=":material/swap_horiz:"):
            _morph(workspace, view, classes)
    if spec.denoises:
        with st.expander("Out of noise", icon=":material/blur_on:"):
            _denoise(workspace, view, classes, asked)


def _denoise(
    workspace: Workspace, trained: RunView, labels: list[str], asked: dict[str, Any]
) -> None:
    """A row of images at every stage between noise and what is sampled."""
    first, second, last = st.columns([2, 1, 1], vertical_alignment="bottom")
    label = first.selectbox("Class", labels, key=f"noise class {trained.id}")
    seed = second.number_input("Seed", 0, 10**6, 0, key=f"noise seed {trained.id}")
    wanted = {"run": trained.id, "label": label, "seed": seed, "options": asked}

    def go() -> None:
        start_run(workspace, DenoiseConfig.build(**wanted))

    if last.button("Show", key=f"denoise {trained.id}"):
        apply(go)
    job_panel(
        latest_run(workspace, "denoise", lambda v: wanted.items() <= v.config.items()),
        "Choose a class and press Show to go through its sampling, step by step.",
        lambda view: _slide(list_frames(view), "From noise to the image", view.id),
    )


def _slide(pictures: list[Path], words: str, key: str) -> None:
    """One of the pictures, by a slider from the first to the last."""
    share = st.slider(words, 0, 100, 0, 5, format="%d %%", key=key)
    st.image(pictures[round(share / 100 * (len(pictures) - 1))].read_bytes(), width="stretch")


def _morph(workspace: Workspace, trained: RunView, labels: list[str]) -> None:
    """The same latents under one class's label, the other's, and all the way between."""
    first, second, third, last = st.columns([2, 2, 1, 1], vertical_alignment="bottom")
    start = first.selectbox("From", labels, key=f"from {trained.id}")
    end = second.selectbox("To", labels, 1, key=f"to {trained.id}")
    seed = third.number_input("Seed", 0, 10**6, 0, key=f"morph seed {trained.id}")
    wanted = {"run": trained.id, "start": start, "end": end, "seed": seed}

    def go() -> None:
        start_run(workspace, InterpolateConfig.build(**wanted))

    if last.button("Show", disabled=start == end, key=f"morph {trained.id}"):
        apply(go)
    job_panel(
        latest_run(workspace, "interpolate", lambda v: wanted.items() <= v.config.items()),
        "The latent decides what an image looks like, the label which class it shows. Choose two "
        "classes and press Show to move from one label to the other.",
        lambda view: _slide(list_frames(view), f"From {start} to {end}", view.id),
    )
