"""What is wrong with a dataset, and the images that each finding speaks of, side by side."""

import pandas as pd
import streamlit as st

from pages.parts.gallery import Group, enlarge, gallery, image_tile
from rebalance_core.datasets.dataset import Dataset
from rebalance_core.datasets.duplicates import DEFAULT_DIFFERENCE, MAX_DIFFERENCE
from rebalance_core.datasets.health import (
    Finding,
    brightness_statistics,
    examine,
    format_statistics,
)
from rebalance_core.plots.dataset import brightness_boxes

GROUPS = 8  # shown at once
MOST = 24  # images of a group shown at once
STANDS_OUT = 0.7  # AUC of brightness from which the page warns


@st.cache_data(max_entries=16, show_spinner="Comparing images…")
def findings(fingerprint: str, difference: float, _dataset: Dataset) -> list[Finding]:
    return examine(_dataset, difference)


@st.cache_data(max_entries=16)
def _shortcut_tables(fingerprint: str, _dataset: Dataset) -> tuple[pd.DataFrame, pd.DataFrame]:
    return brightness_statistics(_dataset), format_statistics(_dataset)


def difference_chosen() -> float:
    """Up to which difference images count as near-duplicates: the slider's, in the address."""
    return float(st.session_state.get("difference", DEFAULT_DIFFERENCE))


def health(dataset: Dataset) -> None:
    st.subheader("Health")
    st.slider(
        "Near-duplicates differ by at most",
        0.02,
        MAX_DIFFERENCE,
        DEFAULT_DIFFERENCE,
        0.01,
        key="difference",
        bind="query-params",
        help="The share of an image's contrast that the other doesn't explain, up to brightness, "
        "contrast, a small shift and scaling. 0: the same picture. Split `clean` uses it too.",
    )
    drawn = st.session_state.get("difference drawn")
    st.session_state["difference drawn"] = difference_chosen()
    if drawn not in (None, difference_chosen()):
        st.rerun()  # the whole page: split clean goes by it too
    found = findings(dataset.fingerprint, difference_chosen(), dataset)
    unreadable = [file.model_dump() for file in dataset.manifest.unreadable]
    if unreadable:
        with st.expander(
            f"{len(unreadable)} files could not be read and were left out",
            icon=":material/broken_image:",
        ):
            st.dataframe(unreadable, hide_index=True)
    for finding in found:
        _row(finding)
    if not any(finding.groups for finding in found):
        st.success(
            "No copies, near-duplicates or contradicting labels were found. Mirrored, flipped and "
            "turned copies are not looked for yet."
        )
    opened = st.session_state.get("finding")
    for finding in found:
        if finding.name == opened and finding.groups:
            _groups(dataset, finding)
    _shortcuts(dataset)


def _row(finding: Finding) -> None:
    told, look = st.columns([5, 1], vertical_alignment="center")
    mark = ":material/warning:" if finding.groups else ":material/check:"
    counts = f"{len(finding.groups):,} groups, {finding.images:,} images"
    largest = max(map(len, finding.groups), default=0)
    most = f", the largest of {largest}" if largest > 2 else ""
    meaning = f"  \n:small[{finding.meaning}]" if finding.groups else ""
    told.markdown(f"{mark} **{finding.title}**: {counts}{most}{meaning}")
    if finding.groups:
        opened = st.session_state.get("finding") == finding.name
        if look.button("Close" if opened else "Look", key=f"look at {finding.name}"):
            st.session_state["finding"] = None if opened else finding.name
            st.rerun(scope="fragment")


def _groups(dataset: Dataset, finding: Finding) -> None:
    pages = -(-len(finding.groups) // GROUPS)
    with st.container(border=True):
        left, right = st.columns([4, 1], vertical_alignment="bottom")
        left.markdown(f"**{finding.title}**, largest groups first. Click an image to enlarge it.")
        page = right.number_input(f"Page of {pages}", 1, pages, 1, key=f"page of {finding.name}")
        names = dataset.catalogue["image"].tolist()
        shown = []
        for group in finding.groups[(page - 1) * GROUPS : page * GROUPS]:
            more = f", {len(group) - MOST} more not shown" if len(group) > MOST else ""
            tiles = [image_tile(dataset, names[row]) for row in group[:MOST]]
            shown.append(Group(tiles, f"{len(group)} images{more}"))
        clicked = gallery(shown, key=f"groups of {finding.name}")
    if clicked:
        enlarge(dataset, clicked)


def _shortcuts(dataset: Dataset) -> None:
    """What a classifier could use in place of what matters."""
    table, shares = _shortcut_tables(dataset.fingerprint, dataset)
    most = str(table["auc"].idxmax())
    st.markdown("**Brightness** of each class, mean gray level of its images")
    st.plotly_chart(brightness_boxes(table), key=f"brightness {dataset.name}")
    area = float(table["auc"].max())
    if area >= STANDS_OUT:
        st.warning(
            f"Brightness alone tells **{most}** from the rest with an AUC of {area:.2f} (0.5: not "
            "at all, 1: always). Often it means that the class came from another source. A "
            "classifier can learn that instead of what matters, and do worse elsewhere than its "
            "test score says.",
            icon=":material/exposure:",
        )
    else:
        st.caption(
            f"No class stands out by brightness alone: AUC at most {area:.2f} "
            "(0.5: not at all, 1: always)."
        )
    with st.expander("Sizes and stored forms", icon=":material/aspect_ratio:"):
        st.caption(
            "A size or form that only some classes have is a shortcut, too: resizing leaves traces."
        )
        percent = {
            name: st.column_config.NumberColumn(format="percent")
            for name in shares.columns
            if name.startswith(("share", "mode"))
        }
        st.dataframe(shares, column_config=percent)
