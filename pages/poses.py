"""Cluster each class by pose; look at the clusters; choose some."""

import streamlit as st

from pages.parts.choose import choose
from pages.parts.frame import link, show
from pages.parts.live import act, latest, watch
from rebalance_core.datasets.dataset import Dataset, list_datasets, open_dataset
from rebalance_core.datasets.training_set import SetConfig, make_set
from rebalance_core.figures import class_bars, cluster_scatter, elbow_plot
from rebalance_core.images import grid
from rebalance_core.pictures import cluster_rows
from rebalance_core.poses.clustering import (
    PoseClustering,
    PosesConfig,
    has_clustering,
    open_clustering,
)
from rebalance_core.runs.executor import submit
from rebalance_core.workspace import Workspace

SHOWN = 12  # images of a cluster


def draw(workspace: Workspace) -> None:
    names = list_datasets(workspace)
    if not names:
        st.info("There is no dataset yet: add one first, then cluster it here.")
        link("data", "Add a dataset")
        return
    dataset = open_dataset(workspace, choose("Dataset", names, "dataset"))
    newest = latest(workspace, "poses", lambda v: v.config["dataset"] == dataset.name)
    busy = newest is not None and newest.live
    left, right = st.columns([2, 3], vertical_alignment="bottom")
    by_hand = left.toggle("Set k by hand", help="Otherwise the elbow of all classes decides.")
    k = right.slider("Clusters k in every class", 2, 10, 3, disabled=not by_hand)
    if st.button("Cluster by pose", type="primary", disabled=busy):
        config = PosesConfig(dataset=dataset.name, k=k if by_hand else None)
        act(
            lambda: submit(workspace, "poses", config.model_dump(), name=f"poses of {dataset.name}")
        )
    if newest is not None and newest.status != "done":
        watch(newest)
    if not has_clustering(dataset):
        if not busy:
            st.info("Not clustered yet. Press the button above; features are kept for next time.")
        return
    clustering = open_clustering(dataset)
    _elbow(clustering)
    _clusters(dataset, clustering)
    _choose_poses(workspace, dataset, clustering)
    link("generators", "On to Generators")


def _elbow(clustering: PoseClustering) -> None:
    st.subheader("Elbow")
    facts = clustering.facts
    own = ", ".join(f"{label} {k or 'none'}" for label, k in facts["elbows"].items())
    st.markdown(
        f"**k = {facts['k']}** in every class; the elbow of the mean curve is at "
        f"{facts['elbow'] or 'no k'} (by class: {own}). Features: HOG at 64 px, which need no "
        f"weights; PCA keeps {facts['variance_kept']:.0%} of their variance. "
        "Fitted on training images only."
    )
    st.plotly_chart(elbow_plot(facts), key="elbow")


def _clusters(dataset: Dataset, clustering: PoseClustering) -> None:
    st.subheader("Clusters")
    label = st.segmented_control("Class", dataset.classes, default=dataset.classes[0])
    label = label or dataset.classes[0]
    farthest = st.toggle("Show outliers", help="The images farthest from the centre instead.")
    for pose, images in cluster_rows(dataset, clustering, label, SHOWN, farthest=farthest).items():
        left, right = st.columns([1, 9], vertical_alignment="center")
        left.markdown(f"**{pose}**")
        right.image(grid(images, SHOWN), width="stretch")
    table = clustering.assignments
    sizes = {
        pose: {
            c: int(((table["class"] == c) & (table["pose"] == pose)).sum()) for c in dataset.classes
        }
        for pose in clustering.poses
    }
    left, right = st.columns(2)
    with left:
        st.markdown("Images of each pose by class")
        st.plotly_chart(class_bars(sizes, stacked=True), key="sizes")
    with right:
        own = table[table["class"] == label]
        st.markdown(f"First two components, {label}")
        points = own["x"].tolist(), own["y"].tolist(), own["pose"].tolist(), own["image"].tolist()
        st.plotly_chart(cluster_scatter(*points), key="scatter")


def _choose_poses(workspace: Workspace, dataset: Dataset, clustering: PoseClustering) -> None:
    st.subheader("Train on some poses only")
    chosen = st.multiselect("Poses to keep in training", clustering.poses)
    name = st.text_input(
        "Name of the training set", f"{dataset.name}-{'-'.join(chosen)}".strip("-")
    )
    if st.button("Save training set", disabled=not chosen):
        config = SetConfig(dataset=dataset.name, poses=tuple(chosen))
        act(lambda: (make_set(workspace, name, config), st.toast(f"Saved {name}.")))


show(
    draw,
    "Poses",
    "Scans of several planes are mixed; clusters of features separate them (study, section 3.1).",
)
