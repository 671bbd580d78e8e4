"""Form that imports a dataset: built-in, uploaded files or folder, local path, Kaggle."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from pages.parts.choose import remember
from pages.parts.decoding_form import decoding_form
from pages.parts.live import apply
from pages.parts.markdown import escape_markdown
from pages.parts.naming import name_field
from pages.parts.preview import preview
from rebalance_core.datasets.importing import (
    MAX_UPLOAD_FILES,
    check_name_available,
    check_upload_count,
    save_upload,
)
from rebalance_core.datasets.source import KAGGLE, KAGGLE_STUDY, ImportConfig
from rebalance_core.errors import UserError
from rebalance_core.imaging.symmetry import DESCRIPTIONS
from rebalance_core.runs.start import start_run
from rebalance_core.workspace import Workspace

LAYOUT = (
    "One folder per class: `<class>/…`, or `Training|Testing/<class>/…`. Or a CSV with the columns "
    "path and label and, optionally, split and group (the patient)."
)
MANY_FILES = (
    "For more than a few hundred files, upload a zip or use “From a path”: a browser takes minutes "
    f"for a thousand files, and more than {MAX_UPLOAD_FILES} are refused."
)


SYMMETRIES: dict[str, str] = {
    "auto": "automatic: none for digits and letters, else all",
    **{str(name): f"{name}: {text}" for name, text in DESCRIPTIONS.items()},
}


def dataset_form(workspace: Workspace) -> None:
    st.selectbox(
        "Symmetries",
        list(SYMMETRIES),
        format_func=SYMMETRIES.__getitem__,
        key="symmetries",
        help="How an image may be changed and still be the same picture. Copies are searched "
        "among images that are changed in these ways.",
    )
    st.session_state["decoding"] = decoding_form()
    path, built_in, upload, folder, kaggle = st.tabs(
        ["From a path", "Built-in", "Upload files", "Upload a folder", "Kaggle"]
    )
    with path:
        st.caption(f"A zip, a folder or a CSV. {LAYOUT}")
        source = st.text_input("Path on this machine")
        name = name_field("Name", Path(source).stem if source else "", "name of path")
        _limits_and_add(workspace, "add path", name, source)
    with built_in:
        _built_in(workspace)
    with upload:
        st.caption(f"A zip, or images with a CSV. {LAYOUT}")
        files = st.file_uploader("Files", accept_multiple_files=True)
        _upload(workspace, files, "files")
    with folder:
        st.caption(f"{LAYOUT} {MANY_FILES}")
        files = st.file_uploader("Folder", accept_multiple_files="directory")
        _upload(workspace, files, "folder")
    with kaggle:
        st.markdown(
            "Downloads a fixed version of a dataset from Kaggle to this machine. None of your data "
            "is sent."
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
            "Simulated brain MRI: four imbalanced classes, three poses.",
            "Handwritten digits, 8 × 8 px, with 7, 8 and 9 made rare.",
        ],
    )
    left, right = st.columns(2)
    count = left.number_input("Images", 40, 100_000, 1000, 100, disabled=source != "phantom")
    size = right.select_slider("Pixels", [32, 64, 128, 256], 128, disabled=source != "phantom")
    name = name_field("Name", source, "name of built-in")
    if st.button("Add", key="add built-in", type="primary"):
        _import(workspace, name, lambda: source, count=int(count), size=int(size))


def _upload(workspace: Workspace, files: list[Any], key: str) -> None:
    first = Path(files[0].name) if files else Path()
    stem = first.parts[0] if len(first.parts) > 1 else first.stem
    name = name_field("Name", stem, f"name of {key}")

    if len(files) > MAX_UPLOAD_FILES:
        try:
            check_upload_count(len(files))
        except UserError as error:
            st.error(escape_markdown(str(error)))
        files = []
    _limits_and_add(workspace, f"add {key}", name, "", files)


def _limits_and_add(
    workspace: Workspace, key: str, name: str, source: str, files: Sequence[Any] = ()
) -> None:
    """Render limits, a preview and the button for a path (`source`) or uploaded files."""
    fields = ImportConfig.model_fields
    with st.expander("Zip limits and encoding", icon=":material/shield:"):
        columns = st.columns(4)
        limits = {
            "max_files": columns[0].number_input(
                "Maximum files", 1, value=fields["max_files"].default, key=f"{key} files"
            ),
            "max_gib": columns[1].number_input(
                "Maximum unpacked GiB", 0.1, value=fields["max_gib"].default, key=f"{key} gib"
            ),
            "max_ratio": columns[2].number_input(
                "Maximum compression ratio",
                2.0,
                value=fields["max_ratio"].default,
                key=f"{key} ratio",
                help="Unpacked : packed size of one file; images rarely exceed 50 : 1.",
            ),
            "encoding": columns[3].text_input(
                "Encoding",
                key=f"{key} encoding",
                placeholder="UTF-8",
                help="Code page of the names in a zip, or of a CSV, such as gbk or cp1252.",
            ),
        }
    ready = bool((source or files) and name)
    options: dict[str, Any] = dict(limits)
    if ready:
        try:
            config = ImportConfig.build(name=name, source=source, **limits)
            options["columns"] = preview(config, files, key)
        except UserError as error:
            st.error(escape_markdown(str(error)))

    def save() -> str:
        return save_upload(workspace, [(f.name, f) for f in files]) if files else source

    if st.button("Add", key=key, type="primary", disabled=not ready):
        _import(workspace, name, save, **options)


def _import(workspace: Workspace, name: str, source: Callable[[], str], **values: object) -> None:
    def start() -> None:
        check_name_available(workspace, name)
        symmetries = st.session_state["symmetries"]
        values.update(symmetries=symmetries, **st.session_state["decoding"])
        config = ImportConfig.build(name=name, source=source(), **values)
        start_run(workspace, config)
        remember("dataset", name)

    apply(start)
