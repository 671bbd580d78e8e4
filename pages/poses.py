"""Poses page: cluster each class by pose; inspect, name and correct the clusters; select some."""

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
from pages.parts.sets import last_saved_set, save_set, save_subset
from pages.parts.weights import get_weights
from rebalance_core.datasets.dataset import Dataset, list_datasets, open_dataset
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
from rebalance_core.training_sets.load import set_notes
from rebalance_core.training_sets.resolve import open_sets
from rebalance_core.workspace import Workspace

WHOLE = "the whole dataset"
MAX_CLUSTER_IMAGES = 8  # shown per cluster
MAX_SELECTED_IMAGES = 48  # shown of a selection
MAX_POINTS = 20_000  # in a scatter plot: of more, a seeded sample
NOTES = {
    "hog": "No weights needed: gradients of the segmented head, invariant to mirroring.",
    "vgg16": "As in the paper: pretrained, without its last two layers; 4,096 values per image.",
    "resnet18": "Pretrained, without its last layer; 512 values, several times faster.",
}
MEAN_ELBOW, CLASS_ELBOWS, MANUAL = (
    "One k, by all elbows",
    "One k per class, by its elbow",
    "Manual k",
)


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
            st.info(
                "Not clustered yet. Click the button above; the features are stored for the next "
                "clustering."
            )
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
    """Render the choice of features and the start button, or how to get missing weights."""
    names = list(EXTRACTORS)
    default = names.index(resolve_extractor(workspace, "auto"))
    extractor = st.radio(
        "Features",
        names,
        default,
        format_func=lambda n: EXTRACTORS[n].title,
        captions=[NOTES[n] for n in names],
        horizontal=True,
    )
    missing = extractor != "hog" and not has_weights(workspace, extractor)
    if extractor != "hog" and missing:
        get_weights(workspace, extractor)
    elif not has_weights(workspace, "vgg16"):
        st.caption(
            "HOG is the default because VGG-16's weights are not on this machine; select VGG-16 to "
            "download them."
        )
    sets = [s.name for s in open_sets(workspace)[0] if s.config.dataset == dataset.name]
    fitted_on = st.selectbox(
        "Fit on",
        [None, *sets],
        format_func=lambda name: name or f"all training images of {dataset.name}",
        help="A training set's own images only, so that its poses depend on nothing that the set "
        "leaves out. A comparison says how many other images its poses were fitted on.",
    )
    with st.expander("Advanced"):
        fields = ["components", "variance", "restarts", "precision", "seed"]
        changes = config_form(PosesConfig(dataset=dataset.name), fields, "poses", columns=5)
    corrected = may_have_corrections(dataset)
    confirmed = corrected and st.checkbox(
        "Cluster again and discard the manual corrections (Undo restores them)"
    )
    busy = newest is not None and newest.live
    blocked = busy or missing or (corrected and not confirmed)
    if st.button("Cluster by pose", type="primary", disabled=blocked):
        values = {
            "dataset": dataset.name,
            "set": fitted_on,
            "extractor": extractor,
            "discard_corrections": confirmed,
        }
        apply(lambda: start_run(workspace, PosesConfig.build(**values, **changes)))


