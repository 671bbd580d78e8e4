"""Cluster each class by pose; look at the clusters, judge and correct them; choose some."""

from collections.abc import Mapping

import numpy as np
import streamlit as st

from pages.parts.choose import choose
from pages.parts.config_form import config_form
from pages.parts.frame import empty_state, link, run_page
from pages.parts.gallery import Group, gallery, image_tile
from pages.parts.live import apply, job_panel, latest_run
from pages.parts.markdown import escape_markdown
from pages.parts.naming import name_field
from pages.parts.sets import last_saved_set, save_set
from pages.parts.weights import get_weights
from rebalance_core.datasets.dataset import Dataset, list_datasets, open_dataset
from rebalance_core.imaging.decode import open_image
from rebalance_core.plots.dataset import class_bars
from rebalance_core.plots.poses import cluster_scatter, elbow_plot, selected_images, silhouette_plot
from rebalance_core.poses.clustering import (
    PoseClustering,
    has_clustering,
    may_have_corrections,
    move_cluster,
    move_images,
    open_clustering,
    recluster,
    rename_pose,
)
from rebalance_core.poses.config import PosesConfig
from rebalance_core.poses.extractors import EXTRACTORS
from rebalance_core.poses.features import resolve_extractor
from rebalance_core.poses.kmeans import load_libraries, sample_rows
from rebalance_core.poses.pictures import cluster_images
from rebalance_core.poses.records import ClusteringRecord
from rebalance_core.poses.versions import can_undo, undo_change
from rebalance_core.poses.weights import has_weights
from rebalance_core.runs.executor import RunView
from rebalance_core.runs.start import start_run
from rebalance_core.training_sets.config import NO_SKEW, SetConfig
from rebalance_core.training_sets.load import missing_class_notes
from rebalance_core.workspace import Workspace

SHOWN = 8  # images of a cluster
SELECTED = 48  # images of a selection shown at once
PLOTTED = 20_000  # points of a scatter at most: a seeded sample of more
NOTES = {
    "hog": "No weights needed: gradients of the segmented head, invariant to mirroring.",
    "vgg16": "The study's: pretrained, without its last two layers; 4,096 values per image.",
    "resnet18": "Pretrained, without its last layer; 512 values, several times faster.",
}
BY_ELBOWS, OWN_ELBOW, BY_HAND = "One k, by all elbows", "One k per class, by its elbow", "Manual k"


def render(workspace: Workspace) -> None:
    names = list_datasets(workspace)
    if not names:
        empty_state(
            "There is no dataset yet: add one first, then cluster it here.", "data", "Add a dataset"
        )
        return
    dataset = open_dataset(workspace, choose("Dataset", names, "dataset"))
    newest = latest_run(workspace, "poses", lambda v: v.config.get("dataset") == dataset.name)
    _start(workspace, dataset, newest)
    job_panel(newest)
    if not has_clustering(dataset):
        if newest is None or not newest.live:
            st.info("Not clustered yet. Press the button above; features are kept for next time.")
        return
    clustering = open_clustering(dataset)
    _elbow(dataset, clustering)
    _clusters(dataset, clustering)
    _scatter(dataset, clustering)
    _names(dataset, clustering)
    _choose_poses(workspace, dataset, clustering)
    link("generators", "Continue to Generators")
    load_libraries()  # while the page is being read, so that the first other k comes at once


def _start(workspace: Workspace, dataset: Dataset, newest: RunView | None) -> None:
    """Features and the button; where a network's weights are missing, how to get them."""
    names = list(EXTRACTORS)
    usual = names.index(resolve_extractor(workspace, "auto"))
    extractor = st.radio(
        "Features",
        names,
        usual,
        format_func=lambda n: EXTRACTORS[n].title,
        captions=[NOTES[n] for n in names],
        horizontal=True,
    )
    missing = extractor != "hog" and not has_weights(workspace, extractor)
    if extractor != "hog" and missing:
        get_weights(workspace, extractor)
    elif not has_weights(workspace, "vgg16"):
        st.caption(
            "HOG is preset because VGG-16's weights are not on this machine; choose VGG-16 to "
            "fetch them."
        )
    with st.expander("Advanced"):
        fields = ["components", "variance", "restarts", "precision", "seed"]
        changes = config_form(PosesConfig(dataset=dataset.name), fields, "poses", columns=5)
    corrected = may_have_corrections(dataset)
    sure = corrected and st.checkbox(
        "Cluster again and discard the manual corrections (Undo restores them)"
    )
    busy = newest is not None and newest.live
    blocked = busy or missing or (corrected and not sure)
    if st.button("Cluster by pose", type="primary", disabled=blocked):
        values = {"dataset": dataset.name, "extractor": extractor, "discard_corrections": sure}
        apply(lambda: start_run(workspace, PosesConfig.build(**values, **changes)))


