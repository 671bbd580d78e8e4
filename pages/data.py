"""Bring images, see their classes, cut a training set."""

import secrets

import streamlit as st

from pages.parts.choose import choose, remember
from pages.parts.frame import link, show
from pages.parts.live import act, latest, watch
from rebalance_core.datasets.dataset import Dataset, list_datasets, open_dataset, remove_dataset
from rebalance_core.datasets.source import ImportConfig
from rebalance_core.datasets.training_set import (
    AS_IT_IS,
    SetConfig,
    list_sets,
    make_set,
    open_set,
    resolve_set,
)
from rebalance_core.errors import UserError
from rebalance_core.figures import class_bars
from rebalance_core.images import grid
from rebalance_core.pictures import images_of
from rebalance_core.runs.executor import submit
from rebalance_core.workspace import Workspace, check_name

PAGE = 40  # images of a class shown at once
COLUMNS = 10


def draw(workspace: Workspace) -> None:
    names = list_datasets(workspace)
    with st.expander("Add a dataset", expanded=not names, icon=":material/add:"):
        _add(workspace)
    importing = latest(workspace, "import", lambda view: view.status != "done")
    if importing and (importing.live or importing.status == "failed"):
        st.markdown(f"**{importing.name}**")
        watch(importing)
    if not names:
        st.info("No dataset yet. Add the phantom above to try everything without a download.")
        return
    dataset = open_dataset(workspace, choose("Dataset", names, "dataset"))
    _overview(dataset)
    _samples(dataset)
    _training_set(workspace, dataset)
    _remove(workspace, dataset)


def _add(workspace: Workspace) -> None:
    built_in, upload, path = st.tabs(["Built in", "Upload a zip", "From a path"])
    with built_in:
        source = st.radio(
            "Source",
            ["phantom", "digits"],
            captions=[
                "Made-up brain MRI: four classes, three poses, skewed.",
                "Real handwritten digits, 8 × 8 px; 7, 8 and 9 made rare.",
            ],
        )
        left, right = st.columns(2)
        count = left.number_input("Images", 40, 100_000, 1000, 100, disabled=source != "phantom")
        size = right.select_slider("Pixels", [32, 64, 128, 256], 128, disabled=source != "phantom")
        name = st.text_input("Name", source, key=f"name of {source}")
        if st.button("Add", key="add built-in", type="primary"):
            config = {"source": source, "count": int(count), "size": int(size)}
            _import(workspace, name, **config)
    with upload:
        file = st.file_uploader(
            "A zip in the layout Training|Testing/<class>/… or <class>/…", type="zip"
        )
        name = st.text_input("Name", file.name.removesuffix(".zip") if file else "", key="zip name")
        if st.button("Add", key="add zip", type="primary", disabled=file is None) and file:
            check_name(name, "dataset name")
            workspace.uploads.mkdir(parents=True, exist_ok=True)
            target = workspace.uploads / f"{secrets.token_hex(8)}.zip"
            with target.open("wb") as out:
                out.write(file.getbuffer())
            _import(workspace, name, source=str(target))
    with path:
        source = st.text_input("Path of a zip or folder on this machine")
        name = st.text_input("Name", key="path name")
        if st.button("Add", key="add path", type="primary", disabled=not (source and name)):
            _import(workspace, name, source=source)


def _import(workspace: Workspace, name: str, **values: object) -> None:
    def start() -> None:
        check_name(name, "dataset name")
        if name in list_datasets(workspace):
            raise UserError(f"Dataset {name!r} exists already; choose another name.")
        config = ImportConfig.build(name=name, **values)
        submit(workspace, "import", config.model_dump(mode="json"), name=f"import {name}")
        remember("dataset", name)

    act(start)