def _elbow(dataset: Dataset, clustering: PoseClustering) -> None:
    st.subheader("Elbow")
    record = clustering.record
    _choose_k(dataset, clustering)
    class_elbows = ", ".join(f"{label} {k or 'none'}" for label, k in record.elbows.items())
    current = (
        f"**k = {record.k}** in every class"
        if record.k is not None
        else "k by class: " + ", ".join(f"{c} **{k}**" for c, k in record.ks.items())
    )
    st.markdown(
        f"{current}; the elbow of the mean curve is at {record.elbow or 'no k'} "
        f"(by class: {class_elbows}). Features: {EXTRACTORS[record.extractor].title}; PCA keeps "
        f"{record.variance_kept:.0%} of their variance. Fitted on "
        + escape_markdown(
            f"the {len(clustering.fitted_on):,} training images of "
            f"{record.config.set or 'the whole dataset'}."
        )
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
    _quality(record)


def _choose_k(dataset: Dataset, clustering: PoseClustering) -> None:
    """k by elbow or set manually; another value reclusters at once, from the stored points."""
    used = clustering.record.config.k
    modes = [MEAN_ELBOW, CLASS_ELBOWS, MANUAL]
    current_mode = {"auto": MEAN_ELBOW, "per-class": CLASS_ELBOWS}.get(str(used), MANUAL)
    widgets = _k_widgets(dataset, clustering)
    mode = st.segmented_control(
        "Number of clusters", modes, default=current_mode, key=f"k mode {dataset.name} {widgets}"
    )
    left, right = st.columns([5, 2], vertical_alignment="bottom")
    used_k = clustering.record.k or 3
    k = left.slider(
        "Clusters k in every class",
        1,
        max(10, used_k),
        used_k,
        disabled=mode != MANUAL,
        key=f"k {dataset.name} {widgets}",
    )
    if right.button(
        "Undo",
        icon=":material/undo:",
        disabled=not can_undo(dataset.path),
        help="Reverts the last clustering, rename or move.",
    ):
        apply(lambda: undo_change(dataset.path), "Undid the last change to the poses.")
    values: dict[str, int | str] = {MEAN_ELBOW: "auto", CLASS_ELBOWS: "per-class", MANUAL: k}
    selected = values[mode or current_mode]
    if selected == used or (mode == MANUAL and k == clustering.record.k):
        return
    if clustering.corrections:
        st.warning(
            f"Another k discards {len(clustering.corrections)} manual correction(s): "
            f"{'; '.join(clustering.corrections[-3:])}."
        )
        if not st.button("Cluster again anyway"):
            return

    def cluster() -> None:
        new = recluster(dataset, selected, discard_corrections=True)
        if mode == MANUAL:  # the slider shows this k already and may have been moved since
            st.session_state[f"k widgets {dataset.name}"] = new.path.name, widgets

    apply(cluster)


def _k_widgets(dataset: Dataset, clustering: PoseClustering) -> int:
    """A number for the keys of the widgets that set k.

    It changes after an undo or a correction, so that the widgets show the current k, and stays the
    same while the slider is moved, so that no move is lost.
    """
    key, version = f"k widgets {dataset.name}", clustering.path.name
    last, number = st.session_state.get(key, ("", 0))
    if version != last:
        number += 1
        st.session_state[key] = version, number
    return int(number)


def _quality(record: ClusteringRecord) -> None:
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
        "Silhouette: -1 to 1, how much closer an image is to its own cluster than to the next one. "
        "Stability: adjusted Rand index between restarts with other seeds; 1 if all agree. "
        + (
            f"{agreement.same_name:.1%} of the images of one true pose have the same name."
            if agreement is not None
            else "A class with a single pose has no clear clusters for any k."
        )
    )