def _elbow(dataset: Dataset, clustering: PoseClustering) -> None:
    st.subheader("Elbow")
    record = clustering.record
    _choose_k(dataset, clustering)
    own = ", ".join(f"{label} {k or 'none'}" for label, k in record.elbows.items())
    told = (
        f"**k = {record.k}** in every class"
        if record.k is not None
        else "k by class: " + ", ".join(f"{c} **{k}**" for c, k in record.ks.items())
    )
    st.markdown(
        f"{told}; the elbow of the mean curve is at {record.elbow or 'no k'} (by class: {own}). "
        f"Features: {EXTRACTORS[record.extractor].title}; PCA keeps "
        f"{record.variance_kept:.0%} of their variance. Fitted on the dataset's training split."
    )
    left, right = st.columns(2)
    with left:
        st.markdown("Inertia")
        st.plotly_chart(
            elbow_plot(record.tried, record.inertia, record.elbows, record.ks), key="elbow"
        )
    with right:
        st.markdown("Silhouette")
        st.plotly_chart(
            silhouette_plot(record.tried, record.silhouettes, record.ks), key="silhouette"
        )
    _judgement(record)


def _choose_k(dataset: Dataset, clustering: PoseClustering) -> None:
    """k by elbow or set manually; another value reclusters at once, from the stored points."""
    used = clustering.record.config.k
    modes = [BY_ELBOWS, OWN_ELBOW, BY_HAND]
    at = {"auto": BY_ELBOWS, "per-class": OWN_ELBOW}.get(str(used), BY_HAND)
    widgets = _k_widgets(dataset, clustering)
    mode = st.segmented_control(
        "Number of clusters", modes, default=at, key=f"k mode {dataset.name} {widgets}"
    )
    left, right = st.columns([5, 2], vertical_alignment="bottom")
    used_k = clustering.record.k or 3
    k = left.slider(
        "Clusters k in every class",
        1,
        max(10, used_k),
        used_k,
        disabled=mode != BY_HAND,
        key=f"k {dataset.name} {widgets}",
    )
    if right.button(
        "Undo",
        icon=":material/undo:",
        disabled=not can_undo(dataset.path),
        help="Takes back the last clustering, new name or move.",
    ):
        apply(lambda: undo_change(dataset.path), "Undid the last change to the poses.")
    choices: dict[str, int | str] = {BY_ELBOWS: "auto", OWN_ELBOW: "per-class", BY_HAND: k}
    wanted = choices[mode or at]
    if wanted == used or (mode == BY_HAND and k == clustering.record.k):
        return
    if clustering.corrections:
        st.warning(
            f"Another k loses {len(clustering.corrections)} correction(s) by hand: "
            f"{'; '.join(clustering.corrections[-3:])}."
        )
        if not st.button("Cluster again anyway"):
            return

    def cluster() -> None:
        made = recluster(dataset, wanted, discard_corrections=True)
        if mode == BY_HAND:  # the slider shows this k already, and may have been moved on since
            st.session_state[f"k widgets {dataset.name}"] = made.path.name, widgets

    apply(cluster)


def _k_widgets(dataset: Dataset, clustering: PoseClustering) -> int:
    """A number for the keys of the widgets that choose k.

    Another one after an undo or a correction, so that they show what is in use; the same while the
    slider is moved, so that no move of it is lost.
    """
    key, version = f"k widgets {dataset.name}", clustering.path.name
    last, number = st.session_state.get(key, ("", 0))
    if version != last:
        number += 1
        st.session_state[key] = version, number
    return int(number)


