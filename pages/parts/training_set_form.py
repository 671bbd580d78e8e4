"""Form that creates a training set from split, skew and poses, with a live preview."""

from pathlib import Path
from typing import Any

import streamlit as st

from pages.parts.frame import link
from pages.parts.health import selected_difference
from pages.parts.live import apply
from pages.parts.markdown import escape_markdown
from pages.parts.naming import name_field
from pages.parts.sets import last_saved_set, save_set, saved_message
from rebalance_core.datasets.dataset import Dataset
from rebalance_core.errors import UserError
from rebalance_core.imaging.grid import FITS, fit_square
from rebalance_core.plots.dataset import class_bars
from rebalance_core.poses.clustering import has_clustering, open_clustering
from rebalance_core.training_sets.config import NO_SKEW, RESERVED, SetConfig
from rebalance_core.training_sets.evaluations import describe_parts
from rebalance_core.training_sets.load import set_notes
from rebalance_core.training_sets.resolve import TrainingSet, open_sets, resolve_set
from rebalance_core.workspace import Workspace

LARGEST = "the largest one"
SKEWS = [NO_SKEW, "step", "long-tailed", "counts"]
SKEW_DESCRIPTIONS = {
    NO_SKEW: "All training images.",
    "step": "Every class except the largest is reduced to 1/ρ of the largest.",
    "long-tailed": "Counts decay exponentially from the largest class to 1/ρ of it.",
    "counts": "A given number of images of each class.",
}
FIT_DESCRIPTIONS = {
    "pad": "black borders, nothing lost",
    "stretch": "aspect ratio not preserved",
    "crop": "centre crop, edges lost",
}


def training_set_form(workspace: Workspace, dataset: Dataset) -> None:
    st.subheader("Create a training set")
    st.markdown(
        "Choose the split and the class imbalance of the training images. Validation images are "
        "reduced in proportion, test stays whole; generators and classifiers train on this set "
        "only. The URL stores split, skew and seed."
    )
    left, right = st.columns([1, 2], gap="medium")
    with left:
        values = _fields(dataset)
    config = SetConfig.build(dataset=dataset.name, **values)
    whole = config.model_copy(update={"skew": NO_SKEW, "limit": None})
    before = _preview(dataset, whole)
    if config.skew == "counts":
        with left:
            config = config.model_copy(update={"skew": _counts(dataset, before)})
    try:
        training_set = _preview(dataset, config)
    except UserError as error:
        right.error(escape_markdown(str(error)))
        return
    with right:
        st.plotly_chart(
            class_bars({"before": before.counts, "after": training_set.counts}), key="before after"
        )
        st.caption(
            f"{len(training_set.train):,} training images, {training_set.ratio:.1f} : 1; "
            f"validation {len(training_set.validation):,}, test {len(training_set.test):,}; "
            f"split {config.split}."
        )
        if training_set.reserved:
            sizes = ", ".join(f"{p} {len(ids):,}" for p, ids in training_set.reserved.items())
            st.caption(f"Reserved test images: {sizes}.")
        if training_set.dropped:
            counts = ", ".join(f"{n:,} of {part}" for part, n in training_set.dropped.items())
            st.caption(f"The split excludes, as copies or because of a shared patient: {counts}.")
        for note in set_notes(dataset, training_set):
            st.warning(escape_markdown(note))
        _save(workspace, config)
    _saved(workspace, dataset)


def _preview(dataset: Dataset, config: SetConfig) -> TrainingSet:
    """Training set of `config`, cached across reruns of the page."""
    clustering_time = 0
    if config.poses:  # a new clustering may have the same pose names
        clustering_time = (open_clustering(dataset).path / "clustering.json").stat().st_mtime_ns
    return _resolved(dataset.fingerprint, clustering_time, config.model_dump_json(), dataset.path)


@st.cache_data(max_entries=32, show_spinner=False)
def _resolved(fingerprint: str, clustering_time: int, config: str, _path: Path) -> TrainingSet:
    workspace = Workspace(_path.parents[1])
    return resolve_set(workspace, "preview", SetConfig.model_validate_json(config))


