"""Train generators and watch them."""

from typing import Any

import streamlit as st

from pages.parts.choose import choose, remember
from pages.parts.config_form import config_form
from pages.parts.frame import link, show
from pages.parts.live import act, training, watch
from pages.parts.sets import choose_set
from rebalance_core.config import PRESETS
from rebalance_core.datasets.training_set import TrainingSet
from rebalance_core.generators.configs import CONFIGS
from rebalance_core.generators.training import TrainConfig
from rebalance_core.runs.executor import RunView, list_runs, submit
from rebalance_core.workspace import Workspace

TITLES = {"bagan-gp": "BAGAN-GP", "ddpm": "DDPM, one per minority class"}
PRESET_WORDS = {
    "quick": "32 px, a demonstration in minutes",
    "small": "64 px, about half an hour on two cores",
    "paper": "exactly the study's numbers; wants a GPU",
    "strong": "the best we know; wants a GPU",
}
MATTERS = {
    "bagan-gp": ["size", "autoencoder_steps", "steps", "batch_size"],
    "ddpm": ["size", "steps", "batch_size", "lr"],
}


def draw(workspace: Workspace) -> None:
    chosen = choose_set(workspace)
    if chosen is None:
        return
    _train(workspace, chosen)
    views = [v for v in list_runs(workspace, "train") if v.config["set"] == chosen.name]
    if not views:
        st.info("No generator was trained on this set yet. Choose one above and press Train.")
        return
    st.subheader("Trained on this set")
    named = {v.id: f"{v.name}, {v.config['training']['preset']} ({v.id})" for v in views}
    run = choose("Run", list(named), "run", shown=lambda i: named[i])
    view = next(v for v in views if v.id == run)
    watch(view, training)
    with st.expander("Config of this run"):
        st.json(view.config)
    if any(v.status == "done" for v in views):
        link("samples", "On to Samples")


def _train(workspace: Workspace, chosen: TrainingSet) -> None:
    st.subheader("Train")
    left, right = st.columns(2)
    kind = left.radio("Generator", list(TITLES), format_func=TITLES.__getitem__)
    preset = right.radio(
        "Preset", PRESETS, captions=[PRESET_WORDS[p] for p in PRESETS], horizontal=True
    )
    config = CONFIGS[kind].from_preset(preset)
    key = f"{kind} {preset}"
    changes = config_form(config, MATTERS[kind], key)
    with st.expander("Advanced"):
        rest = [f for f in CONFIGS[kind].model_fields if f not in ("preset", *MATTERS[kind])]
        changes |= config_form(config, rest, key)
    if kind == "ddpm":
        st.caption(f"Trains one model each for {', '.join(chosen.minority or chosen.classes)}.")
    if st.button("Train", type="primary"):
        act(lambda: _submit(workspace, kind, chosen, preset, changes))


def _submit(
    workspace: Workspace, kind: str, chosen: TrainingSet, preset: str, changes: dict[str, Any]
) -> RunView:
    config = TrainConfig.make(kind, chosen.name, preset, **changes)
    view = submit(
        workspace, "train", config.model_dump(mode="json"), name=f"{kind} on {chosen.name}"
    )
    remember("run", view.id)
    return view


show(draw, "Generators", "Models that learn to make images of the rare classes.")
