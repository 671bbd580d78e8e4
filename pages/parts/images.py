"""All images of a dataset: by class, split and finding, page by page, to click."""

import numpy as np
import streamlit as st

from pages.parts.gallery import Group, enlarge, gallery, image_tile
from pages.parts.health import difference_chosen, findings
from rebalance_core.datasets.dataset import Dataset

PAGE = 48  # images shown at once
ALL = "all"


def images(dataset: Dataset) -> None:
    st.subheader("Samples")
    found = {
        f.title: f for f in findings(dataset.fingerprint, difference_chosen(), dataset) if f.groups
    }
    first, second, third, last = st.columns([2, 2, 3, 1])
    label = first.selectbox("Class", [ALL, *dataset.classes])
    split = second.selectbox("Split", [ALL, *dataset.counts()])
    title = third.selectbox("Finding", [ALL, *found], help="Only images that a finding speaks of.")
    catalogue = dataset.catalogue
    wanted = np.ones(len(catalogue), bool)
    if label != ALL:
        wanted &= (catalogue["class"] == label).to_numpy()
    if split != ALL:
        wanted &= (catalogue["split"] == split).to_numpy()
    if title != ALL:
        inside = np.zeros(len(catalogue), bool)
        inside[[row for group in found[title].groups for row in group]] = True
        wanted &= inside
    rows = np.flatnonzero(wanted)
    pages = max(1, -(-len(rows) // PAGE))
    page = last.number_input(
        f"Page of {pages:,}", 1, pages, 1, key=f"page {dataset.name} {label} {split} {title}"
    )
    if not len(rows):
        st.info("No image fits; choose another class, split or finding.")
        return
    names = catalogue["image"].to_numpy()[rows[(page - 1) * PAGE : page * PAGE]]
    clicked = gallery([Group([image_tile(dataset, name) for name in names])], key="samples")
    st.caption(f"{len(rows):,} images. Click one to enlarge it.")
    if clicked:
        enlarge(dataset, clicked)
