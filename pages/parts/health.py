"""Quality findings of a dataset and, side by side, the images of each."""

import pandas as pd
import streamlit as st

from pages.parts.gallery import Group, enlarge, gallery, image_tile
from pages.parts.markdown import escape_markdown
from pages.parts.preview import render_left_out
from rebalance_core.datasets.dataset import Dataset
from rebalance_core.datasets.duplicates import DEFAULT_DIFFERENCE, MAX_DIFFERENCE, orientations
from rebalance_core.datasets.gray_levels import describe_levels
from rebalance_core.datasets.health import (
    Finding,
    brightness_statistics,
    distinct_images,
    examine,
    format_statistics,
    unknown_patients_note,
)
from rebalance_core.imaging.symmetry import DESCRIPTIONS, IDENTITY
from rebalance_core.plots.dataset import brightness_boxes

GROUPS_PER_PAGE = 8
MAX_TILES = 24  # of each group
WARNING_AUC = 0.7  # AUC of brightness from which the page warns


@st.cache_data(max_entries=16, show_spinner="Comparing images…")
def findings(fingerprint: str, difference: float, _dataset: Dataset) -> list[Finding]:
    return examine(_dataset, difference)


@st.cache_data(max_entries=16)
def _shortcut_tables(fingerprint: str, _dataset: Dataset) -> tuple[pd.DataFrame, pd.DataFrame]:
    return brightness_statistics(_dataset), format_statistics(_dataset)


def selected_difference() -> float:
    """Maximum difference of near-duplicates, as set by the slider and stored in the URL."""
    return float(st.session_state.get("difference", DEFAULT_DIFFERENCE))


def health(dataset: Dataset) -> None:
    st.subheader("Health")
    st.slider(
        "Maximum difference of near-duplicates",
        0.02,
        MAX_DIFFERENCE,
        DEFAULT_DIFFERENCE,
        0.01,
        key="difference",
        bind="query-params",
        help="√(1 − r²), with r the correlation of two images after registration: up to "
        "brightness, contrast, a small shift and scaling, and the symmetries of the dataset. "
        "0: the same picture. The `clean` split uses it too.",
    )
    previous = st.session_state.get("previous difference")
    st.session_state["previous difference"] = selected_difference()
    if previous not in (None, selected_difference()):
        st.rerun()  # the whole page, since the clean split uses it too
    found = findings(dataset.fingerprint, selected_difference(), dataset)
    unreadable = [file.model_dump() for file in dataset.manifest.unreadable]
    if unreadable:
        with st.expander(
            f"{len(unreadable)} files could not be read and were left out",
            icon=":material/broken_image:",
        ):
            st.dataframe(unreadable, hide_index=True)
    render_left_out(dataset.manifest.left_out)
    _conversion(dataset)
    for finding in found:
        _row(finding)
    if not any(finding.groups for finding in found):
        st.success("No copies, near-duplicates or contradicting labels were found.")
    _distinct(dataset)
    selected = st.session_state.get("finding")
    for finding in found:
        if finding.name == selected and finding.groups:
            _groups(dataset, finding)
    _shortcuts(dataset)


def _conversion(dataset: Dataset) -> None:
    """Render how images that are not 8 bits were converted, and what was left out of files."""
    manifest = dataset.manifest
    for sentence in (
        describe_levels(manifest.gray_levels, len(dataset.catalogue)),
        *manifest.notes,
    ):
        if sentence:
            st.caption(escape_markdown(sentence))


def _distinct(dataset: Dataset) -> None:
    """Render how copies were searched, and how many distinct images each class has."""
    name = dataset.manifest.symmetries
    st.caption(f"Copies were searched {DESCRIPTIONS[name]}; the symmetries are set at import.")
    distinct = _distinct_images(dataset.fingerprint, selected_difference(), dataset)
    images = dataset.catalogue["class"].value_counts()
    counts = ", ".join(
        f"{escape_markdown(label)} {count:,} of {images[label]:,}"
        for label, count in distinct.items()
    )
    st.markdown(f"**Distinct images**, a group of copies counted once: {counts}.")
    if note := unknown_patients_note(dataset):
        st.caption(note)


