"""Paged gallery of a dataset's images, filtered by class, split and finding."""

import numpy as np
import streamlit as st

from pages.parts.gallery import Group, enlarge, gallery, image_tile
from pages.parts.health import findings, selected_difference
from rebalance_core.datasets.dataset import Dataset

IMAGES_PER_PAGE = 48
ALL = "all"


def images(dataset: Dataset) -> None:
    st.subheader("Images")
    titles = {
        f.title: f
        for f in findings(dataset.fingerprint, selected_difference(), dataset)
        if f.groups
    }
    columns = st.columns([2, 2, 3, 1])
    label = columns[0].selectbox("Class", [ALL, *dataset.classes])
    split = columns[1].selectbox("Split", [ALL, *dataset.counts()])
    title = columns[2].selectbox("Finding", [ALL, *titles], help="Only images of this finding.")
    catalogue = dataset.catalogue
    mask = np.ones(len(catalogue), bool)
    if label != ALL:
        mask &= (catalogue["class"] == label).to_numpy()
    if split != ALL:
        mask &= (catalogue["split"] == split).to_numpy()
    if title != ALL:
        in_finding = np.zeros(len(catalogue), bool)
        in_finding[[row for group in titles[title].groups for row in group]] = True
        mask &= in_finding
    rows = np.flatnonzero(mask)
    pages = max(1, -(-len(rows) // IMAGES_PER_PAGE))
    page = columns[3].number_input(
        f"Page of {pages:,}", 1, pages, 1, key=f"page {dataset.name} {label} {split} {title}"
    )
    if not len(rows):
        st.info("No images match; choose another class, split or finding.")
        return
    first = (page - 1) * IMAGES_PER_PAGE
    names = catalogue["image"].to_numpy()[rows[first : first + IMAGES_PER_PAGE]]
    clicked = gallery([Group([image_tile(dataset, name) for name in names])], key="images")
    st.caption(f"{len(rows):,} images. Click one to enlarge it.")
    if clicked:
        enlarge(dataset, clicked)