def _fields(dataset: Dataset) -> dict[str, Any]:
    split = st.radio(
        "Split",
        ["official", "clean"],
        key="split",
        bind="query-params",
        horizontal=True,
        captions=["As provided by the dataset.", "Without detected copies across parts."],
    )
    kind = st.radio(
        "Skew",
        SKEWS,
        key="skew",
        bind="query-params",
        captions=[SKEW_DESCRIPTIONS[k] for k in SKEWS],
    )
    skew = kind
    if kind in ("step", "long-tailed"):
        rho = st.slider("Ratio ρ, largest : smallest", 1, 100, 10, key="rho", bind="query-params")
        skew = f"{'step' if kind == 'step' else 'long'}:{rho}"
        whole = st.selectbox(
            "Class that stays whole", [LARGEST, *dataset.classes], key="whole", bind="query-params"
        )
        skew += "" if whole == LARGEST else f"@{whole}"
    values: dict[str, Any] = {"split": split, "difference": selected_difference(), "skew": skew}
    if has_clustering(dataset):
        values["poses"] = tuple(
            st.multiselect(
                "Poses",
                open_clustering(dataset).poses,
                placeholder="all",
                help="Of the images that the skew selects, training and validation keep only these "
                "poses; test stays whole.",
            )
        )
    with st.expander("More", icon=":material/tune:"):
        values["fit"] = _fit(dataset)
        values["distinct"] = st.checkbox(
            "Distinct training images",
            help="Keep one image of each group of copies, so that counts are those of pictures.",
        )
        is_whole = st.checkbox(
            "Keep validation whole",
            help="Otherwise validation is reduced like training: with 70 images of a class, nobody "
            "has 200 more to choose an epoch by (Oliver et al. 2018, arXiv 1804.09170).",
        )
        values["validation_skew"] = "whole" if is_whole else "skewed"
        limit = st.number_input(
            "Maximum training images (0: all)",
            0,
            len(dataset.catalogue),
            0,
            50,
            key="limit",
            bind="query-params",
        )
        values["limit"] = int(limit) or None
        values["reserve"] = int(
            st.number_input(
                "Reserved parts of the test images",
                0,
                len(RESERVED),
                0,
                help="Test is cut by patient and copies into an open part and these, on which "
                "nothing evaluates until a comparison names one: keep them for a final claim.",
            )
        )
        if "validation" not in dataset.counts():
            values["validation"] = st.slider("Validation share of training", 0.05, 0.5, 0.15)
        values["seed"] = int(
            st.number_input("Seed", 0, 2**32 - 1, 0, key="seed", bind="query-params")
        )
    return values


def _fit(dataset: Dataset) -> str:
    """Select how images are resized to squares, with a preview of one that is not square."""
    table = dataset.catalogue
    non_square = table.loc[table["width"] != table["height"], "image"].tolist()
    if not non_square:
        st.caption("All images are square: nothing is padded or cropped.")
        return "pad"
    st.caption(f"{len(non_square):,} images are not square. The first of them in each mode:")
    with dataset.open(non_square[0]) as image:
        for column, fit in zip(st.columns(3), FITS, strict=True):
            column.image(fit_square(image, 96, 3, fit), caption=f"{fit}: {FIT_DESCRIPTIONS[fit]}")
    return str(st.radio("Resize mode", FITS, key="fit", bind="query-params", horizontal=True))


def _counts(dataset: Dataset, before: TrainingSet) -> str:
    """Render an editable table of counts per class; return it as 'class=number,…'."""
    key = f"counts of {dataset.name}"
    query = dict(
        term.rpartition("=")[::2] for term in st.query_params.get("counts", "").split(",") if term
    )
    initial = st.session_state.setdefault(
        f"initial {key}",
        {
            c: min(int(query[c]), n) if query.get(c, "").isdecimal() else n
            for c, n in before.counts.items()
        },
    )
    rows = [
        {"class": c, "available": n, "selected": min(initial.get(c, n), n)}
        for c, n in before.counts.items()
    ]
    edited = st.data_editor(
        rows,
        disabled=["class", "available"],
        hide_index=True,
        key=key,
        column_config={
            "selected": st.column_config.NumberColumn(min_value=1, step=1, required=True)
        },
    )
    counts = ",".join(f"{row['class']}={row['selected']}" for row in edited)
    st.query_params["counts"] = counts
    return counts


def _save(workspace: Workspace, config: SetConfig) -> None:
    skew = "" if config.skew == NO_SKEW else f"-{config.skew}"
    split = "" if config.split == "official" and skew else f"-{config.split}"
    suggestion = f"{config.dataset}{split}{skew}".replace(":", "").replace("=", "")
    name = name_field("Name of the training set", suggestion.replace(",", "-"), "set name")
    if st.button("Save training set", type="primary"):
        apply(lambda: save_set(workspace, name, config), saved_message)
    saved = last_saved_set(workspace, config.dataset)
    if saved is not None:
        st.success(escape_markdown(f"{saved_message(saved)} Next: Poses or Generators."))
        with st.container(horizontal=True):
            link("poses")
            link("generators")


def _saved(workspace: Workspace, dataset: Dataset) -> None:
    sets, damaged = open_sets(workspace)
    for sentence in damaged.values():
        st.warning(escape_markdown(sentence))
    matches = [s for s in sets if s.config.dataset == dataset.name]
    if matches:
        st.markdown("**Saved training sets**")
        st.dataframe(
            [
                {
                    "name": s.name,
                    "split": s.config.split,
                    "skew": s.config.skew,
                    "poses": ", ".join(s.config.poses) or "all",
                    "training": len(s.train),
                    "validation": len(s.validation),
                    "test": len(s.test),
                    "ratio": round(s.ratio, 1),
                }
                for s in matches
            ],
            hide_index=True,
        )
        for each in matches:
            for sentence in describe_parts(workspace, each):
                st.caption(escape_markdown(f"{each.name}: {sentence}"))
    link("poses", "Continue to Poses")
