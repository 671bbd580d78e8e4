"""Cut a training set: split, skew, poses, shape; before and after, while the slider moves."""

from pathlib import Path
from typing import Any

import streamlit as st

from pages.parts.frame import link
from pages.parts.health import difference_chosen
from pages.parts.live import apply
from pages.parts.markdown import escape_markdown
from pages.parts.naming import name_field
from pages.parts.sets import just_saved, save_set, saved_message
from rebalance_core.datasets.dataset import Dataset
from rebalance_core.errors import UserError
from rebalance_core.imaging.decode import open_image
from rebalance_core.imaging.grid import FITS, fit_square
from rebalance_core.plots.dataset import class_bars
from rebalance_core.poses.clustering import has_clustering, open_clustering
from rebalance_core.training_sets.config import NO_SKEW, SetConfig
from rebalance_core.training_sets.load import missing_class_notes
from rebalance_core.training_sets.resolve import TrainingSet, open_sets, resolve_set
from rebalance_core.workspace import Workspace

KINDS = [NO_SKEW, "step", "long-tailed", "counts"]
KIND_WORDS = {
    NO_SKEW: "Every training image.",
    "step": "Every class but the largest keeps 1 : ρ of the largest.",
    "long-tailed": "Counts fall exponentially from the largest class to 1 : ρ of it.",
    "counts": "You say how many of each class.",
}
FIT_WORDS = {
    "pad": "black at the edges, nothing lost",
    "stretch": "aspect ratio lost",
    "crop": "the middle, edges lost",
}


def cut_training_set(workspace: Workspace, dataset: Dataset) -> None:
    st.subheader("Training set")
    st.markdown(
        "Choose the split and how imbalanced training is. Validation and test stay whole; "
        "generators and classifiers train on this set alone. The URL keeps split, skew and seed."
    )
    left, right = st.columns([1, 2], gap="medium")
    with left:
        values = _choices(dataset)
    config = SetConfig.build(dataset=dataset.name, **values)
    whole = config.model_copy(update={"skew": NO_SKEW, "limit": None})
    before = _preview(dataset, whole)
    if config.skew == "counts":
        with left:
            config = config.model_copy(update={"skew": _counts(dataset, before)})
    try:
        made = _preview(dataset, config)
    except UserError as error:
        right.error(str(error))
        return
    with right:
        st.plotly_chart(
            class_bars({"before": before.counts, "after": made.counts}), key="before after"
        )
        st.caption(
            f"{len(made.train):,} training images, {made.ratio:.1f} : 1; validation "
            f"{len(made.validation):,}, test {len(made.test):,}; split {config.split}."
        )
        if made.dropped:
            told = ", ".join(f"{n:,} of {part}" for part, n in made.dropped.items())
            st.caption(f"The split leaves out, as copies or for a shared patient: {told}.")
        for note in missing_class_notes(dataset, made):
            st.warning(escape_markdown(note))
        _save(workspace, config)
    _saved(workspace, dataset)


def _preview(dataset: Dataset, config: SetConfig) -> TrainingSet:
    """The set that `config` would give; kept, for a page is drawn many times over."""
    poses = 0
    if config.poses:  # another clustering may have the same names
        poses = (open_clustering(dataset).path / "clustering.json").stat().st_mtime_ns
    return _resolved(dataset.fingerprint, poses, config.model_dump_json(), dataset.path)


@st.cache_data(max_entries=32, show_spinner=False)
def _resolved(fingerprint: str, poses: int, config: str, _path: Path) -> TrainingSet:
    workspace = Workspace(_path.parents[1])
    return resolve_set(workspace, "preview", SetConfig.model_validate_json(config))


