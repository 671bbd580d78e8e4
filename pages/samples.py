"""Sample a generator; look at what it made beside the originals."""

import streamlit as st

from pages.parts.choose import choose, remember
from pages.parts.frame import link, show
from pages.parts.live import act, latest, run_label, watch
from pages.parts.plain import plain
from rebalance_core.datasets.dataset import list_datasets, open_dataset
from rebalance_core.datasets.training_set import list_sets
from rebalance_core.generators.training import makes
from rebalance_core.images import grid
from rebalance_core.pictures import sample_rows
from rebalance_core.runs.executor import RunView, list_runs, submit
from rebalance_core.synthesis.bringing import prepare_bring
from rebalance_core.synthesis.morphing import CAN_MORPH, MorphConfig, check_morph, frames
from rebalance_core.synthesis.sampling import OPTIONS, SampleConfig, check_sample
from rebalance_core.synthesis.synthetic_set import (
    SyntheticSet,
    list_synthetic,
    open_synthetic,
    remove_synthetic,
)
from rebalance_core.workspace import Workspace

SHOWN = 10
SAMPLERS = ("the generator's own", "ddpm", "ddim", "dpm-solver++")


def draw(workspace: Workspace) -> None:
    trained = [v for v in list_runs(workspace, "train") if v.status == "done"]
    if not trained:
        st.info("There is no trained generator yet: train one, then sample it here.")
        link("generators", "Train a generator")
    else:
        _sample(workspace, trained)
    _bring(workspace)
    newest = latest(workspace, "sample", lambda view: view.status != "done")
    if newest is not None and (newest.live or newest.status == "failed"):
        st.markdown(f"**{plain(newest.name)}**")
        watch(newest)
    names = list_synthetic(workspace)[::-1]
    if not names:
        return
    st.subheader("Generated beside originals")
    found = open_synthetic(workspace, choose("Synthetic set", names, "synthetic"))
    _look(workspace, found)
    with st.expander("Remove this synthetic set", icon=":material/delete:"):
        sure = st.checkbox(f"Yes, remove {found.name} with all its images")
        if st.button("Remove", disabled=not sure):
            act(lambda: remove_synthetic(workspace, found.name))
    link("comparison", "On to Comparison")


def _sample(workspace: Workspace, trained: list[RunView]) -> None:
    st.subheader("Sample")
    named = {v.id: run_label(v) for v in trained}
    run = choose("Generator", list(named), "run", shown=lambda i: named[i])
    view = next(v for v in trained if v.id == run)
    kind, set_name = view.config["generator"], view.config["set"]
    columns = st.columns(4)
    count = columns[0].number_input("Images a class", 1, 100_000, 100, 50)
    seed = columns[1].number_input("Seed", 0, 10**6, 0)
    sampler, steps, truncation = SAMPLERS[0], 0, None
    if "sampler" in OPTIONS[kind]:
        sampler = columns[2].selectbox("Sampler", SAMPLERS)
        steps = columns[3].number_input("Steps (0: the generator's own)", 0, 1000, 0)
    elif "truncation" in OPTIONS[kind]:
        truncation = columns[2].number_input(
            "Truncation", 0.1, 10.0, None, 0.1, placeholder="none",
            help="Latents beyond ±this are not drawn: fewer odd images, less variety.",
        )  # fmt: skip
    classes = makes(view)
    labels = st.pills(
        "Classes", classes, selection_mode="multi", key=f"classes {run}",
        help="None chosen: every class that the generator makes.",
    )  # fmt: skip
    taken = list_synthetic(workspace)
    free = next(
        n for i in range(1, 10_000) if (n := f"{set_name}-{kind}" + f"-{i}" * (i > 1)) not in taken
    )
    name = st.text_input("Name of the synthetic set", free, key=f"name {free}")
    if st.button("Generate", type="primary"):

        def start() -> None:
            config = SampleConfig.build(
                run=run, name=name, count=count, seed=seed,
                sampler=None if sampler == SAMPLERS[0] else sampler, steps=steps or None,
                truncation=truncation, classes=tuple(c for c in classes if c in labels),
            )  # fmt: skip
            check_sample(workspace, config)
            submit(workspace, "sample", config.model_dump(mode="json"), name=f"sample {name}")
            remember("synthetic", name)

        act(start)
    if kind in CAN_MORPH and len(classes) > 1:
        with st.expander("Between two classes", icon=":material/swap_horiz:"):
            _morph(workspace, view, classes)