def _judgement(record: ClusteringRecord) -> None:
    agreement = record.agreement
    rows: dict[str, Mapping[str, float | None]] = {
        "clusters k": record.ks,
        "silhouette": record.silhouette,
        "stability over restarts": record.stability,
    }
    if agreement is not None:
        rows["agreement with true poses"] = agreement.classes
    classes = list(record.ks)
    st.dataframe(
        {"class": classes}
        | {name: [values.get(c) for c in classes] for name, values in rows.items()},
        hide_index=True,
        column_config={
            name: st.column_config.NumberColumn(format="%.2f")
            for name in rows
            if name != "clusters k"
        },
    )
    st.caption(
        "Silhouette: -1 to 1, how much nearer an image is to its own cluster than to the next. "
        "Stability: adjusted Rand index between restarts with other seeds, 1 if all end alike. "
        + (
            f"{agreement.same_name:.1%} of the images of one true pose carry the same name."
            if agreement is not None
            else "A class of one pose has no clear clusters, whatever k is."
        )
    )


def _clusters(dataset: Dataset, clustering: PoseClustering) -> None:
    st.subheader("Clusters")
    label = st.segmented_control("Class", dataset.classes, default=dataset.classes[0])
    label = label or dataset.classes[0]
    farthest = st.toggle("Show outliers", help="The images farthest from the centre instead.")
    rows = cluster_images(clustering, label, SHOWN, farthest=farthest)
    table = clustering.training
    sizes_here = table.loc[table["class"] == label, "pose"].value_counts()
    groups = [
        Group(
            [image_tile(dataset, image, with_class=False) for image in ids],
            f"{pose}: {sizes_here[pose]} images, "
            f"{'farthest from' if farthest else 'nearest to'} the centre first",
        )
        for pose, ids in rows.items()
    ]
    if clicked := gallery(groups, key=f"clusters {dataset.name}"):
        _inspect(dataset, clustering, clicked)
    st.markdown("Training images of each pose by class")
    sizes = {
        pose: {
            c: int(((table["class"] == c) & (table["pose"] == pose)).sum()) for c in dataset.classes
        }
        for pose in clustering.poses
    }
    st.plotly_chart(class_bars(sizes, stacked=True), key="sizes")


def _scatter(dataset: Dataset, clustering: PoseClustering) -> None:
    st.subheader("First components")
    left, middle, right = st.columns([2, 5, 4])
    dimensions = left.segmented_control("Plot", [2, 3], default=2, format_func="{}-D".format)
    colour = middle.segmented_control(
        "Colour", ["pose", "cluster", "class", "split"], default="pose"
    )
    label = right.selectbox("Of", ["all classes", *dataset.classes])
    table = clustering.assignments
    table = table if label == "all classes" else table[table["class"] == label]
    if len(table) > PLOTTED:
        st.caption(f"A seeded sample of {PLOTTED:,} of {len(table):,} images.")
        table = table.iloc[sample_rows(np.arange(len(table)), PLOTTED, 0)]
    figure = cluster_scatter(table, colour or "pose", dimensions=dimensions or 2)
    key = f"scatter {dataset.name} {clustering.path.name} {colour} {dimensions} {label}"
    if dimensions == 3:
        st.plotly_chart(figure, key=key)
        st.caption("Drag to turn it. Box and lasso selection work in 2-D.")
        return
    event = st.plotly_chart(figure, key=key, on_select="rerun", selection_mode=("box", "lasso"))
    ids = selected_images(event["selection"]["points"])
    if not ids:
        st.caption("Draw a lasso or a box around points to see their images.")
        return
    _selection(dataset, clustering, ids)


def _selection(dataset: Dataset, clustering: PoseClustering, ids: list[str]) -> None:
    first = f", the first {SELECTED} shown" if len(ids) > SELECTED else ""
    st.markdown(f"**{len(ids)} images selected**{first}")
    tiles = [image_tile(dataset, image) for image in ids[:SELECTED]]
    if clicked := gallery([Group(tiles)], key=f"selected {dataset.name}"):
        _inspect(dataset, clustering, clicked)
    with st.expander("Names of the selected images"):
        st.text("\n".join(ids))
    left, right = st.columns([2, 3], vertical_alignment="bottom")
    pose = left.selectbox(
        "Pose to move them to",
        clustering.poses,
        accept_new_options=True,
        key=f"move selected {clustering.path.name}",
    )
    if right.button(f"Move {len(ids)} images"):
        apply(lambda: move_images(dataset, ids, pose), f"Moved {len(ids)} images to {pose}.")


