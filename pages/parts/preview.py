"""What an import would take, shown before it starts: classes, counts, files left out, pictures."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

import streamlit as st

from pages.parts.markdown import escape_markdown
from rebalance_core.datasets.left_out import LeftOutFile, count_by_class
from rebalance_core.datasets.preview import Preview, Upload, preview_source, preview_upload
from rebalance_core.datasets.source import Column, ImportConfig
from rebalance_core.datasets.tables import ColumnsNotRecognised
from rebalance_core.errors import UserError

PICTURES, MAX_CLASSES = 8, 12  # pictures per class, classes with pictures
CACHE_SECONDS = 60.0  # after which a folder is looked at again


@dataclass(frozen=True)
class Result:
    """A preview, or the sentence with which the import would be refused.

    `header` are the headings of a CSV whose columns are not recognised.
    """

    preview: Preview | None = None
    refusal: str = ""
    header: tuple[str, ...] = ()


@st.cache_data(max_entries=8, ttl=CACHE_SECONDS, show_spinner="Looking at the files…")
def _result(key: str, _config: ImportConfig, _files: Sequence[Upload]) -> Result:
    try:
        if _files:
            return Result(preview_upload(_files, _config, PICTURES))
        return Result(preview_source(_config, PICTURES))
    except ColumnsNotRecognised as error:
        return Result(refusal=str(error), header=tuple(error.header))
    except UserError as error:
        return Result(refusal=str(error))


def preview(config: ImportConfig, files: Sequence[Any], key: str) -> dict[str, str]:
    """Render what an import would take; return the columns of a CSV that were chosen here.

    `files` are those that the browser has uploaded; without any, the config names the source.
    """
    uploads: list[Upload] = [(file.name, file) for file in files]
    ids = ",".join(str(file.file_id) for file in files)
    result = _result(f"{config.model_dump_json()} {ids}", config, uploads)
    columns: dict[str, str] = {}
    if result.header:
        columns = _choose_columns(result.header, key)
        if {"path", "label"} <= set(columns):
            config = config.model_copy(update={"columns": columns})
            result = _result(f"{config.model_dump_json()} {ids}", config, uploads)
        else:
            st.info("Choose the columns of the path and the label of each image.")
            return columns
    if result.preview is None:
        st.warning(escape_markdown(result.refusal), icon=":material/block:")
    else:
        _render(result.preview)
    return columns


def _choose_columns(header: Sequence[str], key: str) -> dict[str, str]:
    """Select boxes for the columns of a CSV: {column: heading}."""
    chosen = {}
    for place, column in zip(st.columns(4), get_args(Column), strict=True):
        heading = place.selectbox(
            f"Column of the {column}",
            header,
            index=None,
            key=f"{key} column {column}",
            placeholder="optional" if column in ("split", "group") else "choose",
        )
        if heading:
            chosen[column] = heading
    return chosen


def _render(found: Preview) -> None:
    total = sum(sum(counts.values()) for counts in found.counts.values())
    splits = ", ".join(f"{split} {sum(c.values()):,}" for split, c in found.counts.items())
    st.markdown(
        f"**Would be imported**: {total:,} images of {len(found.classes)} classes ({splits})."
    )
    st.dataframe(
        [
            {"class": label, **{split: counts[label] for split, counts in found.counts.items()}}
            for label in found.classes
        ],
        hide_index=True,
    )
    render_notes(found.notes)
    render_left_out(found.left_out)
    if found.unreadable:
        with st.expander(
            f"{len(found.unreadable)} files could not be read and would be left out",
            icon=":material/broken_image:",
        ):
            st.dataframe([file.model_dump() for file in found.unreadable], hide_index=True)
    for label in found.classes[:MAX_CLASSES]:
        left, right = st.columns([1, 5], vertical_alignment="center")
        left.markdown(escape_markdown(label))
        right.image(list(found.pictures[label]), width=72)


def render_notes(notes: Sequence[str]) -> None:
    """Render remarks about a source."""
    for note in notes:
        st.info(escape_markdown(note), icon=":material/info:")


def render_left_out(files: Sequence[LeftOutFile]) -> None:
    """Render how many files are left out, by class and reason, and which."""
    if not files:
        return
    total = sum(file.count for file in files)
    with st.expander(
        f"{total:,} files are left out, with their reasons", icon=":material/filter_list:"
    ):
        st.dataframe(
            [
                {"class": label, "reason": reason, "files": count}
                for label, reasons in count_by_class(files).items()
                for reason, count in reasons.items()
            ],
            hide_index=True,
        )
        st.dataframe([file.model_dump(by_alias=True) for file in files], hide_index=True)