def _choices(dataset: Dataset) -> dict[str, Any]:
    split = st.radio(
        "Split",
        ["official", "clean"],
        key="split",
        bind="query-params",
        horizontal=True,
        captions=["As it came.", "Without the copies across parts that are found."],
    )
    kind = st.radio(
        "Skew", KINDS, key="skew", bind="query-params", captions=[KIND_WORDS[k] for k in KINDS]
    )
    skew = kind
    if kind in ("step", "long-tailed"):
        rho = st.slider("Ratio ρ, largest : smallest", 1, 100, 10, key="rho", bind="query-params")
        skew = f"{'step' if kind == 'step' else 'long'}:{rho}"
    values: dict[str, Any] = {"split": split, "difference": difference_chosen(), "skew": skew}
    if has_clustering(dataset):
        values["poses"] = tuple(
            st.multiselect(
                "Poses",
                open_clustering(dataset).poses,
                placeholder="all",
                help="Training and validation keep only these; test stays whole.",
            )
        )
    with st.expander("More", icon=":material/tune:"):
        values["fit"] = _fit(dataset)
        limit = st.number_input(
            "At most so many training images (0: all)",
            0,
            len(dataset.catalogue),
            0,
            50,
            key="limit",
            bind="query-params",
        )
        values["limit"] = int(limit) or None
        if "validation" not in dataset.counts():
            values["validation"] = st.slider("Share of training for validation", 0.05, 0.5, 0.15)
        values["seed"] = int(
            st.number_input("Seed", 0, 2**32 - 1, 0, key="seed", bind="query-params")
        )
    return values


def _fit(dataset: Dataset) -> str:
    """How images become squares, shown on one that isn't."""
    table = dataset.catalogue
    oblong = table.loc[table["width"] != table["height"], "image"].tolist()
    if not oblong:
        st.caption("All images are square: nothing is padded or cut.")
        return "pad"
    st.caption(f"{len(oblong):,} images are not square. Here the first of them, each way:")
    with open_image(dataset.read_original(oblong[0])) as image:
        for place, fit in zip(st.columns(3), FITS, strict=True):
            place.image(fit_square(image, 96, 3, fit), caption=f"{fit}: {FIT_WORDS[fit]}")
    return str(st.radio("To squares", FITS, key="fit", bind="query-params", horizontal=True))


def _counts(dataset: Dataset, before: TrainingSet) -> str:
    """A table in which every class's count can be changed → 'class=number,…'."""
    key = f"counts of {dataset.name}"
    asked = dict(
        term.rpartition("=")[::2] for term in st.query_params.get("counts", "").split(",") if term
    )
    first = st.session_state.setdefault(
        f"first {key}",
        {
            c: min(int(asked[c]), n) if asked.get(c, "").isdecimal() else n
            for c, n in before.counts.items()
        },
    )
    lines = [
        {"class": c, "there": n, "kept": min(first.get(c, n), n)} for c, n in before.counts.items()
    ]
    kept = st.column_config.NumberColumn(min_value=1, step=1, required=True)
    edited = st.data_editor(
        lines, disabled=["class", "there"], hide_index=True, key=key, column_config={"kept": kept}
    )
    told = ",".join(f"{line['class']}={line['kept']}" for line in edited)
    st.query_params["counts"] = told
    return told


def _save(workspace: Workspace, config: SetConfig) -> None:
    skew = "" if config.skew == NO_SKEW else f"-{config.skew}"
    split = "" if config.split == "official" and skew else f"-{config.split}"
    suggestion = f"{config.dataset}{split}{skew}".replace(":", "").replace("=", "")
    name = name_field("Name of the training set", suggestion.replace(",", "-"), "set name")
    if st.button("Save training set", type="primary"):
        apply(lambda: save_set(workspace, name, config), saved_message)
    made = just_saved(workspace, config.dataset)
    if made is not None:
        st.success(escape_markdown(f"{saved_message(made)} Next: Poses or Generators."))
        with st.container(horizontal=True):
            link("poses")
            link("generators")


def _saved(workspace: Workspace, dataset: Dataset) -> None:
    sets, damaged = open_sets(workspace)
    for sentence in damaged.values():
        st.warning(escape_markdown(sentence))
    mine = [s for s in sets if s.config.dataset == dataset.name]
    if mine:
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
                for s in mine
            ],
            hide_index=True,
        )
    link("poses", "On to Poses")