def _bring(workspace: Workspace) -> None:
    """A folder of images that another program made, and the run that takes it in."""
    sets = [*list_sets(workspace), *list_datasets(workspace)]
    if sets:
        with st.expander("Bring images made elsewhere", icon=":material/drive_folder_upload:"):
            _choose_folder(workspace, sets)
    newest = latest(workspace, "bring", lambda view: True)
    if newest is not None and newest.status != "done":
        st.markdown(f"**{plain(newest.name)}**")
        watch(newest)


def _choose_folder(workspace: Workspace, sets: list[str]) -> None:
    folder = st.text_input(
        "Folder on this machine", placeholder="…/generated",
        help="With a folder a class, named as the training set's, and square images of one size "
        "in each. They are copied; the folder stays as it is.",
    )  # fmt: skip
    left, right = st.columns(2)
    name = left.text_input("Name", "brought", key="brought name")
    set_name = right.selectbox(
        "Made from training set", sets,
        help="You say that whatever made them saw this training set and nothing else. All that "
        "comes of them calls that believed.",
    )  # fmt: skip
    if st.button("Bring", disabled=not folder):

        def start() -> None:
            config = prepare_bring(workspace, name, folder.strip(), set_name)
            submit(workspace, "bring", config.model_dump(mode="json"), name=f"bring {name}")
            remember("synthetic", name)

        act(start)


def _morph(workspace: Workspace, trained: RunView, labels: list[str]) -> None:
    """The same latents under one class's label, the other's, and all the way between."""
    first, second, third, last = st.columns([2, 2, 1, 1], vertical_alignment="bottom")
    start = first.selectbox("From", labels, key=f"from {trained.id}")
    end = second.selectbox("To", labels, 1, key=f"to {trained.id}")
    seed = third.number_input("Seed", 0, 10**6, 0, key=f"morph seed {trained.id}")
    wanted = {"run": trained.id, "start": start, "end": end, "seed": seed}

    def go() -> None:
        config = MorphConfig.build(**wanted)
        check_morph(workspace, config)
        values = config.model_dump(mode="json")
        submit(workspace, "interpolate", values, name=f"{start} to {end}", seed=seed)

    if last.button("Show", disabled=start == end, key=f"morph {trained.id}"):
        act(go)
    fits = wanted.items()
    made = latest(workspace, "interpolate", lambda v: fits <= v.config.items())
    if made is None:
        st.caption(
            "The latent decides what an image looks like, the label which class it shows. Choose "
            "two classes and press Show to move from one label to the other."
        )
    elif made.status != "done":
        watch(made)
    else:
        pictures = frames(made)
        share = st.slider(f"From {start} to {end}", 0, 100, 0, 5, format="%d %%", key=made.id)
        st.image(pictures[round(share / 100 * (len(pictures) - 1))].read_bytes(), width="stretch")


def _look(workspace: Workspace, found: SyntheticSet) -> None:
    told = ", ".join(f"{label} {n}" for label, n in found.counts.items())
    seed, order = f"; seed {found.provenance['seed']}", "seed"
    if found.provenance.get("run") is None:
        seed, order = "", "name"
    st.caption(f"{plain(found.origin)}; {told}{seed}. The first by {order}, never picked.")
    labels = list(found.counts)
    label = st.segmented_control("Class", labels, default=labels[0]) or labels[0]
    dataset = open_dataset(workspace, found.training_set.config.dataset)
    rows = sample_rows(dataset, found, label, SHOWN)
    pictures = {
        "original": rows.originals,
        "generated": rows.generated,
        "nearest original": rows.nearest,
    }
    for name, images in pictures.items():
        st.markdown(f"**{name}**")
        st.image(grid(images, SHOWN), width="stretch")
    distances = " · ".join(f"{d:.1f}" for d in rows.distances)
    st.caption(
        f"Distance of each generated image to its nearest original, root mean square in gray "
        f"levels: {distances}. Near 0 it is a copy."
    )


show(draw, "Samples", "Generated images beside the originals, and the nearest original to each.")