def _overview(dataset: Dataset) -> None:
    counts = dataset.counts()
    train = counts.get("train", {})
    facts = st.columns(4)
    facts[0].metric("Images", f"{len(dataset.catalogue):,}")
    facts[1].metric("Classes", len(dataset.classes))
    ratio = max(train.values()) / max(1, min(train.values()))
    facts[2].metric("Imbalance ratio", f"{ratio:.1f} : 1", help="Largest : smallest in training.")
    facts[3].metric("Channels", "1, gray" if dataset.channels == 1 else "3, colour")
    st.plotly_chart(class_bars(counts), key=f"bars {dataset.name}")
    unreadable = dataset.manifest["unreadable"]
    if unreadable:
        st.warning(f"{len(unreadable)} files could not be read and were left out.")
        st.dataframe(unreadable, hide_index=True)


def _samples(dataset: Dataset) -> None:
    st.subheader("Samples")
    left, middle, right = st.columns(3)
    label = left.selectbox("Class", dataset.classes)
    split = middle.selectbox("Split", list(dataset.counts()))
    table = dataset.catalogue
    ids = table.loc[(table["class"] == label) & (table["split"] == split), "image"].tolist()
    if not ids:
        st.info(f"There is no image of {label} in {split}.")
        return
    pages = -(-len(ids) // PAGE)
    page = right.number_input(f"Page of {pages}", 1, pages, 1)
    shown = ids[(page - 1) * PAGE : page * PAGE]
    st.image(
        grid(images_of(dataset, shown), COLUMNS),
        caption=f"{shown[0]} … {shown[-1]}",
        width="stretch",
    )


def _training_set(workspace: Workspace, dataset: Dataset) -> None:
    st.subheader("Training set")
    st.markdown(
        "Choose how skewed training shall be. Validation and test stay whole; everything that "
        "learns sees only this set."
    )
    left, right = st.columns([1, 2])
    with left:
        skew = _skew(dataset)
        limit = st.number_input(
            "At most so many training images (0: all)", 0, len(dataset.catalogue), 0, 50
        )
        seed = st.number_input("Seed", 0, 10**6, 0)
    values = {"dataset": dataset.name, "skew": skew, "limit": int(limit) or None, "seed": int(seed)}
    config = SetConfig.build(**values)
    plain = open_set(workspace, dataset.name)
    made = resolve_set(workspace, "preview", config)
    with right:
        st.plotly_chart(
            class_bars({"before": plain.counts, "after": made.counts}), key="before after"
        )
        st.caption(
            f"{len(made.train)} training images, {made.ratio:.1f} : 1; validation "
            f"{len(made.validation)}, test {len(made.test)}; split official."
        )
    suggestion = f"{dataset.name}-{skew.replace(':', '').replace(' ', '-').replace('=', '')[:30]}"
    name = st.text_input("Name of the training set", suggestion.replace(",", "-"))
    if st.button("Save training set", type="primary"):
        act(lambda: (make_set(workspace, name, config), st.toast(f"Saved {name}.")))
    saved = [
        s for s in list_sets(workspace) if open_set(workspace, s).config.dataset == dataset.name
    ]
    if saved:
        st.markdown("Saved: " + ", ".join(f"`{s}`" for s in saved))
    link("poses", "On to Poses")


def _skew(dataset: Dataset) -> str:
    kind = st.radio("Skew", [AS_IT_IS, "step", "long-tailed", "counts"], horizontal=True)
    if kind == "counts":
        return st.text_input("class=number, separated by commas", f"{dataset.classes[0]}=20")
    if kind == AS_IT_IS:
        return AS_IT_IS
    rho = st.slider("Ratio ρ, largest : smallest", 1, 100, 20)
    return f"{'step' if kind == 'step' else 'long'}:{rho}"


def _remove(workspace: Workspace, dataset: Dataset) -> None:
    with st.expander("Remove this dataset", icon=":material/delete:"):
        depends = [
            s for s in list_sets(workspace) if open_set(workspace, s).config.dataset == dataset.name
        ]
        told = f" Training sets that depend on it: {', '.join(depends)}." if depends else ""
        st.markdown(f"All {len(dataset.catalogue):,} images go, for good.{told}")
        sure = st.checkbox(f"Yes, remove {dataset.name}")
        if st.button("Remove", disabled=not sure):
            act(lambda: remove_dataset(workspace, dataset.name))


show(draw, "Data", "Your images, their classes, and the training set that everything learns from.")