@st.dialog("Image", width="large")
def _inspect(dataset: Dataset, clustering: PoseClustering, image: str) -> None:
    """One original, what is known of its pose, and a way to correct it."""
    row = clustering.assignments.iloc[dataset.rows[image]]
    left, right = st.columns([3, 2])
    with open_image(dataset.read_original(image)) as opened:
        left.image(opened, width="stretch")
    with right:
        st.text(image)
        st.text(f"{row['class']}, {row['split']}")
        st.text(f"cluster {row['class']}/{row['cluster']}, now {row['pose']}")
        st.text(f"{row['distance']:.2f} from the centre of its cluster")
        at = clustering.poses.index(row["pose"])
        pose = st.selectbox(
            "Pose to move it to",
            clustering.poses,
            at,
            accept_new_options=True,
            key=f"move {image} {clustering.path.name}",
        )
        if st.button("Move this image", disabled=pose == row["pose"]):
            apply(lambda: move_images(dataset, [image], pose), f"Moved {image} to {pose}.")


def _names(dataset: Dataset, clustering: PoseClustering) -> None:
    st.subheader("Names")
    st.markdown("Clusters were matched across classes. Where that is wrong, correct it here.")
    left, right = st.columns(2)
    version = clustering.path.name
    with left.container(border=True):
        pose = st.selectbox("Pose to rename in all classes", clustering.poses)
        new = st.text_input("New name", placeholder="axial", key=f"new name {version}")
        if st.button("Rename", disabled=not new):
            apply(lambda: rename_pose(dataset, pose, new), f"Renamed {pose} to {new}.")
    with right.container(border=True):
        clusters = [f"{c}/{i}" for c, k in clustering.record.ks.items() for i in range(k)]
        now = clustering.assignments.groupby(["class", "cluster"])["pose"].agg(
            lambda names: names.mode()[0]
        )
        named = {c: str(now.get(_cluster(c), "empty")) for c in clusters}
        cluster = st.selectbox(
            "Cluster to move", clusters, format_func=lambda c: f"{c}, now {named[c]}"
        )
        target = st.selectbox(
            "Pose to move it to", clustering.poses, accept_new_options=True, key=f"target {version}"
        )
        if st.button("Move"):
            done = f"Moved cluster {cluster} to {target}."
            apply(lambda: move_cluster(dataset, *_cluster(cluster), target), done)
    if clustering.corrections:
        st.caption("Manual corrections: " + "; ".join(clustering.corrections) + ".")


def _cluster(name: str) -> tuple[str, int]:
    label, _, number = name.rpartition("/")
    return label, int(number)


def _choose_poses(workspace: Workspace, dataset: Dataset, clustering: PoseClustering) -> None:
    st.subheader("Train on some poses only")
    chosen = st.pills("Poses to keep in training", clustering.poses, selection_mode="multi")
    left, right = st.columns(2)
    with left:
        suggestion = f"{dataset.name}-{'-'.join(chosen)}".strip("-")
        name = name_field("Name of the training set", suggestion, "pose set name")
    skew = right.text_input(
        "Skew", NO_SKEW, help="As on the Data page: step:20, long:50 or class=number,…"
    )
    if st.button("Save training set", type="primary", disabled=not chosen):
        values = {"dataset": dataset.name, "poses": tuple(chosen), "skew": skew}
        apply(lambda: save_set(workspace, name, SetConfig.build(**values)))
    made = last_saved_set(workspace, dataset.name)
    if made is not None:
        counts = ", ".join(f"{c} {n}" for c, n in made.counts.items())
        where = "It can be chosen on the Generators page."
        st.success(escape_markdown(f"Saved {made.name}: {counts}. {where}"))
        for note in missing_class_notes(dataset, made):
            st.warning(escape_markdown(note))


run_page(
    render,
    "Poses",
    "Scans of several planes are mixed; clusters of features separate them (study, section 3.1).",
)