def _clusters(dataset: Dataset, clustering: PoseClustering) -> None:
    st.subheader("Clusters")
    label = st.segmented_control("Class", dataset.classes, default=dataset.classes[0])
    label = label or dataset.classes[0]
    farthest = st.toggle("Show outliers", help="Show the images farthest from the center instead.")
    rows = cluster_images(clustering, label, MAX_CLUSTER_IMAGES, farthest=farthest)
    table = clustering.training
    pose_sizes = table.loc[table["class"] == label, "pose"].value_counts()
    groups = [
        Group(
            [image_tile(dataset, image, with_class=False) for image in ids],
            f"{pose}: {pose_sizes[pose]} images, "
            f"{'farthest from' if farthest else 'nearest to'} the center first",
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
    color = middle.segmented_control("Color", ["pose", "cluster", "class", "split"], default="pose")
    label = right.selectbox("Class", ["all classes", *dataset.classes])
    table = clustering.assignments
    table = table if label == "all classes" else table[table["class"] == label]
    if len(table) > MAX_POINTS:
        st.caption(f"A seeded sample of {MAX_POINTS:,} of {len(table):,} images.")
        table = table.iloc[sample_rows(np.arange(len(table)), MAX_POINTS, 0)]
    figure = cluster_scatter(table, color or "pose", dimensions=dimensions or 2)
    key = f"scatter {dataset.name} {clustering.path.name} {color} {dimensions} {label}"
    if dimensions == 3:
        st.plotly_chart(figure, key=key)
        st.caption("Drag to rotate. Box and lasso selection work in 2-D.")
        return
    event = st.plotly_chart(figure, key=key, on_select="rerun", selection_mode=("box", "lasso"))
    ids = selected_images(event["selection"]["points"])
    if not ids:
        st.caption("Draw a lasso or a box around points to see their images.")
        return
    _selection(dataset, clustering, ids)


def _selection(dataset: Dataset, clustering: PoseClustering, ids: list[str]) -> None:
    first = f", the first {MAX_SELECTED_IMAGES} shown" if len(ids) > MAX_SELECTED_IMAGES else ""
    st.markdown(f"**{len(ids)} images selected**{first}")
    tiles = [image_tile(dataset, image) for image in ids[:MAX_SELECTED_IMAGES]]
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
    """Show an original with its pose and let the user correct the pose."""
    row = clustering.assignments.iloc[dataset.rows[image]]
    left, right = st.columns([3, 2])
    with dataset.open(image) as opened:
        left.image(opened, width="stretch")
    with right:
        st.text(image)
        st.text(f"{row['class']}, {row['split']}")
        st.text(f"cluster {row['class']}/{row['cluster']}, now {row['pose']}")
        st.text(f"{row['distance']:.2f} from the center of its cluster")
        current = clustering.poses.index(row["pose"])
        pose = st.selectbox(
            "Pose to move it to",
            clustering.poses,
            current,
            accept_new_options=True,
            key=f"move {image} {clustering.path.name}",
        )
        if st.button("Move this image", disabled=pose == row["pose"]):
            apply(lambda: move_images(dataset, [image], pose), f"Moved {image} to {pose}.")


def _names(dataset: Dataset, clustering: PoseClustering) -> None:
    st.subheader("Names")
    st.markdown("Clusters were matched across classes; correct wrong matches here.")
    left, right = st.columns(2)
    version = clustering.path.name
    with left.container(border=True):
        pose = st.selectbox("Pose to rename in all classes", clustering.poses)
        new = st.text_input("New name", placeholder="axial", key=f"new name {version}")
        if st.button("Rename", disabled=not new):
            apply(lambda: rename_pose(dataset, pose, new), f"Renamed {pose} to {new}.")
    with right.container(border=True):
        clusters = [f"{c}/{i}" for c, k in clustering.record.ks.items() for i in range(k)]
        poses = clustering.assignments.groupby(["class", "cluster"])["pose"].agg(
            lambda names: names.mode()[0]
        )
        pose_of = {c: str(poses.get(_cluster(c), "empty")) for c in clusters}
        cluster = st.selectbox(
            "Cluster to move", clusters, format_func=lambda c: f"{c}, now {pose_of[c]}"
        )
        target = st.selectbox(
            "Pose to move it to", clustering.poses, accept_new_options=True, key=f"target {version}"
        )
        if st.button("Move"):
            message = f"Moved cluster {cluster} to {target}."
            apply(lambda: move_cluster(dataset, *_cluster(cluster), target), message)
    if clustering.corrections:
        st.caption("Manual corrections: " + "; ".join(clustering.corrections) + ".")


def _cluster(name: str) -> tuple[str, int]:
    label, _, number = name.rpartition("/")
    return label, int(number)


def _choose_poses(workspace: Workspace, dataset: Dataset, clustering: PoseClustering) -> None:
    st.subheader("Train on some poses only")
    chosen = st.pills("Poses to keep in training", clustering.poses, selection_mode="multi")
    left, middle, right = st.columns(3)
    sets = [s.name for s in open_sets(workspace)[0] if s.config.dataset == dataset.name]
    parent = left.selectbox(
        "From",
        [WHOLE, *sets],
        help="A generator trained on a subset of a saved training set can be compared on that set, "
        "as in the paper.",
    )
    skew = middle.text_input(
        "Skew",
        NO_SKEW,
        disabled=parent != WHOLE,
        help="As on the Data page: step:20, long:50 or class=number,… A saved set has its own.",
    )
    with right:
        base = dataset.name if parent == WHOLE else parent
        suggestion = f"{base}-{'-'.join(chosen)}".strip("-")
        name = name_field("Name of the training set", suggestion, "pose set name")

    def save() -> None:
        if parent == WHOLE:
            values = {"dataset": dataset.name, "poses": tuple(chosen), "skew": skew}
            save_set(workspace, name, SetConfig.build(**values))
        else:
            save_subset(workspace, name, parent, chosen)

    if st.button("Save training set", type="primary", disabled=not chosen):
        apply(save)
    saved = last_saved_set(workspace, dataset.name)
    if saved is not None:
        counts = ", ".join(f"{c} {n}" for c, n in saved.counts.items())
        hint = "It can be selected on the Generators page."
        st.success(escape_markdown(f"Saved {saved.name}: {counts}. {hint}"))
        for note in set_notes(dataset, saved):
            st.warning(escape_markdown(note))


run_page(
    render,
    "Poses",
    "Scans of several planes are mixed; clustering features separates them (paper, section 3.1).",
)