@st.cache_data(max_entries=16, show_spinner=False)
def _distinct_images(fingerprint: str, difference: float, _dataset: Dataset) -> dict[str, int]:
    return distinct_images(_dataset, difference)


def _row(finding: Finding) -> None:
    left, right = st.columns([5, 1], vertical_alignment="center")
    icon = ":material/warning:" if finding.groups else ":material/check:"
    counts = f"{finding.images:,} images"
    size = ""
    if not finding.by_class:
        counts = f"{len(finding.groups):,} groups, {counts}"
        largest = max(map(len, finding.groups), default=0)
        size = f", the largest of {largest}" if largest > 2 else ""
    description = f"  \n:small[{finding.description}]" if finding.groups else ""
    if finding.note and not finding.groups:
        icon = ":material/info:"
    if finding.note:
        description += f"  \n:small[{finding.note}]"
    left.markdown(f"{icon} **{finding.title}**: {counts}{size}{description}")
    if finding.groups:
        is_open = st.session_state.get("finding") == finding.name
        right.button(
            "Close" if is_open else "View",
            key=f"view {finding.name}",
            on_click=_open,
            args=(None if is_open else finding.name,),
        )


def _open(name: str | None) -> None:
    st.session_state["finding"] = name


def _groups(dataset: Dataset, finding: Finding) -> None:
    pages = -(-len(finding.groups) // GROUPS_PER_PAGE)
    with st.container(border=True):
        left, right = st.columns([4, 1], vertical_alignment="bottom")
        order = "largest groups first, every image turned like the first of its group"
        left.markdown(
            f"**{finding.title}**, {'by class' if finding.by_class else order}. "
            "Click an image to enlarge the original."
        )
        page = right.number_input(f"Page of {pages}", 1, pages, 1, key=f"page of {finding.name}")
        names = dataset.catalogue["image"].tolist()
        first = (page - 1) * GROUPS_PER_PAGE
        groups = []
        for rows in finding.groups[first : first + GROUPS_PER_PAGE]:
            hidden = len(rows) - MAX_TILES
            symmetries = [IDENTITY] * len(rows)
            if not finding.by_class:
                symmetries = orientations(dataset, rows, selected_difference())
            tiles = [
                image_tile(dataset, names[row], symmetry=symmetry)
                for row, symmetry in zip(rows[:MAX_TILES], symmetries, strict=False)
            ]
            suffix = f", {hidden} more not shown" if hidden > 0 else ""
            groups.append(Group(tiles, f"{len(rows)} images{suffix}"))
        clicked = gallery(groups, key=f"groups of {finding.name}")
    if clicked:
        enlarge(dataset, clicked)


def _shortcuts(dataset: Dataset) -> None:
    """Render properties that a classifier could use as a shortcut: brightness, size, mode."""
    table, shares = _shortcut_tables(dataset.fingerprint, dataset)
    label = str(table["auc"].idxmax())
    st.markdown("**Brightness** of each class: mean gray level of its images")
    st.plotly_chart(brightness_boxes(table), key=f"brightness {dataset.name}")
    auc = float(table["auc"].max())
    if auc >= WARNING_AUC:
        st.warning(
            f"Brightness alone separates **{label}** from the other classes with an AUC of "
            f"{auc:.2f} (0.5: chance, 1: perfectly). This often means that the class comes from "
            "another source. A classifier can learn this shortcut, and then performs worse "
            "elsewhere than its test score suggests.",
            icon=":material/exposure:",
        )
    else:
        st.caption(
            f"Brightness alone separates no class from the others: AUC at most {auc:.2f} "
            "(0.5: chance, 1: perfectly)."
        )
    with st.expander("Image sizes and modes", icon=":material/aspect_ratio:"):
        st.caption(
            "A size or mode that only some classes have is a shortcut too: resizing leaves traces."
        )
        percent = {
            name: st.column_config.NumberColumn(format="percent")
            for name in shares.columns
            if name.startswith(("share", "mode"))
        }
        st.dataframe(shares, column_config=percent)
