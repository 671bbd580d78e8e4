"""Bring images into the workspace: built-ins, dropped files or a folder, a path, Kaggle."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import streamlit as st

from pages.parts.choose import remember
from pages.parts.live import apply
from pages.parts.naming import name_field
from rebalance_core.datasets.importing import check_name_available, save_upload
from rebalance_core.datasets.source import KAGGLE, KAGGLE_STUDY, ImportConfig
from rebalance_core.imaging.decode import IMAGE_SUFFIXES
from rebalance_core.runs.start import start_run
from rebalance_core.workspace import Workspace

LAYOUT = (
    "One folder a class: `<class>/…`, or `Training|Testing/<class>/…`. Or a CSV with the columns "
    "path and label and, if you have them, split and group (the patient)."
)


def add_dataset(workspace: Workspace) -> None:
    built_in, drop, folder, path, kaggle = st.tabs(
        ["Built in", "Drop files", "Drop a folder", "From a path", "Kaggle"]
    )
    with built_in:
        _built_in(workspace)
    with drop:
        types = ["zip", "csv", *(suffix.removeprefix(".") for suffix in sorted(IMAGE_SUFFIXES))]
        st.caption(f"A zip, or images together with a CSV. {LAYOUT}")
        files = st.file_uploader("Files", types, accept_multiple_files=True)
        _dropped(workspace, files, "files")
    with folder:
        st.caption(LAYOUT)
        files = st.file_uploader("Folder", accept_multiple_files="directory")
        _dropped(workspace, files, "folder")
    with path:
        st.caption(f"A zip, a folder or a CSV. {LAYOUT}")
        source = st.text_input("Path on this machine")
        name = name_field("Name", Path(source).stem if source else "", "name of path")
        _limits_then_add(workspace, "add path", name, lambda: source, ready=bool(source and name))
    with kaggle:
        st.markdown(
            "Downloads a dataset from Kaggle to this machine, a fixed version of it. Nothing of "
            "yours is sent."
        )
        handle = st.text_input("Kaggle dataset", KAGGLE_STUDY, help="owner/dataset/versions/n")
        name = st.text_input("Name", "brain-tumor-mri", key="name of kaggle")
        if st.button("Download and add", type="primary", disabled=not (handle and name)):
            _import(workspace, name, lambda: f"{KAGGLE}:{handle}")


def _built_in(workspace: Workspace) -> None:
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
    name = name_field("Name", source, "name of built-in")
    if st.button("Add", key="add built-in", type="primary"):
        _import(workspace, name, lambda: source, count=int(count), size=int(size))


def _dropped(workspace: Workspace, files: list[Any], key: str) -> None:
    first = Path(files[0].name) if files else Path()
    stem = first.parts[0] if len(first.parts) > 1 else first.stem
    name = name_field("Name", stem, f"name of {key}")

    def keep() -> str:
        return save_upload(workspace, [(file.name, file) for file in files])

    _limits_then_add(workspace, f"add {key}", name, keep, ready=bool(files and name))


def _limits_then_add(
    workspace: Workspace, key: str, name: str, source: Callable[[], str], *, ready: bool
) -> None:
    fields = ImportConfig.model_fields
    with st.expander("Limits of a zip", icon=":material/shield:"):
        places = st.columns(3)
        limits = {
            "max_files": places[0].number_input(
                "Files at most", 1, value=fields["max_files"].default, key=f"{key} files"
            ),
            "max_gib": places[1].number_input(
                "GiB unpacked at most", 0.1, value=fields["max_gib"].default, key=f"{key} gib"
            ),
            "max_ratio": places[2].number_input(
                "Unpacked : packed at most",
                2.0,
                value=fields["max_ratio"].default,
                key=f"{key} ratio",
                help="Of one file; pictures are rarely packed over 50 : 1.",
            ),
        }
    if st.button("Add", key=key, type="primary", disabled=not ready):
        _import(workspace, name, source, **limits)


def _import(workspace: Workspace, name: str, source: Callable[[], str], **values: object) -> None:
    def start() -> None:
        check_name_available(workspace, name)
        config = ImportConfig.build(name=name, source=source(), **values)
        start_run(workspace, config)
        remember("dataset", name)

    apply(start)
